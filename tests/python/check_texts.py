"""Holds `millrace train text-classifier` against ONNX Runtime, Hugging Face's tokenizers, scikit-learn, and PyTorch.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-texts.txt
    .venv/bin/python tests/python/check_texts.py --millrace target/release/millrace [--model models/definitions/1] \
        [--torch [--seeds 8]]

With --model, that version's figures are computed again from its files; otherwise a small one is trained first. --torch fits the
same net with millrace and with PyTorch, with seeds 1, 2, … each and the same rows held out, and prints mean and standard deviation of
both (with the committed model about two minutes a seed; PyTorch has to be there). Every check runs, whatever failed before it; the last
line counts them, and the exit code is 1 if one failed.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer

import over_seeds
from checks import check, verdict

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
BASELINE = "accuracy_logistic_regression_on_character_n_grams"


def train(binary, folder, model, training, source):
    """Runs the command again that made a model, and returns the folder of the version and the report."""
    report = Path(folder) / "report.json"
    command = [binary, "train", "text-classifier", "--data", DATA / source["data"], "--target", source["target"]]
    command += ["--model", model, "--repository", folder, "--report", report]
    for option, value in training.items():
        if option not in ("algorithm", "train_rows", "test_rows"):
            command += [f"--{option.replace('_', '-')}", value]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Path(folder) / model / "1", json.loads(report.read_text())


def read(source):
    with open(DATA / source["data"], newline="", encoding="utf-8") as file:
        header, *records = csv.reader(file)
    place = header.index(source["target"])
    return np.array([record[1 - place] for record in records]), np.array([record[place] for record in records])


class Classifier:
    """The graph by ONNX Runtime, behind Hugging Face's tokenizers."""

    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])

    def tokens(self, texts):
        encodings = self.tokenizer.encode_batch(list(texts))
        return tuple(np.array([getattr(one, part) for one in encodings], dtype=np.int64) for part in ("ids", "attention_mask"))

    def run(self, ids, mask):
        return self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    def probabilities(self, texts, at_once=64):
        return np.concatenate([self.run(*self.tokens(texts[at:at + at_once])) for at in range(0, len(texts), at_once)])


def check_figures(folder, metadata, texts, classes, test):
    """The reported figures are those of ONNX Runtime's answers."""
    classifier = Classifier(folder)
    probabilities = classifier.probabilities(texts[test]).astype(float)
    labels = np.array([metadata["classes"].index(name) for name in classes[test]])
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    loss = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    metrics = metadata["metrics"]
    check("accuracy is that of ONNX Runtime's answers", abs(metrics["accuracy"] - accuracy) < 1e-4, f"{accuracy:.4f}")
    check("log-loss is that of ONNX Runtime's answers", abs(metrics["log_loss"] - loss) < 1e-4, f"{loss:.4f}")


