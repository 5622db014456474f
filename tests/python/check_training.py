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
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from sklearn import metrics
from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression, Ridge
from sklearn.svm import SVC, SVR

from checks import check, check_close, check_relative, verdict

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
MODELS = ROOT / "models"

warnings.filterwarnings("ignore", message="The `probability` parameter was deprecated")  # libsvm's is what ours is held against


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
    return finished.stdout


class Run:
    """One `millrace train`, and all that came of it."""

    def __init__(self, binary, folder, algorithm, data, target, *options):
        report = Path(folder) / "report.json"
        command = [binary, "train", algorithm, "--data", data, "--target", target, "--model", "m", "--repository"]
        command += [folder, "--report", report, *options]
        call(command)
        self.binary, self.data = binary, data
        self.report = json.loads(report.read_text())
        self.folder = max((path for path in (Path(folder) / "m").iterdir()), key=lambda path: int(path.name))
        self.table = Table.read(data, target)
        self.train, self.test = self.report["train_rows"], self.report["test_rows"]

    def predict(self):
        """What millrace's own engine answers for every row: probabilities, or a number a row."""
        model = f"m/{self.folder.name}"
        command = [self.binary, "predict", "--model", model, "--data", self.data, "--repository", self.folder.parents[1]]
        header, *rows = csv.reader(call(command).splitlines())
        places = [place for place, name in enumerate(header) if name.startswith("probability_")]
        places = places or [header.index("prediction")]
        return np.array([[float(row[place]) for place in places] for row in rows])

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


def check_elastic_net(binary, folder):
    for lasso, ridge in [(100, 0), (1000, 0), (2, 0), (200, 50), (3000, 20)]:
        name = f"linear-regression --lasso {lasso} --ridge {ridge}"
        options = ["--lasso", lasso, "--ridge", ridge]
        run = Run(binary, folder, "linear-regression", DATA / "diabetes.csv", "progression", *options)
        rows, mean, scale = run.standardised()
        target = run.table.target.astype(float)
        count = len(rows)
        l1, l2 = lasso / (2 * count), ridge / count
        theirs = ElasticNet(alpha=l1 + l2, l1_ratio=l1 / (l1 + l2), tol=1e-14, max_iter=10**6).fit(rows, target[run.train])
        weights, bias = run.layer()
        check_close(f"{name}: coefficients as scikit-learn's", weights[:, 0], theirs.coef_, 1e-6)
        check_close(f"{name}: intercept as scikit-learn's", bias[0], theirs.intercept_, 1e-6)
        zeros = run.report["parameters"]["zero_coefficients"]
        check(f"{name}: as many coefficients are 0", zeros == (theirs.coef_ == 0).sum(), f"{zeros} of {len(mean)}")
        score = theirs.score((run.table.rows[run.test] - mean) / scale, target[run.test])
        check_close(f"{name}: held-out R² as scikit-learn's {score:.4f}", run.report["metrics"]["r2"], score, 1e-5)
        check_figures(name, run)


def check_logistic_regression(binary, folder):
    two = Path(folder) / "two.csv"
    iris = (DATA / "iris.csv").read_text().splitlines()
    two.write_text("\n".join(line for line in iris if not line.endswith("setosa")) + "\n")
    cases = [(DATA / "iris.csv", "species", 1), (DATA / "iris.csv", "species", 0.01), (two, "species", 1)]
    cases += [(DATA / "digits.csv", "digit", 1), (DATA / "digits.csv", "digit", 0.01)]
    cases += [(DATA / "breast_cancer.csv", "diagnosis", 1)]
    for data, target, l2 in cases:
        name = f"logistic-regression on {data.name} --l2 {l2}"
        run = Run(binary, folder, "logistic-regression", data, target, "--l2", l2)
        run.check_split(name)
        rows, mean, scale = run.standardised()
        theirs = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(rows, run.table.target[run.train])
        check(f"{name}: the order of classes", list(theirs.classes_) == run.report["classes"], run.report["classes"])
        weights, bias = run.layer()
        if len(theirs.classes_) == 2:  # scikit-learn keeps one function, for the second class against the first
            weights, bias = np.diff(weights, axis=1), np.diff(bias)
        check_close(f"{name}: coefficients as scikit-learn's", weights.T, theirs.coef_, 1e-3)
        check_close(f"{name}: intercepts as scikit-learn's", bias, theirs.intercept_, 1e-3)
        probabilities = theirs.predict_proba((run.table.rows[run.test] - mean) / scale)
        check_area(name, run, probabilities)
        check_figures(name, run)


