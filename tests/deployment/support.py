"""What the checks here share: counting, waiting, HTTP, load, questions to Prometheus. Standard library only."""

import csv
import http.client
import itertools
import json
import math
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["iris", "digits", "diabetes"]


class Checks:
    """Counts what held and what did not, one printed line each."""

    def __init__(self):
        self.passed = self.failed = 0

    def that(self, what, holds, found=""):
        """Notes whether `what` holds; `found` is printed as well: what was seen."""
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{'ok    ' if holds else 'FAILED'}  {what}{f': {found}' if found != '' else ''}", flush=True)
        return bool(holds)

    def close(self):
        """Prints the closing line; gives the exit code."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


class Stopped(Exception):
    """Nothing that follows could be checked; the text says why."""


def wait_for(what, condition, seconds=60):
    """Asks `condition` until it gives something true, which is returned. Errors on the way count as "not yet"."""
    deadline = time.monotonic() + seconds
    seen = None
    while time.monotonic() < deadline:
        try:
            seen = condition()
            if seen:
                return seen
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
            seen = error
        time.sleep(0.1)
    raise Stopped(f"{what}: not within {seconds} s (last seen: {seen!r})")


def get(url):
    """The body of an answer with status 200."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def predict(gateway, model, inputs):
    """(status, answer, worker) of one prediction."""
    request = urllib.request.Request(
        f"{gateway}/predict",
        json.dumps({"model": model, "inputs": inputs}).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), answer.headers.get("x-millrace-worker")
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers.get("x-millrace-worker")


def wait_for_models(gateway):
    """Waits until some worker has each model ready: a gateway takes a worker in with its first ready one."""

    def all_ready():
        listed = json.loads(get(f"{gateway}/models"))["models"]
        ready = {model["name"] for model in listed for version in model["versions"] if version["state"] == "ready"}
        return ready >= set(MODELS)

    wait_for(f"{', '.join(MODELS)} ready", all_ready)


def rows_of(data):
    """(inputs, targets) of a data set of the repository; the target is the last column."""
    with open(ROOT / "data" / f"{data}.csv", newline="") as file:
        _, *rows = csv.reader(file)
    return [[float(value) for value in row[:-1]] for row in rows], [row[-1] for row in rows]


def check_models(checks, gateway):
    """Predicts every row of the three data sets, and compares with what the data say."""
    for model, least in [("iris", 0.93), ("digits", 0.95)]:
        inputs, targets = rows_of(model)
        status, answer, _ = predict(gateway, model, inputs)
        if not checks.that(f"{model} is predicted", status == 200, status):
            continue
        right = sum(str(found) == target for found, target in zip(answer["predictions"], targets, strict=True))
        what = f"{model}: at least {least:.0%} of {len(targets)} rows are right"
        checks.that(what, right >= least * len(targets), right)
    inputs, targets = rows_of("diabetes")
    status, answer, _ = predict(gateway, "diabetes", inputs)
    if checks.that("diabetes is predicted", status == 200, status):
        determination = r_squared([float(target) for target in targets], answer["predictions"])
        checks.that("diabetes: R² over all rows is above 0.45", determination > 0.45, f"{determination:.3f}")


def r_squared(targets, predictions):
    """The coefficient of determination."""
    mean = math.fsum(targets) / len(targets)
    residual = math.fsum((target - found) ** 2 for target, found in zip(targets, predictions, strict=True))
    return 1 - residual / math.fsum((target - mean) ** 2 for target in targets)


class Load:
    """Steady load: a few clients on connections that stay open, each sending its next request on the last answer."""

    CLIENTS = 4

    def __init__(self, gateway):
        self.address = urllib.parse.urlsplit(gateway).netloc
        self.answered, self.answers, self.failures = 0, Counter(), []  # answers by worker and model
        self.lock, self.ended = threading.Lock(), threading.Event()
        bodies = []
        for rows in zip(*(rows_of(model)[0][:50] for model in MODELS)):
            for model, row in zip(MODELS, rows, strict=True):
                bodies.append((model, json.dumps({"model": model, "inputs": [row]}).encode()))
        self.threads = [
            threading.Thread(target=self._send, args=(itertools.cycle(bodies[start:] + bodies[:start]),))
            for start in range(self.CLIENTS)
        ]

    def _send(self, bodies):
        connection = http.client.HTTPConnection(self.address, timeout=30)
        for model, body in bodies:
            if self.ended.is_set():
                break
            try:
                connection.request("POST", "/predict", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                problem = None if answer.status == 200 else f"{answer.status} {text[:300]!r}"
                worker = answer.headers.get("x-millrace-worker")
            except (OSError, http.client.HTTPException) as error:
                problem, worker = repr(error), None
                connection.close()
            with self.lock:
                self.answered += problem is None
                self.answers[worker, model] += problem is None
                if problem:
                    self.failures.append(problem)
        connection.close()

    def more(self, requests=500):
        """Waits until so many further requests were answered."""
        goal = self.answered + requests
        wait_for(f"{requests} more answers under load", lambda: self.answered >= goal or self.failures)

    def until_answered_by(self, worker):
        """Waits until this worker has answered for every model once more than now."""
        before = {model: self.answers[worker, model] for model in MODELS}
        for model in MODELS:
            wait_for(f"{model} by worker {worker}", lambda: self.answers[worker, model] > before[model])


@contextmanager
def load(checks, gateway, what):
    """Runs `what` happens under load, and checks that no request failed."""
    clients = Load(gateway)
    for thread in clients.threads:
        thread.start()
    try:
        clients.more()
        yield clients
        clients.more()
    finally:
        clients.ended.set()
        for thread in clients.threads:
            thread.join()
    found = f"{clients.answered} answered, {len(clients.failures)} failed"
    checks.that(f"{what}: no request failed", clients.answered and not clients.failures, found)
    for failure in clients.failures[:5]:
        print(f"        {failure}")


def metric(url, name, **labels):
    """The value of one sample of a metrics page."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for line in get(f"{url}/metrics").splitlines():
        series, _, value = line.rpartition(" ")
        series_name, _, series_labels = series.rstrip("}").partition("{")
        if series_name == name and wanted <= set(series_labels.split(",")):
            return float(value)
    raise KeyError(f"{name} {labels}")


class Prometheus:
    """A Prometheus server, asked over its HTTP API."""

    def __init__(self, url):
        self.url = url

    def ask(self, path, **parameters):
        """The data of one answer of the API."""
        return json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

    def query(self, expression):
        """The value of an expression that gives one number."""
        [result] = self.ask("query", query=expression)["result"]
        return float(result["value"][1])

    def wait_for_targets(self, count):
        """Waits until so many targets are up and no other is known; gives their instances."""

        def targets():
            active = self.ask("targets", state="active")["activeTargets"]
            up = sorted(target["labels"]["instance"] for target in active if target["health"] == "up")
            return up if len(up) == count == len(active) else None

        return wait_for(f"{count} targets of Prometheus up", targets)


def run(checks, body):
    """Runs the checks; whatever stops them is a failure that is told. Gives the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that what was started is taken away
    try:
        body()
    except Stopped as reason:
        checks.that(str(reason), False)
    except subprocess.CalledProcessError as error:
        checks.that(" ".join(error.cmd), False, f"exit code {error.returncode}\n{error.stderr or ''}")
    except Exception as error:
        traceback.print_exc()
        checks.that("the checks went to their end", False, repr(error))
    return checks.close()

