#!/usr/bin/env python3
"""What a change in the model repository costs the requests beside it, and whether its memory comes back.

A worker serves the digits model to a client that sends one row at a steady rate, on four connections. Rounds take turns:
in one nothing else happens, in the next a model of 100 MB is put beside it again and again, version after version. What
is reported is the median over the rounds of the 99th percentile, and of the ratio of each pair of rounds.

Then one version of a model of 20 MB is written anew 200 times, and the resident memory of the worker is read after 10,
50, 100 and 200 of these reloads.

    cargo build --release && python3 bench/live_repository.py [--rounds 5] [--seconds 6] [--reloads 200]
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

from first_figures import BINARY, ROOT, free_port, resident_megabytes, wait_until_ready

RATE = 400  # requests a second over all connections
CONNECTIONS = 4


def field(number, kind, payload):
    """One field of a protobuf message: kind 0 is an integer, kind 2 bytes."""
    def varint(value):
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
        return bytes(out)

    head = varint(number << 3 | kind)
    return head + (varint(payload) if kind == 0 else varint(len(payload)) + payload)


def dense(width, seed):
    """An ONNX graph y = x · W with a square matrix of random numbers."""
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


def put(repository, model, version, graph):
    """As a careful person would: beside it first, then under its name in one step."""
    folder = repository / model / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".model.onnx.tmp").write_bytes(graph)
    os.replace(folder / ".model.onnx.tmp", folder / "model.onnx")


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def steady_load(port, body, seconds):
    """Milliseconds of every answer, from when its request was due; and how many failed."""
    latencies, failures, lock = [], [], threading.Lock()

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        own, failed = [], 0
        begun = time.perf_counter() + number / RATE
        for turn in range(int(seconds * RATE / CONNECTIONS)):
            due = begun + turn * CONNECTIONS / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            connection.request("POST", "/models/digits/predict", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            failed += answer.status != 200
            own.append((time.perf_counter() - due) * 1e3)
        with lock:
            latencies.extend(own)
            failures.append(failed)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CONNECTIONS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return statistics.quantiles(latencies, n=100)[98], sum(failures)


def loads(port):
    """How many versions have become ready so far, as the worker counts them."""
    _, text = ask(port, "/metrics")
    lines = [line for line in text.decode().splitlines() if line.startswith("millrace_worker_model_loads_total")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'outcome="loaded"' in line)


def wait_for_load(port, before, seconds=120):
    limit = time.monotonic() + seconds
    while loads(port) <= before:
        if time.monotonic() > limit:
            sys.exit("a version was not taken up in time")
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--reloads", type=int, default=200)
    arguments = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    repository = folder / "models"
    repository.mkdir()
    shutil.copytree(ROOT / "models" / "digits", repository / "digits")
    first = (ROOT / "data/digits.csv").read_text().splitlines()[1].split(",")
    body = json.dumps({"inputs": [[float(value) for value in first[:64]]]})
    port = free_port()
    environment = dict(os.environ, MILLRACE_TELEMETRY__ACCESS_LOG="false")
    command = [BINARY, "worker", "--listen", f"127.0.0.1:{port}", "--models", repository]
    worker = subprocess.Popen(command, env=environment, stderr=open(folder / "log", "w"))
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        beside(arguments, port, body, repository)
        reloads(arguments, port, worker.pid, repository)
    finally:
        worker.terminate()
        worker.wait(timeout=60)
        shutil.rmtree(folder)


def beside(arguments, port, body, repository):
    graph = dense(5000, seed=1)
    print(f"a model of {len(graph) / 1e6:.0f} MB beside {RATE} requests/s", flush=True)
    pairs, failed, version = [], 0, 0
    steady_load(port, body, 2)  # warms up
    for _ in range(arguments.rounds):
        quiet, missed = steady_load(port, body, arguments.seconds)
        failed += missed
        is_over = threading.Event()
        taken_up = 0

        def change():
            nonlocal version, taken_up
            while not is_over.is_set():
                before = loads(port)
                version += 1
                put(repository, "large", version, graph)
                wait_for_load(port, before)
                taken_up += 1
                if version > 1:
                    shutil.rmtree(repository / "large" / str(version - 1))

        changing = threading.Thread(target=change)
        changing.start()
        busy, missed = steady_load(port, body, arguments.seconds)
        failed += missed
        is_over.set()
        changing.join()
        pairs.append((quiet, busy))
        print(f"  p99 quiet {quiet:.2f} ms, beside {taken_up} loads {busy:.2f} ms, ratio {busy / quiet:.2f}", flush=True)
    quiet, busy = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(busy / quiet for quiet, busy in pairs)
    print(f"p99: quiet {quiet:.2f} ms, while it loads {busy:.2f} ms, ratio {ratio:.2f}; failed requests: {failed}")
    shutil.rmtree(repository / "large")


def reloads(arguments, port, pid, repository):
    graphs = [dense(2236, seed) for seed in (1, 2)]
    print(f"reloads of a model of {len(graphs[0]) / 1e6:.0f} MB", flush=True)
    for number in range(arguments.reloads + 1):
        before = loads(port)
        put(repository, "changing", 1, graphs[number % 2])
        wait_for_load(port, before)
        if number in (0, 10, 50, 100, 200):
            print(f"  after {number} reloads: {resident_megabytes(pid):.0f} MB", flush=True)
    shutil.rmtree(repository / "changing")
    limit = time.monotonic() + 60
    while b"changing" in ask(port, "/models")[1] and time.monotonic() < limit:
        time.sleep(0.1)
    print(f"  after it is gone: {resident_megabytes(pid):.0f} MB", flush=True)


if __name__ == "__main__":
    main()