def check_area(name, run, scores):
    """The ROC AUC of scikit-learn's own model on the same rows. Two rows of which 32 bits see the order another way are allowed."""
    truth, classes = run.table.target[run.test], run.report["classes"]
    if len(classes) == 2:
        scores = scores[:, 1] if scores.ndim == 2 else scores
        area = metrics.roc_auc_score(truth == classes[1], scores)
    else:
        area = np.mean([metrics.roc_auc_score(truth == name, scores[:, place]) for place, name in enumerate(classes)])
    smallest = min((truth == name).sum() for name in classes)
    pairs = smallest * (len(truth) - smallest)
    check_close(f"{name}: held-out ROC AUC as scikit-learn's {area:.4f}", run.report["metrics"]["roc_auc"], area, 1.01 / pairs)


SVM_KERNELS = {  # our options, scikit-learn's
    "linear": (["--kernel", "linear"], {"kernel": "linear"}),
    "rbf": (["--kernel", "rbf"], {"kernel": "rbf", "gamma": "scale"}),
    "rbf 0.1": (["--kernel", "rbf", "--gamma", 0.1], {"kernel": "rbf", "gamma": 0.1}),
    "poly": (["--kernel", "polynomial", "--coef0", 1], {"kernel": "poly", "gamma": "scale", "degree": 3, "coef0": 1}),
    "poly 2": (["--kernel", "polynomial", "--degree", 2, "--gamma", 0.05, "--coef0", 0.5],
               {"kernel": "poly", "gamma": 0.05, "degree": 2, "coef0": 0.5}),
}


def kernel_matrix(kernel, rows, vectors):
    products = rows @ vectors.T
    if kernel["type"] == "linear":
        return products
    if kernel["type"] == "polynomial":
        return (kernel["gamma"] * products + kernel["coef0"]) ** kernel["degree"]
    squares = (rows**2).sum(axis=1)[:, None] + (vectors**2).sum(axis=1)[None, :] - 2 * products
    return np.exp(-kernel["gamma"] * squares)


def svm_scores(parameters, rows):
    """The scores of standardised rows by the reported parameters: of each pair of classes, or the one number."""
    kernels = kernel_matrix(parameters["kernel"], rows, np.array(parameters["support_vectors"]))
    coefficients, intercepts = np.array(parameters["dual_coefficients"]), parameters["intercepts"]
    if "vectors_per_class" not in parameters:
        return kernels @ coefficients[0] + intercepts[0]
    ends = np.cumsum([0, *parameters["vectors_per_class"]])
    classes, scores = len(ends) - 1, []
    for first in range(classes):
        for second in range(first + 1, classes):
            own, other = slice(ends[first], ends[first + 1]), slice(ends[second], ends[second + 1])
            score = kernels[:, own] @ coefficients[second - 1, own] + kernels[:, other] @ coefficients[first, other]
            scores.append(score + intercepts[len(scores)])
    return np.array(scores).T


