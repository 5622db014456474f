"""Holds tables with categories, texts and gaps against scikit-learn and ONNX Runtime, and Parquet against CSV.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-zoo.txt
    .venv/bin/python tests/python/check_columns.py --millrace target/release/millrace

Every check runs, whatever failed before it; the last line counts them, and the exit code is 1 if one failed.
"""

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_fscore_support
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from checks import check, check_close, verdict

ROOT = Path(__file__).resolve().parents[2]
PENGUINS = ROOT / "data" / "penguins.csv"
NUMBERS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
CATEGORIES = ["island", "sex"]


class Runner:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, Path(folder)

    def call(self, *arguments):
        command = [str(part) for part in [self.binary, *arguments]]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit code {finished.returncode}: {finished.stderr}")
        return finished.stdout

    def train(self, name, data, *options):
        """Trains and gives the version's folder and the report."""
        report = self.folder / f"{name}.json"
        self.call("train", "logistic-regression", "--data", data, "--model", name, "--repository",
                  self.folder / "models", "--report", report, *options)
        folder = max((self.folder / "models" / name).iterdir(), key=lambda path: int(path.name))
        return folder, json.loads(report.read_text())

    def predict(self, name, data):
        """The probabilities of every row, by `millrace predict`."""
        output = self.call("predict", "--model", name, "--data", data, "--repository", self.folder / "models")
        header, *rows = csv.reader(io.StringIO(output))
        places = [place for place, column in enumerate(header) if column.startswith("probability_")]
        return np.array([[float(row[place]) for place in places] for row in rows])