def check_graph(folder, metadata, texts):
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    check("onnx.checker takes the graph", True, "full check")
    classifier = Classifier(folder)
    few = texts[:: len(texts) // 7][:7]
    ids, mask = classifier.tokens(few)
    together = classifier.run(ids, mask)
    alone = np.concatenate([classifier.probabilities([text]) for text in few])
    check("rows alone are as rows together", np.allclose(together, alone, rtol=1e-4), f"{abs(together - alone).max():.1e}")
    # What stands in places that are masked is of no consequence, and neither is their number.
    longer = metadata["text"]["max_length"]
    wide_ids, wide_mask = np.full((len(few), longer), 7), np.zeros((len(few), longer), dtype=np.int64)
    wide_ids[:, : ids.shape[1]] = np.where(mask == 1, ids, 7)
    wide_mask[:, : ids.shape[1]] = mask
    wide = classifier.run(wide_ids, wide_mask)
    check("padding changes nothing", np.allclose(together, wide, rtol=1e-4), f"{abs(together - wide).max():.1e}")
    nothing = classifier.run(np.zeros((1, 4), dtype=np.int64), np.zeros((1, 4), dtype=np.int64))
    check("a row without tokens is answered with numbers", np.isfinite(nothing).all(), nothing.round(3).tolist())


def check_tokenizer(folder, metadata, texts):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    asked = metadata["training"]["vocabulary"]
    check("tokens are at most as many as asked for", tokenizer.get_vocab_size() <= asked, tokenizer.get_vocab_size())
    longest = max(len(one.ids) for one in tokenizer.encode_batch(list(texts)))
    check("texts are cut at max_length", longest <= metadata["text"]["max_length"], longest)


def check_baseline(metadata, texts, classes, train_rows, test):
    """The baseline in model.toml is scikit-learn's, on the same split, up to where its search ends."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 5), min_df=2)
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000)).fit(texts[train_rows], classes[train_rows])
    theirs, ours = model.score(texts[test], classes[test]), metadata["metrics"][BASELINE]
    check("the baseline is scikit-learn's", abs(ours - theirs) < 0.005, f"{ours:.4f} here, {theirs:.4f} there")
    net = metadata["metrics"]["accuracy"]
    print(f"     held out: {net:.4f}, against {theirs:.4f} by character n-grams: {net - theirs:+.4f}")


def compare_with_torch(binary, scratch, options, source, texts, classes, test, count):
    """Both systems with `count` seeds, which choose all but the rows held out: starting weights, batches, what is dropped, and
    the rows that say which epoch is kept. PyTorch is given the tokens that millrace learnt with the same seed."""
    options = {"split_seed": options["seed"], **options}
    ours, theirs = [], []
    for seed in range(1, count + 1):
        fresh = Path(scratch) / f"seed-{seed}"
        fresh.mkdir()
        folder, report = train(binary, fresh, "definitions", {**options, "seed": seed}, source)
        if report["test_rows"] != test:
            check(f"seed {seed} holds the same rows out", False, len(report["test_rows"]))
            return
        metadata = tomllib.loads((folder / "model.toml").read_text())
        ours.append(metadata["metrics"]["accuracy"])
        accuracy, epoch = fit_with_torch(folder, metadata, texts, classes, report["train_rows"], test)
        theirs.append(accuracy)
        best = report["epochs"][-1]["best"]
        print(f"     seed {seed}: {ours[-1]:.4f} here (best in epoch {best}), {theirs[-1]:.4f} by PyTorch ({epoch})", flush=True)
    holds, found = over_seeds.compare("accuracy", ours, theirs, digits=4, larger_is_better=True)
    check("no worse than PyTorch's by more than two standard errors", holds, found)


def net_of_torch(options, tokens, length, classes):
    """The same net by PyTorch."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    width, heads = options["width"], options["heads"]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm, self.dense_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.dense = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
            self.drop = nn.Dropout(options["dropout"])

        def forward(self, tokens, hidden):
            normal = self.attention_norm(tokens)
            tokens = tokens + self.drop(self.attention(normal, normal, normal, key_padding_mask=hidden, need_weights=False)[0])
            return tokens + self.drop(self.dense(self.dense_norm(tokens)))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(tokens, width)
            self.places = nn.Parameter(torch.empty(length, width))
            for table in (self.tokens.weight, self.places):
                nn.init.uniform_(table, -0.1, 0.1)
            self.blocks = nn.ModuleList(Block() for _ in range(options["layers"]))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)
            self.drop = nn.Dropout(options["dropout"])

        def forward(self, ids, mask):
            longest = int(mask.sum(1).max())
            ids, mask = ids[:, :longest], mask[:, :longest]
            if self.training:
                ids = torch.where(torch.rand(ids.shape) < options["token_dropout"], torch.ones_like(ids), ids)
            tokens = self.drop(self.tokens(ids) + self.places[:longest])
            for block in self.blocks:
                tokens = block(tokens, mask == 0)
            mean = (self.norm(tokens) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            return self.head(self.drop(mean))

    return Net()


def epochs_of_torch(net, options, samples):
    """Trains on token numbers, masks and labels, and gives the mean loss of each epoch."""
    import torch

    ids, mask, labels = samples
    adam = torch.optim.AdamW(net.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"])
    for _ in range(options["epochs"]):
        net.train()
        total = 0
        for part in torch.randperm(len(labels)).split(options["batch_size"]):
            loss = torch.nn.functional.cross_entropy(net(ids[part], mask[part]), labels[part])
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(part)
        yield total / len(labels)


def samples_of_torch(folder, names, texts, classes, rows):
    import torch

    encodings = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch([texts[row] for row in rows])
    parts = [torch.tensor([getattr(one, part) for one in encodings]) for part in ("ids", "attention_mask")]
    return *parts, torch.tensor([names.index(classes[row]) for row in rows])


def fit_with_torch(folder, metadata, texts, classes, train_rows, test):
    """Accuracy and best epoch of the same net, options and split by PyTorch."""
    import torch

    options, names = metadata["training"], metadata["classes"]
    torch.manual_seed(options["seed"])
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    net = net_of_torch(options, tokens, metadata["text"]["max_length"], len(names))
    rows = np.random.default_rng(options["seed"]).permutation(train_rows)
    held = round(len(rows) * options["validation_fraction"])
    learnt, validation, unseen = [samples_of_torch(folder, names, texts, classes, part) for part in (rows[held:], rows[:held], test)]

    def judge(samples):
        ids, mask, labels = samples
        net.eval()
        with torch.no_grad():
            logits = net(ids, mask)
        return torch.nn.functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()

    best, lowest, accuracy = 0, np.inf, 0
    for epoch, _ in enumerate(epochs_of_torch(net, options, learnt), start=1):
        loss, _ = judge(validation)
        if loss < lowest:
            best, lowest, accuracy = epoch, loss, judge(unseen)[1]
        if epoch - best >= options["patience"]:
            break
    return accuracy, best


def begin_as(net, folder, layers):
    """Puts the weights of a graph into a net of PyTorch."""
    import torch

    graph = onnx.load(folder / "model.onnx").graph
    ours = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    state = {"tokens.weight": ours["tokens"], "places": ours["places"]}

    def dense(theirs, name):
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = ours[f"{name}.weights"].T, ours[f"{name}.bias"]

    def norm(theirs, name):
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = ours[f"{name}.scale"], ours[f"{name}.shift"]

    for place in range(layers):
        theirs, name = f"blocks.{place}", f"block{place}"
        for part in ("attention_norm", "dense_norm"):
            norm(f"{theirs}.{part}", f"{name}.{part}")
        parts = ("query", "key", "value")
        state[f"{theirs}.attention.in_proj_weight"] = np.concatenate([ours[f"{name}.{part}.weights"].T for part in parts])
        state[f"{theirs}.attention.in_proj_bias"] = np.concatenate([ours[f"{name}.{part}.bias"] for part in parts])
        dense(f"{theirs}.attention.out_proj", f"{name}.mix")
        dense(f"{theirs}.dense.0", f"{name}.widen")
        dense(f"{theirs}.dense.2", f"{name}.narrow")
    norm("norm", "norm")
    dense("head", "head")
    net.load_state_dict({name: torch.tensor(values) for name, values in state.items()})


def check_steps(binary, scratch, texts, classes):
    """From the same weights, steps on all rows at once, without dropout, lead PyTorch through the same losses. Each class has one
    text, ten times, so that it is of no consequence which rows are learnt from."""
    file = Path(scratch) / "few.csv"
    few = [(texts[list(classes).index(name)], name) for name in sorted(set(classes))]
    with open(file, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("text", "class"), *(few * 10)])
    options = {"width": 16, "heads": 4, "layers": 2, "vocabulary": 60, "max_length": 64, "dropout": 0, "token_dropout": 0, "epochs": 12,
               "batch_size": 1000, "learning_rate": 0.005, "weight_decay": 0.05, "seed": 1}
    source = {"data": file, "target": "class"}
    _, report = train(binary, scratch, "steps", options, source)
    # Steps this small move nothing, so that this run tells where the other one began.
    folder, _ = train(binary, scratch, "begun", options | {"learning_rate": 1e-30, "epochs": 1}, source)
    metadata = tomllib.loads((folder / "model.toml").read_text())
    names = metadata["classes"]
    samples = samples_of_torch(folder, names, [text for text, _ in few], [name for _, name in few], range(len(few)))
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    net = net_of_torch(options, tokens, metadata["text"]["max_length"], len(names))
    begin_as(net, folder, options["layers"])
    theirs = np.array(list(epochs_of_torch(net, options, samples)))
    ours = np.array([epoch["training_loss"] for epoch in report["epochs"]])
    worst = (abs(ours - theirs) / theirs).max()
    check("losses are PyTorch's from the same weights", worst < 1e-4, f"{worst:.1e} at most, from {ours[0]:.4f} to {ours[-1]:.4f}")


SMALL = {"epochs": 2, "width": 16, "vocabulary": 1000, "max_length": 24, "batch_size": 64, "learning_rate": 0.003, "seed": 42}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millrace", default=ROOT / "target/release/millrace", help="the binary")
    parser.add_argument("--model", type=Path, help="the folder of a version, whose command is run again")
    parser.add_argument("--torch", action="store_true", help="compare with PyTorch as well")
    parser.add_argument("--seeds", type=int, default=8, help="how often each of the two is fitted then, at least 2")
    arguments = parser.parse_args()
    source = {"data": "definitions.csv", "target": "part_of_speech"}
    options = SMALL
    if arguments.model:
        metadata = tomllib.loads((arguments.model / "model.toml").read_text())
        source, options = metadata["source"], metadata["training"]
    texts, classes = read(source)
    with tempfile.TemporaryDirectory() as scratch:
        folder, report = train(arguments.millrace, scratch, "definitions", options, source)
        if arguments.model:
            same = (folder / "tokenizer.json").read_bytes() == (arguments.model / "tokenizer.json").read_bytes()
            check("tokenizer.json is made again byte for byte", same, "compared")
            folder = arguments.model
        metadata = tomllib.loads((folder / "model.toml").read_text())
        train_rows, test = report["train_rows"], report["test_rows"]
        check("every row is on one side of the split", sorted(train_rows + test) == list(range(len(texts))), len(texts))
        check_graph(folder, metadata, texts)
        check_tokenizer(folder, metadata, texts)
        check_figures(folder, metadata, texts, classes, test)
        check_baseline(metadata, texts, classes, train_rows, test)
        if arguments.torch:
            check_steps(arguments.millrace, scratch, texts, classes)
            compare_with_torch(arguments.millrace, scratch, options, source, texts, classes, test, arguments.seeds)
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