def check_svm_classification(binary, folder):
    cancer, iris, digits = (DATA / "breast_cancer.csv", "diagnosis"), (DATA / "iris.csv", "species"), (DATA / "digits.csv", "digit")
    cases = [(cancer, kernel, cost, []) for kernel in SVM_KERNELS for cost in (1, 10)]
    cases += [(iris, kernel, 1, []) for kernel in SVM_KERNELS] + [(digits, "rbf", 5, []), (digits, "linear", 1, [])]
    cases += [(cancer, "rbf", 1, ["--class-weights", "balanced"]), (iris, "rbf", 1, ["--class-weights", "balanced"])]
    for (data, target), kernel, cost, more in cases:
        name = " ".join(["svm on", data.stem, kernel, f"--c {cost}", *more])
        ours, theirs = SVM_KERNELS[kernel]
        run = Run(binary, folder, "svm", data, target, "--c", cost, *ours, *more)
        run.check_split(name)
        rows, mean, scale = run.standardised()
        weights = "balanced" if more else None
        options = {"C": cost, "tol": 1e-8, "decision_function_shape": "ovo", "class_weight": weights, "cache_size": 500, **theirs}
        theirs = SVC(**options).fit(rows, run.table.target[run.train])
        check(f"{name}: the order of classes", list(theirs.classes_) == run.report["classes"], len(theirs.classes_))
        every = (run.table.rows - mean) / scale
        scores = svm_scores(run.report["parameters"], every)
        decisions = theirs.decision_function(every)
        if len(theirs.classes_) == 2:  # above 0 scikit-learn takes the second class, and libsvm the first
            decisions = -decisions[:, None]
        check_close(f"{name}: decision values as scikit-learn's", scores, decisions, 1e-3)
        count, expected = len(run.report["parameters"]["support"]), len(theirs.support_)
        check(f"{name}: as many support vectors", abs(count - expected) <= max(1, 0.02 * expected), f"{count}, {expected}")
        check_svm_probabilities(name, run, options, rows, scores)
        check_figures(name, run)


def check_svm_probabilities(name, run, options, rows, scores):
    """The file's are those of the parameters; of two classes they are in the order of the scores; and they are as good as
    scikit-learn's, which depend on how chance divides the rows: the mean of five seeds."""
    answers = infer(run.folder, run.table.rows)
    sigmoids = run.report["parameters"]["sigmoids"]
    if answers.shape[1] == 2:
        (sigmoid,) = sigmoids
        expected = 1 / (1 + np.exp(sigmoid["a"] * scores[:, 0] + sigmoid["b"]))
        check_close(f"{name}: probabilities by the parameters", answers[:, 0], expected, 1e-4)
        ordered = answers[np.argsort(scores[:, 0], kind="stable"), 0]
        check(f"{name}: a higher score is a higher probability", (np.diff(ordered) >= -1e-4).all(), np.diff(ordered).min())
    losses = []
    truth, test = run.table.target, run.table.rows[run.test]
    _, mean, scale = run.standardised()
    for seed in range(5):
        theirs = SVC(probability=True, random_state=seed, **options).fit(rows, truth[run.train])
        losses.append(metrics.log_loss(truth[run.test], theirs.predict_proba((test - mean) / scale), labels=theirs.classes_))
    ours, mean_loss = run.report["metrics"]["log_loss"], np.mean(losses)
    allowed = 0.05 * mean_loss + (max(losses) - min(losses))
    check(f"{name}: held-out log-loss near scikit-learn's", abs(ours - mean_loss) <= allowed,
          f"{ours:.4f}, scikit-learn's {min(losses):.4f} to {max(losses):.4f}")
    if answers.shape[1] == 2:
        check_area(name, run, -scores[run.test, 0])


def check_svm_labels(binary, folder):
    """Without probabilities the file puts out labels, which are scikit-learn's."""
    for data, target in [("breast_cancer.csv", "diagnosis"), ("iris.csv", "species"), ("digits.csv", "digit")]:
        name = f"svm on {data} --no-probabilities"
        run = Run(binary, folder, "svm", DATA / data, target, "--no-probabilities")
        rows, mean, scale = run.standardised()
        theirs = SVC(tol=1e-8, break_ties=False).fit(rows, run.table.target[run.train])
        onnx.checker.check_model(str(run.folder / "model.onnx"), full_check=True)
        labels, expected = infer(run.folder, run.table.rows), theirs.predict((run.table.rows - mean) / scale)
        check(f"{name}: labels as scikit-learn's", (labels == expected).all(), f"{(labels == expected).mean():.4f} of them")
        accuracy = (labels == run.table.target)[run.test].mean()
        check_close(f"{name}: accuracy", run.report["metrics"]["accuracy"], accuracy, 1e-12)
        check(f"{name}: no log-loss is told", "log_loss" not in run.report["metrics"], run.report["metrics"].keys())


