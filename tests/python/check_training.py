"""Holds what `millrace train` fits and writes against scikit-learn and ONNX Runtime.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/check_training.py --millrace target/release/millrace [--url http://127.0.0.1:8080]

With --url, a running millrace that serves the committed models is asked over HTTP as well. Every check runs, whatever
failed before it; the last line counts them, and the exit code is 1 if one failed.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from sklearn import metrics
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
MODELS = ROOT / "models"

passed, failed = [], []


def check(what, holds, found):
    (passed if holds else failed).append(what)
    print(f"{'ok  ' if holds else 'FAIL'} {what}: {found}", flush=True)


def check_close(what, ours, theirs, tolerance):
    """The largest absolute difference."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if ours.shape != theirs.shape:
        check(what, False, f"shapes {ours.shape} and {theirs.shape}")
        return
    difference = np.abs(ours - theirs).max()
    check(what, difference <= tolerance, f"largest difference {difference:.2e} (at most {tolerance:.0e})")


def check_relative(what, ours, theirs, tolerance=1e-5, floor=1e-6):
    """The largest difference relative to the value; values near 0 may differ by `floor`."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if ours.shape != theirs.shape:
        check(what, False, f"shapes {ours.shape} and {theirs.shape}")
        return
    allowed = np.maximum(tolerance * np.abs(theirs), floor)
    difference = np.abs(ours - theirs)
    worst = np.divide(difference, allowed, out=np.where(difference > 0, np.inf, 0), where=allowed > 0).max()
    check(what, worst <= 1, f"{worst:.3f} of the allowed difference (relative {tolerance:.0e}, or {floor:.0e})")


@dataclass
class Table:
    features: list
    rows: np.ndarray
    target: np.ndarray  # text

    @staticmethod
    def read(path, target):
        with open(path, newline="", encoding="utf-8") as file:
            header, *records = csv.reader(file)
        place = header.index(target)
        features = [name for name in header if name != target]
        rows = [[float(value) for column, value in enumerate(record) if column != place] for record in records]
        return Table(features, np.array(rows), np.array([record[place] for record in records]))


def call(command):
    command = [str(part) for part in command]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {finished.returncode}: {finished.stderr}")


class Run:
    """One `millrace train`, and all that came of it."""

    def __init__(self, binary, folder, algorithm, data, target, *options):
        report = Path(folder) / "report.json"
        command = [binary, "train", algorithm, "--data", data, "--target", target, "--model", "m", "--repository"]
        command += [folder, "--report", report, *options]
        call(command)
        self.report = json.loads(report.read_text())
        self.folder = max((path for path in (Path(folder) / "m").iterdir()), key=lambda path: int(path.name))
        self.table = Table.read(data, target)
        self.train, self.test = self.report["train_rows"], self.report["test_rows"]

    def standardised(self):
        """The training rows by NumPy's mean and deviation, and millrace's own beside them."""
        rows = self.table.rows[self.train]
        scale = rows.std(axis=0)
        scale[scale == 0] = 1
        return (rows - rows.mean(axis=0)) / scale, rows.mean(axis=0), scale

    def check_split(self, name):
        both = sorted(self.train + self.test)
        check(f"{name}: every row is on one side of the split", both == list(range(len(self.table.rows))), len(both))

    def check_standardisation(self, name):
        _, mean, scale = self.standardised()
        ours = self.report["parameters"]["standardisation"]
        check_close(f"{name}: column means", ours["mean"], mean, 1e-9)
        check_close(f"{name}: column deviations", ours["scale"], scale, 1e-9)

    def layer(self):
        (layer,) = self.report["parameters"]["layers"]
        return np.array(layer["weights"]), np.array(layer["bias"])


def infer(folder, rows):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    (answer,) = session.run(None, {given.name: in_shape(rows, given.shape).astype(np.float32)})
    return answer


def in_shape(rows, shape):
    """Rows as the graph takes them: the pixels of an image stand in columns."""
    return rows.reshape(-1, *shape[1:])


def check_linear_regression(binary, folder):
    for ridge in [0, 2.5]:
        name = f"linear-regression --ridge {ridge}"
        run = Run(binary, folder, "linear-regression", DATA / "diabetes.csv", "progression", "--ridge", ridge)
        run.check_split(name)
        run.check_standardisation(name)
        rows, _, _ = run.standardised()
        target = run.table.target.astype(float)
        theirs = (Ridge(alpha=ridge, solver="svd") if ridge else LinearRegression()).fit(rows, target[run.train])
        weights, bias = run.layer()
        check_close(f"{name}: coefficients as scikit-learn's", weights[:, 0], theirs.coef_, 1e-6)
        check_close(f"{name}: intercept as scikit-learn's", bias[0], theirs.intercept_, 1e-6)
        _, mean, scale = run.standardised()
        score = theirs.score((run.table.rows[run.test] - mean) / scale, target[run.test])
        check_close(f"{name}: held-out R² as scikit-learn's {score:.4f}", run.report["metrics"]["r2"], score, 0.01)
        check_figures(name, run)


def check_logistic_regression(binary, folder):
    two = Path(folder) / "two.csv"
    iris = (DATA / "iris.csv").read_text().splitlines()
    two.write_text("\n".join(line for line in iris if not line.endswith("setosa")) + "\n")
    cases = [(DATA / "iris.csv", "species", 1), (DATA / "iris.csv", "species", 0.01), (two, "species", 1)]
    cases += [(DATA / "digits.csv", "digit", 1), (DATA / "digits.csv", "digit", 0.01)]
    for data, target, l2 in cases:
        name = f"logistic-regression on {data.name} --l2 {l2}"
        run = Run(binary, folder, "logistic-regression", data, target, "--l2", l2)
        run.check_split(name)
        rows, _, _ = run.standardised()
        theirs = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(rows, run.table.target[run.train])
        check(f"{name}: the order of classes", list(theirs.classes_) == run.report["classes"], run.report["classes"])
        weights, bias = run.layer()
        if len(theirs.classes_) == 2:  # scikit-learn keeps one function, for the second class against the first
            weights, bias = np.diff(weights, axis=1), np.diff(bias)
        check_close(f"{name}: coefficients as scikit-learn's", weights.T, theirs.coef_, 1e-3)
        check_close(f"{name}: intercepts as scikit-learn's", bias, theirs.intercept_, 1e-3)
        check_figures(name, run)


def check_neural_network(binary, folder):
    name = "neural-network for numbers"
    options = ["--task", "regression", "--hidden", "16"]
    run = Run(binary, folder, "neural-network", DATA / "diabetes.csv", "progression", *options)
    run.check_split(name)
    check(f"{name}: held-out R² above 0.3", run.report["metrics"]["r2"] > 0.3, run.report["metrics"]["r2"])
    check_figures(name, run)


def check_figures(name, run):
    """The reported figures are those that sklearn.metrics computes from ONNX Runtime's answers."""
    onnx.checker.check_model(str(run.folder / "model.onnx"), full_check=True)
    answers = infer(run.folder, run.table.rows[run.test])
    truth = run.table.target[run.test]
    compare_figures(name, run.report["metrics"], answers, truth, run.report["classes"])
    stored = tomllib.loads((run.folder / "model.toml").read_text())
    for figure, value in run.report["metrics"].items():
        check_relative(f"{name}: model.toml keeps {figure}", stored["metrics"][figure], value, 1e-8, 0)


