"""Holds the forecasts of `millrace train recurrent-network` against ONNX Runtime, NumPy and PyTorch.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-nets.txt
    .venv/bin/python tests/python/check_series.py --millrace target/release/millrace [--torch [--seeds 16]]

Small nets of every kind are trained on monthly sunspots. For each, the file must pass ONNX's checker, ONNX Runtime's answers
must give the figures of the report, and the simple forecasts that it is compared with are computed anew from the report's
split. With --torch (see requirements-torch.txt), the same architecture as in the committed model is fitted by PyTorch and by
millrace on the same windows, with seeds 1, 2, … each, and mean and standard deviation of both errors are printed. Every check
runs, whatever failed before it; the last line counts them, and the exit code is 1 if one failed.
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

import over_seeds
from checks import check, verdict

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "sunspots.csv"
COMMITTED = ROOT / "models" / "sunspots" / "1"

TRANSFORMS = {
    "none": (lambda x: x, lambda z: z),
    "sqrt": (np.sqrt, lambda z: np.maximum(z, 0) ** 2),
    "log": (np.log1p, lambda z: np.maximum(np.expm1(z), 0)),
}
BASELINE_OF = {
    "none": "linear autoregression",
    "sqrt": "linear autoregression of square roots",
    "log": "linear autoregression of logarithms",
}


def check_relative(what, ours, theirs, tolerance):
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if ours.shape != theirs.shape:
        check(what, False, f"shapes {ours.shape} and {theirs.shape}")
        return
    difference = (np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-9)).max()
    check(what, difference <= tolerance, f"largest relative difference {difference:.2e} (at most {tolerance:.0e})")


def rmse(forecast, truth):
    return float(np.sqrt(((forecast - truth) ** 2).mean()))


class Windows:
    """The series as windows, cut here anew."""

    def __init__(self, window, horizon):
        with open(DATA, newline="", encoding="utf-8") as file:
            self.series = np.array([float(row["sunspots"]) for row in csv.DictReader(file)])
        starts = np.arange(len(self.series) - window - horizon + 1)[:, None]
        self.window, self.horizon = window, horizon
        self.known = self.series[starts + np.arange(window)]
        self.steps = self.series[starts + window + np.arange(horizon)]

    def seasonal_naive(self, test, season):
        """For each step the newest value of the same place in the season that was known at the window's end."""
        forecast = np.empty((len(test), self.horizon))
        for place, row in enumerate(test):
            for step in range(self.horizon):
                time = row + self.window + step
                while time >= row + self.window:
                    time -= season
                forecast[place, step] = self.series[time]
        return rmse(forecast, self.steps[test])

    def autoregression(self, train, test, transform):
        apply, invert = TRANSFORMS[transform]
        design = lambda rows: np.column_stack([apply(self.known[rows]), np.ones(len(rows))])
        weights = np.linalg.lstsq(design(train), apply(self.steps[train]), rcond=None)[0]
        return rmse(invert(design(test) @ weights), self.steps[test])


def check_report(name, folder, report):
    options = report["options"]
    windows = Windows(options["window"], options["horizon"])
    train, test = report["train_rows"], report["test_rows"]
    last_seen, first_asked = train[-1] + windows.window + windows.horizon - 1, test[0] + windows.window
    check(f"{name}: every value asked for comes after every value seen", first_asked == last_seen + 1, first_asked)
    check(f"{name}: the last stretch is held out", test == list(range(test[0], len(windows.steps))), len(test))

    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    infer = lambda rows: session.run(None, {"inputs": windows.known[rows].astype(np.float32)})[0].astype(float)
    answers = infer(test)
    check_relative(f"{name}: RMSE from ONNX Runtime's answers", report["metrics"]["rmse"], rmse(answers, windows.steps[test]), 1e-4)
    by_step = [rmse(answers[:, step], windows.steps[test][:, step]) for step in range(windows.horizon)]
    check_relative(f"{name}: RMSE of each step", report["metrics"]["rmse_by_step"], by_step, 1e-4)
    alone = np.concatenate([infer([row]) for row in test[:5]])
    check_relative(f"{name}: rows alone and together", alone, answers[:5], 1e-4)

    baselines = {baseline["name"]: baseline["value"] for baseline in report["baselines"]}
    check_relative(f"{name}: seasonal-naive forecast as NumPy's", baselines["seasonal-naive forecast"],
                   windows.seasonal_naive(test, options["season"]), 1e-9)
    for transform in {"none", options["transform"]}:
        check_relative(f"{name}: {BASELINE_OF[transform]} as NumPy's", baselines[BASELINE_OF[transform]],
                       windows.autoregression(train, test, transform), 1e-6)
    stored = tomllib.loads((folder / "model.toml").read_text())
    check(f"{name}: model.toml says that it forecasts", stored["task"] == "forecast", stored["task"])
    return baselines