def svm_minimum(target, kernels, dual, cost, epsilon):
    """Coefficients and intercept where a machine for numbers has its minimum, and by how much they violate its conditions. Which
    rows are at the edge of the tube and which at their bound is taken from `dual`; the conditions of Karush, Kuhn and Tucker are
    linear equations then, which NumPy solves. That they all hold shows that this is the minimum, whoever named those rows."""
    sign, bound = np.sign(dual), np.abs(dual) >= cost * (1 - 1e-9)
    edge = (dual != 0) & ~bound
    exact = np.where(bound, sign * cost, 0.0)
    count = edge.sum()
    system = np.ones((count + 1, count + 1))
    system[:count, :count], system[count, count] = kernels[np.ix_(edge, edge)], 0
    known = np.append(target[edge] - epsilon * sign[edge] - kernels[edge] @ exact, -exact.sum())
    solution = np.linalg.solve(system, known)
    exact[edge], bias = solution[:-1], solution[-1]
    residual = target - kernels @ exact - bias
    violations = [np.abs(exact[edge]) - cost, -sign[edge] * exact[edge], np.abs(sign * residual - epsilon)[edge],
                  (epsilon - sign * residual)[bound], (np.abs(residual) - epsilon)[dual == 0]]
    return exact, bias, max(np.max(one, initial=0) for one in violations)


def check_svm_minimum(name, run, theirs, cost, epsilon):
    """Ours is the minimum, and scikit-learn's the minimum of the problem with kernel values rounded to 32 bits: that is what the
    two differ by."""
    rows, mean, scale = run.standardised()
    every = (run.table.rows - mean) / scale
    target = run.table.target.astype(float)[run.train]
    parameters = run.report["parameters"]
    exact = rows @ rows.T
    cases = [("here", exact, svm_scores(parameters, every), parameters["support"], parameters["dual_coefficients"][0], 5e-5),
             ("by scikit-learn, of kernel values in 32 bits", exact.astype(np.float32).astype(float), theirs.predict(every),
              theirs.support_, theirs.dual_coef_[0], 1e-6)]
    for whose, kernels, scores, support, coefficients, allowed in cases:
        dual = np.zeros(len(rows))
        dual[support] = coefficients
        dual, bias, violation = svm_minimum(target, kernels, dual, cost, epsilon)
        check(f"{name}: the conditions of the minimum hold, {whose}", violation < 1e-8, f"largest violation {violation:.1e}")
        check_close(f"{name}: predictions are those of the minimum, {whose}", scores, every @ rows.T @ dual + bias, allowed)


