#!/usr/bin/env python3
"""What a change in the model repository costs the requests beside it, and whether its memory comes back.

A worker serves the digits model to an open-loop client: one row at a time, sent when it is due whether or not those before
it are answered, and timed from when it was due, so that a stall counts for every request that falls into it. The client is
a process of its own and goes before everything else on the machine, because real ones run elsewhere.

Rounds take turns: in one nothing else happens, in the next a model of 100 MB is put beside the other, version after
version, each by a rename. Of a busy round only the requests count that were due while a version was being loaded, or the
one before it unloaded. What is reported is the median over the rounds of the 99th percentile, and of the ratio of each pair.

Then one version of a model is written anew 200 times, and the memory of the worker (RSS and PSS) is read on the way, and
once it is gone.

    cargo build --release && python3 bench/live_repository.py [--rounds 9] [--seconds 6] [--reloads 200] [--megabytes 20 100]
        [--onnxruntime PATH]   with ONNX Runtime, from this library, for the models that change
"""
import argparse
import gc
import json
import os
import pathlib
import random
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque

from first_figures import BINARY, ROOT, free_port

RATE = 400  # requests a second
CONNECTIONS = 32  # at most so many at once; more wait, and their time runs
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


class Connection:
    """One connection of the client: a request under way, or none."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due, self.answer = None, b""

    def fileno(self):
        return self.socket.fileno()

    def send(self, request, due):
        self.due, self.answer = due, b""
        self.socket.sendall(request)

    def is_answered(self):
        part = self.socket.recv(1 << 16)
        self.answer += part
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head) if end else None
        return not part or (length is not None and len(body) >= int(length[1]))

    def is_good(self):
        return self.answer.startswith(b"HTTP/1.1 200 ")


def client(port, seconds):
    """Prints, for each request, when it was due, how many seconds after that it was answered, and whether well."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        print(f"the client has to wait its turn: {error}", file=sys.stderr)
    first = (ROOT / "data/digits.csv").read_text().splitlines()[1].split(",")
    body = json.dumps({"inputs": [[float(value) for value in first[:64]]]})
    head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    request = (head + body).encode()
    idle = deque(Connection(port) for _ in range(CONNECTIONS))
    waiting, busy, told = deque(), set(), []
    gc.disable()
    begun, sent, total = time.monotonic(), 0, int(seconds * RATE)
    while len(told) < total:
        now = time.monotonic()
        while sent < total and begun + sent / RATE <= now:
            waiting.append(begun + sent / RATE)
            sent += 1
        while waiting and idle:
            connection = idle.popleft()
            connection.send(request, waiting.popleft())
            busy.add(connection)
        pause = begun + sent / RATE - time.monotonic() if sent < total else 30
        ready, _, _ = select.select(busy, [], [], max(0.0, pause))
        now = time.monotonic()
        for connection in ready:
            if connection.is_answered():
                told.append((connection.due, now - connection.due, connection.is_good()))
                busy.remove(connection)
                idle.append(connection)
    json.dump(told, sys.stdout)


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


def start_client(port, seconds):
    command = [sys.executable, __file__, "--client", str(port), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def answers(process):
    output, _ = process.communicate()
    return json.loads(output)


def percentile(answered, share):
    times = sorted(took for _, took, _ in answered)
    return times[min(len(times) - 1, int(len(times) * share))] * 1e3


def beside(arguments, worker):
    graph = dense(100, seed=1)
    folder = worker.repository / "large"
    folder.mkdir()
    print(f"a model of {len(graph) / 1e6:.0f} MB beside {RATE} requests/s", flush=True)
    answers(start_client(worker.port, 2))  # warms up
    pairs, failed, version = [], 0, 0
    for _ in range(arguments.rounds):
        time.sleep(3)  # what the round before has left to be freed is no part of this one
        quiet = answers(start_client(worker.port, arguments.seconds))
        spare = [worker.prepare(graph) for _ in range(2)]
        os.sync()
        running, loading, taken_up = start_client(worker.port, arguments.seconds), [], 0
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
    if sys.argv[1:2] == ["--client"]:
        client(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