def train(binary, repository, *options):
    report = Path(repository) / "report.json"
    command = [binary, "train", "recurrent-network", "--data", DATA, "--target", "sunspots", "--model", "sunspots"]
    command += ["--repository", repository, "--report", report, *options]
    finished = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"exit code {finished.returncode}: {finished.stderr}")
    newest = max((Path(repository) / "sunspots").iterdir(), key=lambda path: int(path.name))
    return newest, json.loads(report.read_text())


def check_kinds(binary, repository):
    """Both cells, one layer and two, every transformation; trained for an epoch only, since it is the graph that is checked."""
    for cell in ["lstm", "gru"]:
        kinds = [(1, "none", 12, 3, "true"), (2, "sqrt", 24, 12, "false"), (1, "log", 36, 1, "true")]
        for layers, transform, window, horizon, linear_part in kinds:
            options = ["--cell", cell, "--layers", layers, "--transform", transform, "--window", window]
            options += ["--horizon", horizon, "--season", 132, "--epochs", 1, "--units", 16]
            options += ["--linear-part", linear_part]
            name = f"{layers} {cell} of {transform}"
            folder, report = train(binary, repository, *options)
            check_report(name, folder, report)


def committed_options(**changed):
    training = tomllib.loads((COMMITTED / "model.toml").read_text())["training"] | changed
    left_out = ("algorithm", "train_rows", "test_rows")
    written = {name: str(value).lower() if isinstance(value, bool) else value for name, value in training.items()}
    return [part for name, value in written.items() if name not in left_out
            for part in (f"--{name.replace('_', '-')}", value)]


def check_committed(binary, repository):
    """The committed model is made again, and betters the simple forecasts."""
    folder, report = train(binary, repository, *committed_options())
    baselines = check_report("sunspots", folder, report)
    found = report["metrics"]["rmse"]
    for name in ["seasonal-naive forecast", "linear autoregression"]:
        check(f"sunspots: better than the {name}", found < baselines[name], f"{found:.2f} < {baselines[name]:.2f}")


def compare_with_torch(binary, repository, count):
    """Both systems with `count` seeds. Which windows are held out, and which say what epoch is kept, does not depend on them."""
    ours, theirs = [], []
    for seed in range(1, count + 1):
        _, report = train(binary, repository, *committed_options(seed=seed))
        ours.append(report["metrics"]["rmse"])
        error, epoch = ByTorch(report).fit(seed)
        theirs.append(error)
        best = report["epochs"][-1]["best"]
        print(f"     seed {seed}: RMSE {ours[-1]:.3f} here (best in epoch {best}), {error:.3f} by PyTorch ({epoch})", flush=True)
    holds, found = over_seeds.compare("RMSE", ours, theirs, digits=2, larger_is_better=False)
    check("sunspots: no worse than PyTorch's by more than two standard errors", holds, found)