def compare_figures(name, reported, answers, truth, classes):
    if not classes:
        truth, answers = truth.astype(float), answers[:, 0].astype(float)
        check_close(f"{name}: R² as sklearn.metrics", reported["r2"], metrics.r2_score(truth, answers), 1e-5)
        rmse = metrics.root_mean_squared_error(truth, answers)
        check_relative(f"{name}: RMSE as sklearn.metrics", reported["rmse"], rmse)
        return
    labels = np.array([classes.index(name) for name in truth])
    places = list(range(len(classes)))
    answers = answers.astype(float)
    answers /= answers.sum(axis=1, keepdims=True)  # which is 1 in 32 bits, and now in 64 bits as well
    loss = metrics.log_loss(labels, answers, labels=places)
    confusion = metrics.confusion_matrix(labels, answers.argmax(axis=1), labels=places)
    accuracy = metrics.accuracy_score(labels, answers.argmax(axis=1))
    check_close(f"{name}: log-loss as sklearn.metrics", reported["log_loss"], loss, 1e-5)
    check(f"{name}: confusion matrix as sklearn.metrics", reported["confusion"] == confusion.tolist(), "compared")
    check_close(f"{name}: accuracy as sklearn.metrics", reported["accuracy"], accuracy, 1e-12)


COMMITTED = {  # name: algorithm, the figure that must be reached, byte for byte on any machine
    "diabetes": ("linear-regression", None, True),
    "iris": ("logistic-regression", 0.93, True),
    "digits": ("neural-network", 0.95, False),  # sums of 32-bit floats depend on the width of the vector units
}