def infer(folder, table):
    """What ONNX Runtime answers for the columns of a table."""
    onnx.checker.check_model(onnx.load(folder / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    feed = {}
    for port in session.get_inputs():
        column = table[port.name]
        is_text = port.type == "tensor(string)"
        values = column.fillna("").astype(object).to_numpy() if is_text else column.to_numpy(dtype=np.float32)
        feed[port.name] = values.reshape(-1, 1)
    return session.run(["probabilities"], feed)[0]


def check_penguins(runner):
    table = pandas.read_csv(PENGUINS)
    for missing in ["mean", "median"]:
        name = f"penguins-{missing}"
        folder, report = runner.train(name, PENGUINS, "--target", "species", "--categorical", ",".join(CATEGORIES),
                                      "--ignore", "year", "--missing", missing)
        pipeline = Pipeline([
            ("columns", ColumnTransformer([
                ("numbers", SimpleImputer(strategy=missing), NUMBERS),
                ("categories", OneHotEncoder(sparse_output=False), CATEGORIES),
            ])),
            ("scale", StandardScaler()),
            ("model", LogisticRegression(C=1.0, max_iter=10_000, tol=1e-10)),
        ])
        train = table.iloc[report["train_rows"]]
        pipeline.fit(train, train["species"])
        theirs = pipeline.predict_proba(table)
        ours = runner.predict(name, PENGUINS)
        check_close(f"{name}: probabilities as scikit-learn's", ours, theirs, 1e-4)
        check_close(f"{name}: ONNX Runtime's answers", infer(folder, table), ours, 1e-4)
        held_out = table.iloc[report["test_rows"]]
        score = pipeline.score(held_out, held_out["species"])
        accuracy = report["metrics"]["accuracy"]
        check(f"{name}: held-out accuracy as scikit-learn's", abs(accuracy - score) < 1e-9, f"{accuracy:.4f}")


def check_balanced(runner):
    """Class weights, on penguins of which two of three chinstraps are left out."""
    table = pandas.read_csv(PENGUINS).dropna().drop(columns=["island", "sex", "year"])
    rare = table["species"] == "Chinstrap"
    table = pandas.concat([table[~rare], table[rare].iloc[::3]])
    data = runner.folder / "rare.csv"
    table.to_csv(data, index=False)
    _, report = runner.train("rare", data, "--target", "species", "--class-weights", "balanced")
    train = table.iloc[report["train_rows"]]
    model = Pipeline([("scale", StandardScaler()),
                      ("model", LogisticRegression(C=1.0, class_weight="balanced", max_iter=10_000, tol=1e-10))])
    model.fit(train[NUMBERS], train["species"])
    check_close("class weights: probabilities as scikit-learn's", runner.predict("rare", data),
                model.predict_proba(table[NUMBERS]), 1e-4)


def check_texts(runner):
    """Texts made of the penguins' columns, one of four kinds of sentences each."""
    table = pandas.read_csv(PENGUINS).fillna({"sex": "unknown"})
    phrases = ["A {sex} penguin on {island}, {year}.", "{island} ({year}): {sex}!", "seen in {year} — {sex}, ISLAND {island}",
               "Émile saw a {sex} bird; {island}"]
    rows = table.to_dict("records")
    note = [phrases[place % 4].format(**row) for place, row in enumerate(rows)]
    table = pandas.DataFrame({"note": note, "bill_length_mm": table["bill_length_mm"].fillna(44.0),
                              "species": table["species"]})
    data = runner.folder / "notes.csv"
    table.to_csv(data, index=False)
    folder, report = runner.train("notes", data, "--target", "species", "--text", "note")
    pipeline = Pipeline([
        ("columns", ColumnTransformer([
            ("words", TfidfVectorizer(token_pattern=r"[^\W_]+", min_df=2), "note"),
            ("numbers", "passthrough", ["bill_length_mm"]),
        ], sparse_threshold=0)),
        ("scale", StandardScaler()),
        ("model", LogisticRegression(C=1.0, max_iter=10_000, tol=1e-10)),
    ])
    train = table.iloc[report["train_rows"]]
    pipeline.fit(train, train["species"])
    ours = runner.predict("notes", data)
    check_close("texts: probabilities as scikit-learn's", ours, pipeline.predict_proba(table), 1e-4)
    check_close("texts: ONNX Runtime's answers", infer(folder, table), ours, 1e-4)


def check_parquet(runner):
    table = pandas.read_csv(PENGUINS)
    options = ["--target", "species", "--categorical", ",".join(CATEGORIES), "--ignore", "year", "--missing", "mean"]
    by_csv, _ = runner.train("by-csv", PENGUINS, *options)
    for compression in ["snappy", "zstd", "gzip", None]:
        data = runner.folder / f"penguins-{compression}.parquet"
        table.to_parquet(data, compression=compression, index=False)
        name = f"by-parquet-{compression}"
        folder, _ = runner.train(name, data, *options)
        same = onnx.load(folder / "model.onnx").graph.SerializeToString().replace(name.encode(), b"by-csv") \
            == onnx.load(by_csv / "model.onnx").graph.SerializeToString()
        answers = runner.predict(name, data)
        close = np.abs(answers - runner.predict("by-csv", PENGUINS)).max()
        check(f"parquet ({compression}): the same model as by CSV", same or close == 0, f"difference {close}")


def check_evaluate(runner):
    """The figures of a model that was trained elsewhere, on new data."""
    table = pandas.read_csv(PENGUINS)
    name = "penguins-mean"
    figures = json.loads(runner.call("evaluate", "--model", name, "--data", PENGUINS, "--json", "--repository",
                                     runner.folder / "models"))
    ours = runner.predict(name, PENGUINS)
    classes = sorted(table["species"].unique())
    truth = table["species"].map(classes.index).to_numpy()
    accuracy = (ours.argmax(axis=1) == truth).mean()
    loss = -np.log(ours[np.arange(len(truth)), truth]).mean()
    check("evaluate: accuracy", abs(figures["accuracy"] - accuracy) < 1e-9, figures["accuracy"])
    check("evaluate: log-loss", abs(figures["log_loss"] - loss) < 1e-5, figures["log_loss"])
    by_class = [[row["precision"], row["recall"], row["f1"], row["rows"]] for row in figures["by_class"]]
    expected = precision_recall_fscore_support(truth, ours.argmax(axis=1))
    check_close("evaluate: precision, recall, F1 and rows by class", by_class, np.transpose(expected), 1e-9)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, default=ROOT / "target/release/millrace")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(arguments.millrace.resolve(), folder)
        for part in [check_penguins, check_balanced, check_texts, check_parquet, check_evaluate]:
            try:
                part(runner)
            except Exception as error:  # the others still run
                check(part.__name__, False, error)
    sys.exit(verdict())


if __name__ == "__main__":
    main()