class ByTorch:
    """The same architecture, windows, split, optimiser and stopping rule by PyTorch."""

    # Where PyTorch's gates stand among ONNX's: input, forget, candidate, output; reset, update, candidate.
    GATES = {"lstm": [0, 2, 3, 1], "gru": [1, 0, 2]}

    def __init__(self, report):
        import torch

        torch.set_num_threads(1)
        self.torch, self.report, self.options = torch, report, report["options"]
        options = self.options
        self.windows = windows = Windows(options["window"], options["horizon"])
        self.apply, self.invert = TRANSFORMS[options["transform"]]
        rows = np.array(report["train_rows"])
        held_out = round(len(rows) * options["validation_fraction"])
        learnt, unseen = rows[: len(rows) - held_out - (windows.horizon - 1)], rows[len(rows) - held_out:]
        known, steps = self.apply(windows.known[learnt]), self.apply(windows.steps[learnt])
        self.mean, self.scale = known.mean(), known.std()
        self.centre, self.spread = steps.mean(axis=0), steps.std(axis=0)
        self.weights = np.zeros((windows.window + 1, windows.horizon))
        if options["linear_part"]:  # fitted by least squares, and not any more
            self.weights = np.linalg.lstsq(self.flat(learnt), (steps - self.centre) / self.spread, rcond=None)[0]
        self.learnt, self.unseen = self.samples(learnt), self.samples(unseen)

    def flat(self, part):
        return np.column_stack([(self.apply(self.windows.known[part]) - self.mean) / self.scale, np.ones(len(part))])

    def samples(self, part):
        """Windows, and what the linear part leaves of the steps."""
        flat = self.flat(part)
        left = (self.apply(self.windows.steps[part]) - self.centre) / self.spread - flat @ self.weights
        return self.torch.tensor(flat[:, :-1, None], dtype=self.torch.float32), self.torch.tensor(left, dtype=self.torch.float32)

    def net(self):
        nn, options = self.torch.nn, self.options
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[options["cell"]]
        layers = kind(1, options["units"], options["layers"], batch_first=True)
        net = nn.ModuleList([layers, nn.Linear(options["units"], self.windows.horizon)])
        if options["linear_part"]:
            nn.init.zeros_(net[1].weight)
            nn.init.zeros_(net[1].bias)
        return net

    def begin_as(self, net, parameters):
        """Puts the weights of a report into a net."""
        def by_gate(values):
            values = np.array(values)
            if values.ndim == 2:
                values = values.T
            gates = np.split(values, len(self.GATES[self.options["cell"]]))
            return np.concatenate([gates[place] for place in self.GATES[self.options["cell"]]])

        # The head of a report is in the series' unit.
        spread = self.spread
        weights, bias = np.array(parameters["head"]["weights"]) / spread, (parameters["head"]["bias"] - self.centre) / spread
        state = {"1.weight": weights.T, "1.bias": bias}
        names = {"input": "weight_ih", "recurrent": "weight_hh", "bias": "bias_ih", "state_bias": "bias_hh"}
        for place, layer in enumerate(parameters["layers"]):
            state |= {f"0.{theirs}_l{place}": by_gate(layer[ours]) for ours, theirs in names.items()}
        net.load_state_dict({name: self.torch.tensor(values, dtype=self.torch.float32) for name, values in state.items()})

    @staticmethod
    def forward(net, values):
        return net[1](net[0](values)[0][:, -1])

    def epochs(self, net):
        """Trains, and gives the losses on both parts after each epoch."""
        torch, options = self.torch, self.options
        loss_of = lambda x, y: torch.nn.functional.mse_loss(self.forward(net, x), y)
        optimiser = torch.optim.AdamW(net.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"])
        x, y = self.learnt
        for _ in range(options["epochs"]):
            total = 0
            for batch in torch.randperm(len(x)).split(options["batch_size"]):
                optimiser.zero_grad()
                loss = loss_of(x[batch], y[batch])
                loss.backward()
                optimiser.step()
                total += loss.item() * len(batch)
            with torch.no_grad():
                yield total / len(x), loss_of(*self.unseen).item()

    def fit(self, seed):
        """RMSE and best epoch."""
        self.torch.manual_seed(seed)
        net, lowest, best, kept = self.net(), np.inf, 0, None
        for epoch, (_, loss) in enumerate(self.epochs(net), start=1):
            if loss < lowest:
                lowest, best, kept = loss, epoch, {name: value.clone() for name, value in net.state_dict().items()}
            if epoch - best >= self.options["patience"]:
                break
        net.load_state_dict(kept)
        test = np.array(self.report["test_rows"])
        with self.torch.no_grad():
            steps = self.forward(net, self.samples(test)[0]).numpy() + self.flat(test) @ self.weights
        return rmse(self.invert(steps * self.spread + self.centre), self.windows.steps[test]), best


def check_steps(binary, repository):
    """From the same weights, steps on all windows at once, whose order does not matter, lead PyTorch through the same losses:
    gradients, optimiser, and what is learnt from are the same."""
    for cell in ["lstm", "gru"]:
        options = {"cell": cell, "layers": 2, "batch_size": 10**6, "learning_rate": 0.01, "epochs": 12, "weight_decay": 0.01}
        # Beside a linear part the slope of the head's bias begins as rounding, whose sign decides the first step.
        options["linear_part"] = False
        _, report = train(binary, repository, *committed_options(**options))
        # Steps this small move nothing, so that this run tells where the other one began.
        _, begun = train(binary, repository, *committed_options(**options | {"learning_rate": 1e-30, "epochs": 1}))
        by_torch = ByTorch(report)
        net = by_torch.net()
        by_torch.begin_as(net, begun["parameters"])
        ours = [[epoch["training_loss"], epoch["validation_loss"]] for epoch in report["epochs"]]
        check_relative(f"2 {cell}: losses as PyTorch's from the same weights", ours, list(by_torch.epochs(net)), 1e-4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millrace", default=ROOT / "target/release/millrace", help="the binary")
    parser.add_argument("--torch", action="store_true", help="compare with PyTorch as well")
    parser.add_argument("--seeds", type=int, default=16, help="how often each of the two is fitted then, at least 2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check_kinds(arguments.millrace, folder)
        if COMMITTED.exists():
            check_committed(arguments.millrace, folder)
            if arguments.torch:
                check_steps(arguments.millrace, folder)
                compare_with_torch(arguments.millrace, folder, arguments.seeds)
        else:
            print("!!!! NOT CHECKED: there is no models/sunspots/1")
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