def check_committed(binary, folder):
    """The committed models come out of their own options again."""
    for name, (algorithm, accuracy, exact) in COMMITTED.items():
        committed = MODELS / name / "1"
        metadata = tomllib.loads((committed / "model.toml").read_text())
        repository = Path(folder) / "again" / name
        repository.mkdir(parents=True)
        training, source = metadata["training"], metadata["source"]
        check(f"models/{name}: algorithm", training["algorithm"] == algorithm, training["algorithm"])
        # The same name, because it is written into the graph.
        command = [binary, "train", algorithm, "--data", DATA / source["data"], "--target", source["target"]]
        command += ["--model", name, "--repository", repository, "--description", metadata["description"]]
        for option, value in training.items():
            if option not in ("algorithm", "train_rows", "test_rows"):
                value = ",".join(map(str, value)) if isinstance(value, list) else value
                command += [f"--{option.replace('_', '-')}", value]
        call(command)
        again = repository / name / "1"
        table = Table.read(DATA / source["data"], source["target"])
        if exact:
            for file in ["model.onnx", "model.toml"]:
                same = (committed / file).read_bytes() == (again / file).read_bytes()
                check(f"models/{name}: {file} is made again byte for byte", same, "compared")
        check_close(f"models/{name}: made again, the same answers", infer(again, table.rows),
                    infer(committed, table.rows), 1e-3)
        if accuracy:
            for which, folder_of in [("committed", committed), ("made again", again)]:
                found = tomllib.loads((folder_of / "model.toml").read_text())["metrics"]["accuracy"]
                check(f"models/{name}: held-out accuracy, {which}", found >= accuracy, f"{found:.4f} ≥ {accuracy}")


def check_served(url):
    """A running millrace gives ONNX Runtime's answers for every row of every committed model."""
    for name in COMMITTED:
        metadata = tomllib.loads((MODELS / name / "1" / "model.toml").read_text())
        table = Table.read(DATA / metadata["source"]["data"], metadata["source"]["target"])
        expected = infer(MODELS / name / "1", table.rows)
        (given,) = onnxruntime.InferenceSession(str(MODELS / name / "1" / "model.onnx")).get_inputs()
        rows = in_shape(table.rows, given.shape)
        served = {"predictions": [], "probabilities": []}
        for start in range(0, len(table.rows), 200):
            answer = predict(url, name, rows[start:start + 200])
            for key, values in served.items():
                values.extend(answer.get(key) or [])
        if not metadata.get("classes"):
            check_relative(f"served {name}: predictions as ONNX Runtime's", served["predictions"], expected[:, 0])
            continue
        check_relative(f"served {name}: probabilities as ONNX Runtime's", served["probabilities"], expected)
        likeliest = [metadata["classes"][place] for place in expected.argmax(axis=1)]
        check(f"served {name}: classes as ONNX Runtime's", served["predictions"] == likeliest, len(likeliest))


def predict(url, model, rows):
    body = json.dumps({"inputs": rows.tolist()}).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{url.rstrip('/')}/models/{model}/predict", body, headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def attempt(part, *arguments):
    """A part that breaks off is a failed check and does not keep the other parts from running."""
    try:
        part(*arguments)
    except Exception as error:
        check(part.__name__, False, f"broke off: {error!r}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millrace", default=ROOT / "target/release/millrace", help="the binary")
    parser.add_argument("--url", help="a running millrace that serves models/")
    arguments = parser.parse_args()
    for part in [check_linear_regression, check_logistic_regression, check_neural_network, check_committed]:
        with tempfile.TemporaryDirectory() as folder:
            attempt(part, arguments.millrace, folder)
    if arguments.url:
        attempt(check_served, arguments.url)
    else:
        print("!!!! NOT CHECKED: answers over HTTP. Give --url of a running millrace to check them.")
    print(f"{len(passed)} checks passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
