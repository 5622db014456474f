#!/usr/bin/env python3
"""Whether running rows together helps: rows per second that one worker answers to 64 clients, each with one row at a time,
with the default `max_batch_size` and with 1.

    cargo build --release && python3 bench/batching.py [--models FOLDER] [--rounds 5] [--seconds 4]

Every model of the folder is asked with a row made from what `GET /models/{model}` says of it. Both subjects take turns; the
table, in Markdown, has medians of the rounds. The client is one process that does nothing but write and read, beside the
worker on the same cores.
"""
import argparse
import json
import random
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import ROOT, is_whole

CLIENTS = 64
FREE = 16  # the size of an axis that may have any
TEXT = "the mill stands by the river and its wheel turns"


def value_of(datatype, chance):
    if datatype == "BYTES":
        return TEXT
    if datatype == "BOOL":
        return True
    return chance.choice([0, 1]) if "INT" in datatype else round(chance.random(), 4)


def nested(shape, datatype, chance):
    if not shape:
        return value_of(datatype, chance)
    return [nested(shape[1:], datatype, chance) for _ in range(FREE if shape[0] < 0 else shape[0])]


def row_of(detail, chance):
    """One row for a model, by what it says of itself."""
    if detail.get("text"):
        return TEXT
    values = [nested(given["shape"][1:], given["datatype"], chance) for given in detail["inputs"]]
    return values[0] if len(values) == 1 else values


class Client:
    """A connection with one request under way."""

    def __init__(self, port, request):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request, self.answer = request, b""

    def send(self):
        self.answer = b""
        self.socket.sendall(self.request)

    def is_answered(self):
        part = self.socket.recv(1 << 18)
        if not part:
            raise RuntimeError("the worker closed a connection")
        self.answer += part
        return is_whole(self.answer)


def rows_per_second(port, model, row, seconds):
    body = json.dumps({"inputs": [row]}).encode()
    head = f"POST /models/{model}/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    request = head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body
    ready = selectors.DefaultSelector()
    clients = [Client(port, request) for _ in range(CLIENTS)]
    for client in clients:
        ready.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    answered, begun = 0, None
    warm = time.monotonic() + seconds / 4
    until = warm + seconds
    while (now := time.monotonic()) < until:
        for key, _ in ready.select(1.0):
            client = key.data
            if not client.is_answered():
                continue
            if not client.answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(client.answer[:500].decode(errors="replace"))
            answered += begun is not None
            client.send()
        if begun is None and now >= warm:
            begun = time.monotonic()
    for client in clients:
        client.socket.close()
    return answered / (time.monotonic() - begun)


class Worker:
    """`millrace worker` over a repository, with every model loaded or failed."""

    def __init__(self, millrace, models, max_batch_size):
        self.folder = tempfile.TemporaryDirectory()
        config = Path(self.folder.name) / "millrace.toml"
        batching = "" if max_batch_size is None else f"[worker.batching]\nmax_batch_size = {max_batch_size}\n"
        config.write_text(f'[worker]\nlisten = "127.0.0.1:0"\nmodels = {json.dumps(str(models))}\ndeadline = "60s"\n'
                          f'{batching}[telemetry]\naccess_log = false\n')
        self.log = Path(self.folder.name) / "log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([millrace, "worker", "--config", config], stderr=log)
        self.port = int(self.wait(r"the worker listens address=[0-9.]+:(\d+)", 60))
        until = time.monotonic() + 600
        while any(version["state"] == "loading" for model in self.models() for version in model["versions"]):
            if time.monotonic() > until:
                raise RuntimeError("the models are not loaded after ten minutes")
            time.sleep(0.1)

    def wait(self, pattern, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(pattern, self.log.read_text(encoding="utf-8"))
            if found:
                return found[1]
            time.sleep(0.05)
        raise RuntimeError(self.log.read_text(encoding="utf-8"))

    def get(self, path):
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    def models(self):
        return self.get("/models")["models"]

    def end(self):
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, default=ROOT / "target/release/millrace")
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--only", action="append", help="a model (several times for several) [default: all]")
    arguments = parser.parse_args()
    chance = random.Random(1)
    workers = {}
    try:
        for label, size in (("together", None), ("alone", 1)):
            workers[label] = Worker(arguments.millrace, arguments.models.resolve(), size)
        some = workers["together"]
        names = [model["name"] for model in some.models() if any(v["state"] == "ready" for v in model["versions"])]
        print("| model | rows/s, together | rows/s, one by one | ratio of the medians | each round |\n|---|---:|---:|---:|---|")
        for name in [name for name in names if not arguments.only or name in arguments.only]:
            row = row_of(some.get(f"/models/{name}"), chance)
            rates = {label: [] for label in workers}
            for turn in range(arguments.rounds):
                for label in sorted(workers, reverse=turn % 2 == 1):
                    rates[label].append(rows_per_second(workers[label].port, name, row, arguments.seconds))
            together, alone = statistics.median(rates["together"]), statistics.median(rates["alone"])
            rounds = ", ".join(f"{a / b:.2f}" for a, b in zip(rates["together"], rates["alone"]))
            print(f"| {name} | {together:,.0f} | {alone:,.0f} | **{together / alone:.2f} ×** | {rounds} |", flush=True)
    finally:
        for worker in workers.values():
            worker.end()


if __name__ == "__main__":
    sys.exit(main())
