"""Writes the table of models into README.md: what each committed model comes to on the rows held out, and beside it the same
method by scikit-learn or PyTorch on the same split.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-zoo.txt
    .venv/bin/python tests/python/models_report.py --millrace target/release/millrace [--torch] [--check MODEL …]

The commands are those of models/make.sh, and our figures those of each model.toml. scikit-learn fits anew each time. PyTorch
does with --torch (requirements-torch.txt; half an hour, and data/mnist.parquet has to be there); without it its figures are those
of models/peers.json, which --torch writes. The text classifier and the recurrent net are fitted with several seeds by both, and the
table has both means, because one run of either is off by chance. --check trains these models once more and holds what comes out,
and what the table says of every model, against the committed files; it writes nothing.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy as np
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PEERS = ROOT / "models" / "peers.json"
BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->\n"
BY_TORCH = {"convolutional-network", "recurrent-network", "text-classifier"}
# What over_seeds.py prints: our mean with its deviation, the number of seeds, PyTorch's with the figure's name.
OVER_SEEDS = r"millrace, \d+ seeds: \S+ (.+)\n +PyTorch, (\d+) seeds: (.+)\n"
RECORDER = """#!/usr/bin/env python3
import json, sys
print(json.dumps(sys.argv[1:]), file=open({path!r}, "a"))
"""


class Model:
    """A committed model and the command that makes it."""

    def __init__(self, arguments):
        self.algorithm, rest = arguments[1], arguments[2:]
        self.options = {}
        while rest:
            name, rest = rest[0].removeprefix("--"), rest[1:]
            value = None if not rest or rest[0].startswith("--") else rest.pop(0)
            self.options[name] = value
        self.name = self.options["model"]

    @property
    def metadata(self):
        return tomllib.loads((ROOT / "models" / self.name / "1" / "model.toml").read_text(encoding="utf-8"))

    def again(self, binary, folder, **changed):
        """Runs the command once more into `folder`, with other options; gives the version's folder and the report."""
        report = Path(folder) / f"{self.name}.json"
        options = {**self.options, "repository": folder, "report": report, "as-version": "1", "force": None, **changed}
        command = [binary, "train", self.algorithm]
        for name, value in options.items():
            command += [f"--{name}"] if value is None else [f"--{name}", value]
        finished = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
        if finished.returncode != 0:
            raise RuntimeError(f"{self.name}: {finished.stderr}")
        return Path(folder) / self.name / "1", json.loads(report.read_text())

    def split(self, binary, folder):
        """The rows of each side. They are drawn before anything is fitted, so one epoch of a net will do."""
        _, report = self.again(binary, folder, **({"epochs": "1"} if self.is_net else {}))
        return report["train_rows"], report["test_rows"]

    @property
    def is_net(self):
        return self.algorithm in BY_TORCH or self.algorithm == "neural-network"

    def table(self):
        path = ROOT / self.options["data"]
        return pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path)


def models():
    """What models/make.sh would make, by a program that only writes down how it is called."""
    with tempfile.TemporaryDirectory() as folder:
        calls, recorder = Path(folder) / "calls", Path(folder) / "millrace"
        recorder.write_text(RECORDER.format(path=str(calls)))
        recorder.chmod(0o755)
        subprocess.run([ROOT / "models" / "make.sh", recorder], check=True)
        made = [Model(json.loads(line)) for line in calls.read_text(encoding="utf-8").splitlines()]
    # MNIST is only called for where its data is.
    names = {model.name for model in made}
    if "mnist" not in names and (ROOT / "models/mnist/1").is_dir():
        made.append(Model(["train", "convolutional-network", "--model", "mnist", "--data", "data/mnist.parquet"]))
    return made


def figures(metrics):
    """Our figures in words."""
    if "accuracy" in metrics:
        classes = len(metrics["confusion"])
        area = f", ROC AUC {metrics['roc_auc']:.3f}" if classes == 2 else ""
        return f"accuracy {metrics['accuracy']:.4f}{area}"
    if "r2" in metrics:
        return f"R² {metrics['r2']:.4f}, RMSE {metrics['rmse']:.2f}"
    return f"RMSE {metrics['rmse']:.2f}"


def estimator(model):
    """The same method by scikit-learn."""
    options = model.options
    number = lambda name, default: float(options.get(name, default))
    match model.algorithm:
        case "linear-regression":
            lasso, ridge, rows = number("lasso", 0), number("ridge", 0), len(model.train)
            if lasso:
                alpha = lasso / (2 * rows) + ridge / rows
                return ElasticNet(alpha=alpha, l1_ratio=lasso / (2 * rows) / alpha, tol=1e-12, max_iter=1_000_000)
            return Ridge(alpha=ridge) if ridge else LinearRegression()
        case "logistic-regression":
            return LogisticRegression(C=1 / number("l2", 1), max_iter=100_000, tol=1e-10)
        case "svm":
            gamma = number("gamma", 0) or "scale"
            if options.get("task") == "regression":
                return SVR(C=number("c", 1), epsilon=number("epsilon", 0.1), gamma=gamma)
            return SVC(C=number("c", 1), gamma=gamma)
        case "neural-network":
            hidden = tuple(int(units) for units in options.get("hidden", "64,32").split(","))
            return MLPClassifier(hidden, early_stopping=True, validation_fraction=0.15, n_iter_no_change=20, random_state=42)


