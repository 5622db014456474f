#!/usr/bin/env python3
"""What a change in the model repository costs the requests beside it, and whether its memory comes back.

A worker serves the digits model to an open-loop client (open_loop.py), one row at a time.

Rounds take turns: in one nothing else happens, in the next a model of 100 MB is put beside the other, version after
version, each by a rename. Of a busy round only the requests count that were due while a version was being loaded, or the
one before it unloaded. What is reported is the median over the rounds of the 99th percentile, and of the ratio of each pair.

Then one version of a model is written anew 200 times, and the memory of the worker (RSS and PSS) is read on the way, and
once it is gone.

    cargo build --release && python3 bench/live_repository.py [--rounds 9] [--seconds 6] [--reloads 200] [--megabytes 20 100]
        [--onnxruntime PATH]   with ONNX Runtime, from this library, for the models that change
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from support import BINARY, ROOT, free_port
from open_loop import answers, percentile, start_client

RATE = 400  # requests a second
PATH = "/models/digits/predict"
READY, GONE = "a model version is ready", "a model version is gone"  # what the log says


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, kind, payload):
    """One field of a protobuf message: kind 0 is an integer, kind 2 bytes."""
    head = varint(number << 3 | kind)
    return head + (varint(payload) if kind == 0 else varint(len(payload)) + payload)


def dense(megabytes, seed):
    """An ONNX graph y = x · W with a square matrix of random numbers."""
    width = int((megabytes * 250_000) ** 0.5)
    weights = random.Random(seed).randbytes(1 << 16)
    weights = bytes(byte & 0x3F if position % 4 == 3 else byte for position, byte in enumerate(weights))
    raw = (weights * (width * width * 4 // len(weights) + 1))[: width * width * 4]

    def value(name, sizes):
        dims = b"".join(field(1, 2, field(1, 0, size) if size else field(2, 2, b"N")) for size in sizes)
        return field(1, 2, name) + field(2, 2, field(1, 2, field(1, 0, 1) + field(2, 2, dims)))

    tensor = field(1, 0, width) * 2 + field(2, 0, 1) + field(8, 2, b"W") + field(9, 2, raw)
    node = field(1, 2, b"x") + field(1, 2, b"W") + field(2, 2, b"y") + field(4, 2, b"MatMul")
    graph = (
        field(1, 2, node) + field(2, 2, b"dense") + field(5, 2, tensor)
        + field(11, 2, value(b"x", [0, width])) + field(12, 2, value(b"y", [0, width]))
    )
    return field(1, 0, 8) + field(7, 2, graph) + field(8, 2, field(2, 0, 13))


class Worker:
    """A worker over a repository with the digits model and whatever is put beside it."""

    def __init__(self, library):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
        self.repository = self.folder / "models"
        shutil.copytree(ROOT / "models" / "digits", self.repository / "digits")
        self.port, self.log = free_port(), self.folder / "log"
        lines = ["[worker]", f'listen = "127.0.0.1:{self.port}"', f'models = "{self.repository}"']
        if library:
            lines.insert(1, f'onnxruntime_library = "{library}"')
        lines += ["[worker.repository]", 'settle = "20ms"', "[telemetry]", "access_log = false"]
        if library:
            lines += [line for name in ("large", "changing") for line in (f"[worker.model.{name}]", 'engine = "onnxruntime"')]
        (self.folder / "millrace.toml").write_text("\n".join(lines) + "\n")

    def __enter__(self):
        command = [BINARY, "worker", "--config", self.folder / "millrace.toml"]
        self.process = subprocess.Popen(command, stderr=open(self.log, "w"))
        self.wait_for(READY, "digits", 1)  # /readyz would wait for the models that are configured and not yet there
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=60)
        shutil.rmtree(self.folder)

    def prepare(self, graph):
        """A folder of one version, ready to be moved into the repository."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (folder / "model.onnx").write_bytes(graph)
        return folder

    def said(self, what, model):
        """How often the log says this of a model. Asking the worker itself would cost it something."""
        return len(re.findall(rf"{what}.* model={model}\b", self.log.read_text()))

    def wait_for(self, what, model, count, seconds=120):
        limit = time.monotonic() + seconds
        while self.said(what, model) < count:
            if time.monotonic() > limit:
                sys.exit(f"the log did not say {what!r} of {model} in time:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.01)

    def memory(self):
        """Resident megabytes: all of them (RSS), and with shared ones counted in part (PSS)."""
        rollup = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return tuple(int(re.search(rf"^{kind}:\s+(\d+)", rollup, re.M)[1]) / 1024 for kind in ("Rss", "Pss"))


def ask(port, seconds):
    """Starts a client that asks for one row at a time."""
    first = (ROOT / "data/digits.csv").read_text().splitlines()[1].split(",")
    body = json.dumps({"inputs": [[float(value) for value in first[:64]]]})
    return start_client(port, PATH, body, RATE, seconds)


def beside(arguments, worker):
    graph = dense(100, seed=1)
    folder = worker.repository / "large"
    folder.mkdir()
    print(f"a model of {len(graph) / 1e6:.0f} MB beside {RATE} requests/s", flush=True)
    answers(ask(worker.port, 2))  # warms up
    pairs, failed, version = [], 0, 0
    for _ in range(arguments.rounds):
        time.sleep(3)  # what the round before has left to be freed is no part of this one
        quiet = answers(ask(worker.port, arguments.seconds))
        spare = [worker.prepare(graph) for _ in range(2)]
        os.sync()
        running, loading, taken_up = ask(worker.port, arguments.seconds), [], 0
        until = time.monotonic() + arguments.seconds
        while time.monotonic() < until:
            begun = time.monotonic()
            version += 1
            spare.pop(0).rename(folder / str(version))
            worker.wait_for(READY, "large", version)
            taken_up += 1
            if version > 1:
                spare.append((folder / str(version - 1)).rename(worker.folder / f"spare-{version}"))
                worker.wait_for(GONE, "large", version - 1)
            loading.append((begun, time.monotonic()))
        busy = answers(running)
        for left in spare:
            shutil.rmtree(left)
        failed += sum(not is_good for _, _, is_good in quiet + busy)
        busy = [each for each in busy if any(begun <= each[0] <= end for begun, end in loading)]
        p99s = percentile(quiet, 0.99), percentile(busy, 0.99)
        pairs.append(p99s)
        print(
            f"  quiet: p50 {percentile(quiet, 0.5):.2f}, p99 {p99s[0]:.2f}, max {percentile(quiet, 1):.2f} ms; beside {taken_up} loads"
            f" ({len(busy)} requests): p50 {percentile(busy, 0.5):.2f}, p99 {p99s[1]:.2f}, p99.9 {percentile(busy, 0.999):.2f},"
            f" max {percentile(busy, 1):.2f} ms; ratio of p99 {p99s[1] / p99s[0]:.2f}",
            flush=True,
        )
    quiet, busy = (statistics.median(column) for column in zip(*pairs))
    ratios = sorted(busy / quiet for quiet, busy in pairs)
    print(
        f"p99: quiet {quiet:.2f} ms, while it loads {busy:.2f} ms; ratio {statistics.median(ratios):.2f}"
        f" (of {len(ratios)} pairs: {ratios[0]:.2f} to {ratios[-1]:.2f}); failed requests: {failed}"
    )
    shutil.rmtree(folder)
    worker.wait_for(GONE, "large", version)


def reloads(arguments, worker, megabytes):
    graphs = [dense(megabytes, seed) for seed in (1, 2)]
    print(f"reloads of a model of {len(graphs[0]) / 1e6:.0f} MB; resident MB (RSS, PSS)", flush=True)
    print("  before: {:.0f}, {:.0f}".format(*worker.memory()), flush=True)
    path = worker.repository / "changing" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    ready, gone = (worker.said(what, "changing") for what in (READY, GONE))
    for number in range(arguments.reloads + 1):
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(graphs[number % 2])
        temporary.rename(path)
        worker.wait_for(READY, "changing", ready + number + 1)
        if number in {0, 1, 10, *range(50, arguments.reloads + 1, 50)}:
            time.sleep(1)  # the one before is being freed
            print("  after {} reloads: {:.0f}, {:.0f}".format(number, *worker.memory()), flush=True)
    shutil.rmtree(path.parent.parent)
    worker.wait_for(GONE, "changing", gone + 1)
    time.sleep(1)
    print("  after it is gone: {:.0f}, {:.0f}".format(*worker.memory()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[20, 100])
    parser.add_argument("--onnxruntime", metavar="PATH")
    arguments = parser.parse_args()
    if arguments.rounds:
        with Worker(arguments.onnxruntime) as worker:
            beside(arguments, worker)
    for megabytes in arguments.megabytes:
        with Worker(arguments.onnxruntime) as worker:
            reloads(arguments, worker, megabytes)


if __name__ == "__main__":
    main()
