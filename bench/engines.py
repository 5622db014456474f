#!/usr/bin/env python3
"""The time of one run of the default engine beside ONNX Runtime (one thread), on classical models.

Each model lies in the repository twice, once for each engine, and one worker serves both. A single client sends batches of
1, 16 and 256 rows in turns to the one and the other, so that a machine whose speed drifts drifts for both. What is
reported is the time that an engine took, as the worker's own histogram `millrace_worker_inference_duration_seconds`
has it (neither HTTP nor JSON is in it), as the median over the rounds, and the median of the ratios within the rounds.

    cargo build --release && python3 bench/engines.py [--rounds 9] [--runs 60]

Needs the packages of tests/python/requirements-zoo.txt.
"""
import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as ToolsFloat
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn import datasets, ensemble, linear_model, preprocessing, svm
from lightgbm import LGBMClassifier
from xgboost import XGBClassifier

from support import BINARY, free_port, wait_until_ready

BATCHES = (1, 16, 256)
HISTOGRAM = "millrace_worker_inference_duration_seconds"


def models():
    """Name, ONNX bytes, and 256 rows for each."""
    x, y = datasets.load_digits(return_X_y=True)
    x = x.astype(np.float32)
    rows = x[:256].tolist()
    kind = [("x", FloatTensorType([None, x.shape[1]]))]
    options = {"zipmap": False}

    def sklearn(model, target=y):
        model.fit(x, target)
        classifier = {id(model): options} if hasattr(model, "predict_proba") else None
        return to_onnx(model, initial_types=kind, options=classifier).SerializeToString()

    yield "forest", sklearn(ensemble.RandomForestClassifier(100, random_state=1)), rows
    yield "forest-regressor", sklearn(ensemble.RandomForestRegressor(100, random_state=1), y.astype(np.float32)), rows
    booster = XGBClassifier(n_estimators=100, max_depth=6, random_state=1).fit(x, y % 2)
    yield "xgboost-binary", convert_xgboost(booster, initial_types=[("x", ToolsFloat([None, 64]))]).SerializeToString(), rows
    booster = LGBMClassifier(n_estimators=100, random_state=1, verbose=-1).fit(x, y % 2)
    yield "lightgbm-binary", convert_lightgbm(booster, initial_types=[("x", ToolsFloat([None, 64]))], zipmap=False).SerializeToString(), rows
    yield "logistic", sklearn(linear_model.LogisticRegression(max_iter=2000)), rows
    yield "ridge", sklearn(linear_model.Ridge(), y.astype(np.float32)), rows
    yield "svc", sklearn(svm.SVC(probability=True, random_state=1)), rows
    yield "svr", sklearn(svm.SVR(), y.astype(np.float32)), rows
    yield "scaler", sklearn(preprocessing.StandardScaler()), rows
    yield "normalizer", sklearn(preprocessing.Normalizer()), rows
    yield "binarizer", sklearn(preprocessing.Binarizer(threshold=5)), rows
    words = np.array([["red", "green", "blue"][digit % 3] for digit in y]).reshape(-1, 1)
    encoder = preprocessing.OneHotEncoder(handle_unknown="ignore").fit(words)
    encoded = to_onnx(encoder, initial_types=[("x", StringTensorType([None, 1]))]).SerializeToString()
    yield "one-hot", encoded, words[:256].tolist()


def library():
    found = list((pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    return max(found, key=lambda path: path.stat().st_size)


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method, path, body=None):
        headers = {"content-type": "application/json"} if body else {}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            sys.exit(f"{method} {path}: {answer.status} {text}")
        return text

    def engine_seconds(self, model):
        text = self.ask("GET", "/metrics")
        number = lambda part: sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith(f"{HISTOGRAM}_{part}{{") and f'model="{model}"' in line
        )
        return number("sum"), number("count")

    def run(self, model, body, runs):
        """Microseconds of one run."""
        before = self.engine_seconds(model)
        for _ in range(runs):
            self.ask("POST", f"/models/{model}/predict", body)
        after = self.engine_seconds(model)
        return (after[0] - before[0]) / (after[1] - before[1]) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--runs", type=int, default=60)
    arguments = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    port = free_port()
    config = [f'[worker]\nlisten = "127.0.0.1:{port}"\nmodels = "{folder}/models"\nonnxruntime_library = "{library()}"\n']
    config.append("[worker.batching]\nmax_batch_size = 256\n")
    config.append("[telemetry]\naccess_log = false\n")
    cases = []
    for name, graph, rows in models():
        cases.append((name, rows))
        for engine in ("tract", "onnxruntime"):
            version = folder / "models" / f"{name}.{engine}" / "1"
            version.mkdir(parents=True)
            (version / "model.onnx").write_bytes(graph)
            config.append(f'[worker.model."{name}.{engine}"]\nengine = "{engine}"\n')
    (folder / "millrace.toml").write_text("".join(config))
    worker = subprocess.Popen([BINARY, "worker", "--config", folder / "millrace.toml"], stderr=open(folder / "log", "w"))
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", 60)
        client = Client(port)
        print("| model | rows | millrace µs | ONNX Runtime µs | ratio |\n|---|---:|---:|---:|---:|")
        for name, rows in cases:
            for batch in BATCHES:
                body = json.dumps({"inputs": rows[:batch]})
                pairs = []
                for number in range(arguments.rounds + 1):
                    pair = [client.run(f"{name}.{engine}", body, arguments.runs) for engine in ("tract", "onnxruntime")]
                    if number > 0:  # the first round warms up
                        pairs.append(pair)
                ours, theirs = (statistics.median(column) for column in zip(*pairs))
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                print(f"| {name} | {batch} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} |", flush=True)
    finally:
        worker.terminate()
        worker.wait(timeout=30)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
