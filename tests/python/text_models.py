"""Serves models whose rows are texts, and compares with Hugging Face's tokenizers and onnxruntime: what becomes of texts by
tokenizers of every kind (a graph that gives its token ids back shows them), and the sentences of small attention nets, each
alone and many at once.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-texts.txt
    .venv/bin/python tests/python/text_models.py --millrace target/release/millrace

With --encoder, a folder that export_sentence_encoder.py has written, a real sentence encoder is served as well and compared
with what PyTorch makes of the same texts. The exit code is 1 if something differs.
"""

import argparse
import json
import random
import shutil
import string
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import v2
from serving import Worker, write_model

NETS = Path(__file__).parent.parent / "nets"
ALIKE = 0.9999  # the least cosine of two embeddings that are the same

SENTENCES = [
    "the mill stands by the river", "the wheel of the mill turns", "grain and flour", "water runs, and the wheel turns.",
    "is the water of the river in the mill?", "The MILL!", "mills, milling, milled, miller", "0 1 10 101",
]
# Letters without a pattern: one letter over and over can be divided into pieces in several ways that are equally likely, and which of
# them a unigram model takes is a matter of rounding.
WORD = "".join(random.Random(7).choices(string.ascii_lowercase, k=3000))
ODD = ["", " ", "\n\t", "?!", "naïve café", "e\u0301 é", "水车在河边", "我们明天去北京", "こんにちは、世界", "Привет, мир", "مرحبا",
       "नमस्ते", "สวัสดี", "😀", "👩‍👩‍👧‍👦 🇸🇳", "[CLS] mill [SEP]", WORD[:99], WORD[:101], WORD, "zero\u200bwidth", "\ufffd",
       "  two  blanks  ", "tab\tand\nnewline", "https://example.org/a?b=c#d"]
TEXTS = SENTENCES + ODD + [" ".join(SENTENCES * times) for times in (1, 3, 20)]


def trained(model, trainer, **parts):
    tokenizer = Tokenizer(model)
    for part, value in parts.items():
        setattr(tokenizer, part, value)
    tokenizer.train_from_iterator(SENTENCES * 3 + ODD, trainer)
    return tokenizer


def kinds():
    """Name and tokenizer, of every kind of model and with several normalizers, cuts and marks."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    marks = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1", "special_tokens": [("[CLS]", 2), ("[SEP]", 3)]}
    yield "given", Tokenizer.from_file(str(NETS / "tokenizer.json"))
    word_piece = trained(models.WordPiece(unk_token="[UNK]"), trainers.WordPieceTrainer(show_progress=False, vocab_size=300, special_tokens=special),
                         normalizer=normalizers.BertNormalizer(lowercase=True), pre_tokenizer=pre_tokenizers.BertPreTokenizer())
    word_piece.post_processor = processors.TemplateProcessing(**marks)
    yield "word_piece", word_piece
    bytes_of = trained(models.BPE(), trainers.BpeTrainer(show_progress=False, vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                                        special_tokens=special),
                       pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True), decoder=decoders.ByteLevel())
    bytes_of.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    yield "byte_pairs", bytes_of
    pieces = trained(models.Unigram(), trainers.UnigramTrainer(show_progress=False, vocab_size=200, special_tokens=special, unk_token="[UNK]"),
                     normalizer=normalizers.NFKC(), pre_tokenizer=pre_tokenizers.Metaspace())
    pieces.post_processor = processors.TemplateProcessing(**marks)
    yield "unigram", pieces
    whole = trained(models.WordLevel(unk_token="[UNK]"), trainers.WordLevelTrainer(show_progress=False, special_tokens=special),
                    normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]),
                    pre_tokenizer=pre_tokenizers.Whitespace())
    whole.post_processor = processors.TemplateProcessing(**marks)
    yield "words", whole
    for name, direction in [("cut_at_the_end", "right"), ("cut_at_the_beginning", "left")]:
        cut = Tokenizer.from_str(word_piece.to_str())
        cut.enable_truncation(12, direction=direction)
        cut.enable_padding(direction=direction, pad_id=0, pad_token="[PAD]")
        yield name, cut


def echo():
    """A graph that puts out its token ids, and the types beside them."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "length"])
              for name in ("input_ids", "attention_mask", "token_type_ids")]
    outputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "length"]) for name in ("ids", "types")]
    nodes = [helper.make_node("Mul", ["input_ids", "attention_mask"], ["ids"]),
             helper.make_node("Mul", ["token_type_ids", "attention_mask"], ["types"])]
    graph = helper.make_graph(nodes, "echo", inputs, outputs)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