def by_scikit_learn(model, binary, folder):
    """Figures of the same method on the same split, in words."""
    model.train, test = model.split(binary, folder)
    table, target = model.table(), model.options["target"]
    left_out = [target, *filter(None, (model.options.get("ignore") or "").split(","))]
    columns = table.drop(columns=left_out)
    categories = list(filter(None, (model.options.get("categorical") or "").split(",")))
    numbers = [name for name in columns if name not in categories]
    encode = ColumnTransformer([
        ("numbers", SimpleImputer(strategy=model.options.get("missing") or "mean"), numbers),
        ("categories", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), categories),
    ])
    truth = table[target].astype(str) if "accuracy" in model.metadata["metrics"] else table[target]
    fitted = make_pipeline(encode, StandardScaler(), estimator(model)).fit(columns.iloc[model.train], truth.iloc[model.train])
    unseen, truth = columns.iloc[test], truth.iloc[test]
    answers = fitted.predict(unseen)
    if "accuracy" not in model.metadata["metrics"]:
        root = np.sqrt(np.mean((answers - truth) ** 2))
        return f"R² {r2_score(truth, answers):.4f}, RMSE {root:.2f}"
    words = f"accuracy {accuracy_score(truth, answers):.4f}"
    if truth.nunique() == 2:
        scores = fitted.decision_function(unseen)
        words += f", ROC AUC {roc_auc_score(truth == fitted.classes_[1], scores):.3f}"
    return words


def by_torch(model, binary, folder):
    """What the script that compares this kind of net says, run now."""
    python, scripts = sys.executable, ROOT / "tests" / "python"
    report = Path(folder) / f"{model.name}.json"
    if model.algorithm == "convolutional-network":
        # One epoch: all that is asked of it is the split, and the options as they were.
        _, again = model.again(binary, folder, epochs="1")
        again["options"] = {**again["options"], "epochs": model.metadata["training"]["epochs"]}
        report.write_text(json.dumps(again))
        command = [python, scripts / "compare_convolution.py", "--data", ROOT / model.options["data"], "--target",
                   model.options["target"], "--report", report]
        pattern = r"PyTorch \S+ seed \d+: accuracy ([\d.]+)"
    elif model.algorithm == "text-classifier":
        command = [python, scripts / "check_texts.py", "--millrace", binary, "--model", ROOT / "models" / model.name / "1", "--torch"]
        pattern = OVER_SEEDS
    else:
        command = [python, scripts / "check_series.py", "--millrace", binary, "--torch"]
        pattern = OVER_SEEDS
    finished = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    found = re.findall(pattern, finished.stdout)
    if not found:
        raise RuntimeError(f"{model.name}: {finished.stdout}\n{finished.stderr}")
    if pattern == OVER_SEEDS:
        [(ours, count, theirs)] = found
        return f"{theirs} (mean of {count} seeds; millrace's {ours})"
    return f"accuracy {np.median([float(figure) for figure in found]):.4f}"


def others(metrics):
    """What simpler methods come to, as model.toml says."""
    simple = {name.split("_", 1)[1].replace("_", " "): value for name, value in metrics.items()
              if name.startswith(("rmse_", "accuracy_")) and name != "rmse_by_step"}
    return "".join(f"; {name}: {value:.2f}" if value > 1 else f"; {name}: {value:.4f}" for name, value in simple.items())


def row(model, theirs):
    metadata = model.metadata
    training, source = metadata["training"], metadata["source"]
    by = "PyTorch" if model.algorithm in BY_TORCH else "scikit-learn"
    held_out = training["test_rows"]
    ours = figures(metadata["metrics"])
    return (f"| `{model.name}` | `{source['data']}`, {source['rows']:,} rows | `{model.algorithm}` | {ours} ({held_out:,} rows) "
            f"| {by}: {theirs}{others(metadata['metrics'])} |\n")


def write(made, binary, torch):
    peers = json.loads(PEERS.read_text()) if PEERS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for model in made:
            if model.algorithm not in BY_TORCH:
                peers[model.name] = by_scikit_learn(model, binary, folder)
            elif torch:
                peers[model.name] = by_torch(model, binary, folder)
            print(f"{model.name}: {figures(model.metadata['metrics'])}; {peers.get(model.name)}", flush=True)
    PEERS.write_text(json.dumps(peers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = "| model | data | method | held out | the same method elsewhere, on the same split |\n|---|---|---|---|---|\n"
    table += "".join(row(model, peers[model.name]) for model in made)
    text = README.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END):]
    README.write_text(before + table + after, encoding="utf-8")


def check(made, binary, names):
    failures = []
    peers = json.loads(PEERS.read_text())
    text = README.read_text(encoding="utf-8")
    for model in made:
        holds = row(model, peers[model.name]) in text
        print(f"{'ok  ' if holds else 'FAIL'} README.md says of {model.name} what its files say", flush=True)
        failures += [] if holds else [model.name]
    by_name = {model.name: model for model in made}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            again, _ = by_name[name].again(binary, folder)
            found = tomllib.loads((again / "model.toml").read_text(encoding="utf-8"))["metrics"]
            committed = by_name[name].metadata["metrics"]
            # Other vector units round otherwise, and a row on the edge may fall to its other side.
            same = found.keys() == committed.keys() and all(
                np.abs(np.subtract(found[key], committed[key])).max() <= 0.01 * max(1, np.abs(committed[key]).max())
                for key in committed if key != "confusion")
            print(f"{'ok  ' if same else 'FAIL'} {name} trained again: {figures(found)}", flush=True)
            failures += [] if same else [name]
    total = len(made) + len(names)
    print(f"{total - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, default=ROOT / "target/release/millrace")
    parser.add_argument("--torch", action="store_true", help="fit the nets by PyTorch as well")
    parser.add_argument("--check", nargs="+", metavar="MODEL", help="hold the table and these models against the files")
    arguments = parser.parse_args()
    made, binary = models(), arguments.millrace.resolve()
    if arguments.check:
        return check(made, binary, arguments.check)
    write(made, binary, arguments.torch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