def check_svm_regression(binary, folder):
    # scikit-learn ends at a violation of 1e-3 of the conditions, unless told otherwise: at C = 50 its predictions are then 6e-3 from
    # the minimum. tol=1e-8 leaves what comes of its kernel values of 32 bits, up to 2.2e-3 there.
    costs = {"linear": [(1, 0.1), (10, 10), (50, 0.1), (50, 10)]}
    for kernel, (ours, theirs) in SVM_KERNELS.items():
        for cost, epsilon in costs.get(kernel, [(1, 0.1), (10, 10)]):
            name = f"svm on diabetes.csv {kernel} --c {cost} --epsilon {epsilon}"
            options = ["--task", "regression", "--c", cost, "--epsilon", epsilon, *ours]
            run = Run(binary, folder, "svm", DATA / "diabetes.csv", "progression", *options)
            rows, mean, scale = run.standardised()
            target = run.table.target.astype(float)
            fitted = SVR(C=cost, epsilon=epsilon, tol=1e-8, **theirs).fit(rows, target[run.train])
            every = (run.table.rows - mean) / scale
            predicted = fitted.predict(every)
            check_close(f"{name}: predictions by the parameters as scikit-learn's",
                        svm_scores(run.report["parameters"], every), predicted, 1e-3 if cost <= 10 else 5e-3)
            if kernel == "linear":
                check_svm_minimum(name, run, fitted, cost, epsilon)
            parameters = run.report["parameters"]
            scores = svm_scores(parameters, rows)
            vectors, dual = np.array(parameters["support_vectors"]), np.array(parameters["dual_coefficients"][0])
            ours_minimum = dual @ kernel_matrix(parameters["kernel"], vectors, vectors) @ dual / 2
            ours_minimum += cost * np.maximum(0, np.abs(target[run.train] - scores) - epsilon).sum()
            dual = fitted.dual_coef_[0]
            minimum = dual @ kernel_matrix(parameters["kernel"], fitted.support_vectors_, fitted.support_vectors_) @ dual / 2
            minimum += cost * np.maximum(0, np.abs(target[run.train] - fitted.predict(rows)) - epsilon).sum()
            # scikit-learn's is not quite the minimum, because it keeps kernel values in 32 bits.
            check(f"{name}: what is minimised is no larger than scikit-learn's", ours_minimum <= minimum * (1 + 1e-9),
                  f"{ours_minimum / minimum - 1:.1e}")
            check_relative(f"{name}: ONNX Runtime's answers as scikit-learn's", infer(run.folder, run.table.rows)[:, 0],
                           predicted, 1e-4)
            score = metrics.r2_score(target[run.test], predicted[run.test])
            check_close(f"{name}: held-out R² as scikit-learn's {score:.4f}", run.report["metrics"]["r2"], score, 1e-4)
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
    every = infer(run.folder, run.table.rows)
    check_relative(f"{name}: ONNX Runtime's answers as millrace's", run.predict(), every, 1e-4)
    answers, truth = every[run.test], run.table.target[run.test]
    compare_figures(name, run.report["metrics"], answers, truth, run.report["classes"])
    stored = tomllib.loads((run.folder / "model.toml").read_text())
    for figure, value in run.report["metrics"].items():
        check_relative(f"{name}: model.toml keeps {figure}", stored["metrics"][figure], value, 1e-5, 0)


def compare_figures(name, reported, answers, truth, classes):
    if not classes:
        truth, answers = truth.astype(float), answers[:, 0].astype(float)
        check_close(f"{name}: R² as sklearn.metrics", reported["r2"], metrics.r2_score(truth, answers), 1e-5)
        rmse = metrics.root_mean_squared_error(truth, answers)
        check_relative(f"{name}: RMSE as sklearn.metrics", reported["rmse"], rmse)
        check_relative(f"{name}: MAE as sklearn.metrics", reported["mae"], metrics.mean_absolute_error(truth, answers))
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
    scores = answers[:, 1] if len(classes) == 2 else answers
    area = metrics.roc_auc_score(labels, scores, multi_class="ovr", labels=places if len(classes) > 2 else None)
    check_close(f"{name}: ROC AUC as sklearn.metrics", reported["roc_auc"], area, 1e-4)


COMMITTED = {  # name: algorithm, the figure that must be reached, byte for byte on any machine
    "diabetes": ("linear-regression", None, True),
    "iris": ("logistic-regression", 0.93, True),
    "breast-cancer": ("svm", 0.96, False),
    "breast-cancer-logistic": ("logistic-regression", 0.96, True),
    "diabetes-svr": ("svm", None, False),
    "diabetes-lasso": ("linear-regression", None, True),
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
            option = option.replace("_", "-")
            if isinstance(value, bool):
                command.append(f"--{option}" if value else f"--no-{option}")
            elif option not in ("algorithm", "train-rows", "test-rows"):
                command += [f"--{option}", ",".join(map(str, value)) if isinstance(value, list) else value]
        if algorithm in ("svm", "neural-network"):
            command += ["--task", metadata["task"]]
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
    parts = [check_linear_regression, check_elastic_net, check_logistic_regression]
    parts += [check_svm_classification, check_svm_labels, check_svm_regression, check_neural_network, check_committed]
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            attempt(part, arguments.millrace, folder)
    if arguments.url:
        attempt(check_served, arguments.url)
    else:
        print("!!!! NOT CHECKED: answers over HTTP. Give --url of a running millrace to check them.")
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