class Tally:
    def __init__(self):
        self.passed, self.failed = 0, []

    def note(self, what, wrong):
        print(f"{'no  ' if wrong else 'ok  '} {what}{': ' if wrong else ''}{wrong or ''}")
        if wrong:
            self.failed.append(what)
        else:
            self.passed += 1


def expected_tokens(tokenizer, rows):
    own = Tokenizer.from_str(tokenizer.to_str())
    own.no_padding()
    if own.truncation is None:
        own.enable_truncation(512)
    encoded = [own.encode(*row) if isinstance(row, list) else own.encode(row) for row in rows]
    return [row.ids for row in encoded], [row.type_ids for row in encoded]


def check_tokens(worker, name, tokenizer, tally):
    rows = TEXTS + [[first, second] for first, second in zip(TEXTS, reversed(TEXTS))]
    ids, types = expected_tokens(tokenizer, rows)
    kept = [(row, own, own_types) for row, own, own_types in zip(rows, ids, types) if own]
    rows, ids, types = map(list, zip(*kept))
    status, answer = worker.predict(name, rows)
    if status != 200:
        return tally.note(f"tokens of {name}", str(answer)[:300])
    for row, own, own_types, found, found_types in zip(rows, ids, types, answer["outputs"]["ids"], answer["outputs"]["types"]):
        if found != own or found_types != own_types:
            return tally.note(f"tokens of {name}", f"{row!r:.80}: {own[:20]} and not {found[:20]}")
    return tally.note(f"tokens of {name}, {len(rows)} rows", None)


def cosines(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return (found * expected).sum(1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1))


def worst(found, expected):
    least = cosines(found, expected).min()
    return None if least >= ALIKE else f"the least cosine is {least}"


def check_embeddings(worker, name, texts, expected, tally):
    """All in one request, many requests at once, and over V2."""
    status, answer = worker.predict(name, texts)
    if status != 200:
        return tally.note(f"{name}", str(answer)[:300])
    tally.note(f"{name}: {len(texts)} texts in one request", worst(answer["predictions"], expected))
    answers = worker.predict_at_once(name, [[text] for text in texts])
    wrong = next((str(answer)[:300] for status, answer in answers if status != 200), None)
    tally.note(f"{name}: as many requests at once",
               wrong or worst([answer["predictions"][0] for _, answer in answers], expected))
    status, outputs = v2.infer(worker, name, {"text": np.array(texts, object)})
    tally.note(f"{name}: over V2", str(outputs)[:300] if status != 200 else worst(next(iter(outputs.values())), expected))


def net_embeddings(path, texts):
    """What onnxruntime makes of each text alone."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(NETS / "tokenizer.json"))
    tokenizer.enable_truncation(32)
    for text in texts:
        tokens = tokenizer.encode(text)
        given = {"input_ids": np.array([tokens.ids]), "attention_mask": np.array([tokens.attention_mask])}
        yield session.run(None, given)[0][0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, help="what export_sentence_encoder.py has written")
    arguments = parser.parse_args()
    tally = Tally()
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        tokenizers = dict(kinds())
        for name, tokenizer in tokenizers.items():
            path = write_model(repository, name, echo())
            tokenizer.save(str(path.with_name("tokenizer.json")))
            if tokenizer.truncation is None:
                path.with_name("model.toml").write_text("[text]\ntruncate = true\n")
        embeddings = {}
        for net in ("dynamo_bert", "torchscript_bert", "dynamo_distilbert"):
            path = write_model(repository, net, onnx.load(NETS / f"{net}.onnx"))
            shutil.copy(NETS / "tokenizer.json", path.parent)
            path.with_name("model.toml").write_text("[text]\nmax_length = 32\ntruncate = true\n")
            embeddings[net] = TEXTS, list(net_embeddings(path, TEXTS))
        if arguments.encoder:
            shutil.copytree(arguments.encoder / "models", repository, dirs_exist_ok=True)
            expected = json.loads((arguments.encoder / "expected.json").read_text())
            embeddings["minilm"] = [row["text"] for row in expected], [row["embedding"] for row in expected]
        for engine, keys in [("tract", {}), ("onnxruntime", {"onnxruntime_library": library})]:
            with Worker(arguments.millrace, repository, engine=engine, **keys) as worker:
                print(f"on {engine}:")
                for name, tokenizer in tokenizers.items():
                    check_tokens(worker, name, tokenizer, tally)
                for name, (texts, expected) in embeddings.items():
                    check_embeddings(worker, name, texts, expected, tally)
    print(f"{tally.passed} passed, {len(tally.failed)} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
