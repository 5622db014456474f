#!/usr/bin/env python3
"""A gateway over three workers under mixed load for some time: no good request may fail, and nothing may grow.

The load: native and V2 predictions, JSON and binary, on connections that are kept and on fresh ones; requests that must be
refused; clients that leave in the middle. Beside it the policy changes every few seconds, and one of the workers is ended
(by turns asked to and killed) and started again.

Resident memory, descriptors and threads of the gateway and of the workers that stay are read once a second. The medians of the
last fifth of the run may not lie above those of the second fifth by more than BOUNDS.

    cargo build --release && python3 tests/python/soak.py --millrace target/release/millrace [--minutes 10]
"""
import argparse
import collections
import http.client
import itertools
import json
import os
import pathlib
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What may be added, as a share and as a figure: memory that allocators keep, connections that happen to be open.
BOUNDS = {"memory_mib": (0.10, 4), "descriptors": (0.10, 8), "threads": (0, 1)}
POLICIES = ["random", "weighted", "least_request", "power_of_two", "peak_ewma", "prequal", "consistent_hash", "round_robin"]
POLICY_SECONDS, RESTART_SECONDS = 3, 12
PAUSE = 0.005  # of each client after each request: a soak is about time, not about load
ROW = [5.1, 3.5, 1.4, 0.2]
JSON = {"content-type": "application/json"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Millrace:
    """One process."""

    def __init__(self, millrace, role, text, folder):
        config = pathlib.Path(tempfile.mkdtemp(dir=folder)) / "millrace.toml"
        config.write_text(text + "[telemetry]\naccess_log = false\n")
        self.command = [millrace, role, "--config", config]
        self.log = open(config.with_suffix(".log"), "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stderr=self.log)

    def end(self, kill=False):
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        code = self.process.wait(60)
        if not kill and code != 0:
            raise RuntimeError(f"{self.command} ended with {code}")

    def sample(self):
        """Resident megabytes, open descriptors, threads."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {
            "memory_mib": int(fields["VmRSS"].split()[0]) / 1024,
            "descriptors": len(os.listdir(f"/proc/{self.process.pid}/fd")),
            "threads": int(fields["Threads"]),
        }


class Clients:
    """Everybody who sends requests, each kind on a thread of its own."""

    def __init__(self, port):
        self.port, self.is_over = port, threading.Event()
        self.counts, self.failures, self.lock = collections.Counter(), [], threading.Lock()
        kinds = [self.native_kept, self.native_kept, self.native_fresh, self.v2_json, self.v2_binary, self.refused, self.leaves]
        self.threads = [threading.Thread(target=self.repeat, args=(kind(),)) for kind in kinds]
        for thread in self.threads:
            thread.start()

    def repeat(self, requests):
        while not self.is_over.is_set():
            kind, failure = next(requests)
            with self.lock:
                self.counts[kind] += 1
                if failure:
                    self.failures.append(f"{kind}: {failure}")
            time.sleep(PAUSE)

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def connect(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, connection, method, path, body, headers, is_right):
        """None where the answer is right, else what came."""
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            body = answer.read()
            return None if is_right(answer, body) else f"{answer.status} {body[:300]!r}"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            connection.close()  # it is opened anew by the next request
            return repr(error)

    def native(self, connection):
        is_right = lambda answer, body: answer.status == 200 and json.loads(body)["predictions"] == ["setosa"]
        return self.ask(connection, "POST", "/models/iris/predict", json.dumps({"inputs": [ROW]}), JSON, is_right)

    def native_kept(self):
        connection = self.connect()
        while True:
            yield "native, kept connections", self.native(connection)

    def native_fresh(self):
        while True:
            connection = self.connect()
            yield "native, fresh connections", self.native(connection)
            connection.close()

    def v2_json(self):
        connection = self.connect()
        tensor = {"name": "inputs", "shape": [1, 4], "datatype": "FP32", "data": ROW}
        body = json.dumps({"inputs": [tensor]})
        is_right = lambda answer, body: answer.status == 200 and json.loads(body)["outputs"][0]["data"][0] > 0.9
        while True:
            yield "V2, JSON", self.ask(connection, "POST", "/v2/models/iris/infer", body, JSON, is_right)

    def v2_binary(self):
        connection = self.connect()
        tensor = {"name": "inputs", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        body = head + struct.pack("<4f", *ROW)
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}

        def is_right(answer, body):
            length = int(answer.headers["inference-header-content-length"])
            return answer.status == 200 and struct.unpack_from("<f", body, length)[0] > 0.9

        while True:
            yield "V2, binary", self.ask(connection, "POST", "/v2/models/iris/infer", body, headers, is_right)

    def refused(self):
        """Requests that are wrong, each of which must get the status it is due."""
        connection = self.connect()
        wrong = [
            ("POST", "/predict", "not json", JSON, 400),
            ("POST", "/models/iris/predict", '{"inputs": [[1, 2]]}', JSON, 400),
            ("POST", "/models/nobody/predict", '{"inputs": [[1, 2]]}', JSON, 404),
            ("POST", "/models/iris/versions/77/predict", '{"inputs": [[1, 2]]}', JSON, 404),
            ("DELETE", "/predict", "", {}, 405),
            ("POST", "/predict", "x", {"content-type": "text/plain"}, 415),
            ("POST", "/v2/models/iris/infer", '{"inputs": []}', JSON, 400),
            ("GET", "/nowhere", "", {}, 404),
        ]
        for method, path, body, headers, status in itertools.cycle(wrong):
            is_right = lambda answer, _: answer.status == status
            yield "refused", self.ask(connection, method, path, body, headers, is_right)

    def leaves(self):
        """Clients that go before, in the middle of, and after their request, and wait for no answer."""
        body = json.dumps({"inputs": [ROW]}).encode()
        request = b"POST /models/iris/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        while True:
            with self.connect().sock as left:
                left.sendall(request[: random.randint(0, len(request))])
                if random.random() < 0.5:  # without a word, by a reset
                    left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            yield "left", None


def call(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body and json.dumps(body), JSON)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def up(admin):
    _, shown = call(admin, "GET", "/admin/workers")
    return sum(worker["state"] == "up" and worker["models"] != [] for worker in shown["workers"])


def until_up(admin, count, seconds=60):
    limit = time.monotonic() + seconds
    while True:
        try:
            if up(admin) == count:
                return
        except OSError:
            pass  # it does not listen yet
        if time.monotonic() > limit:
            raise RuntimeError(f"{count} workers did not come up in {seconds} s")
        time.sleep(0.05)


def until_ready(port, model, seconds=60):
    """A worker takes requests as soon as it has one model, and what it has yet to load is refused."""
    limit = time.monotonic() + seconds
    while call(port, "GET", f"/v2/models/{model}/ready")[0] != 200:
        if time.monotonic() > limit:
            raise RuntimeError(f"{model} was not ready in {seconds} s")
        time.sleep(0.05)


def soak(arguments, folder, processes):
    """Runs it; the samples by process, what was sent, what failed, how often what was changed."""
    ports = [free_port() for _ in range(3)]
    listen, admin = free_port(), free_port()
    for name, port in zip("abc", ports):
        text = f'[worker]\nlisten = "127.0.0.1:{port}"\nmodels = "{ROOT}/models"\n'
        processes[f"worker {name}"] = Millrace(arguments.millrace, "worker", text, folder)
    text = f'[gateway]\nlisten = "127.0.0.1:{listen}"\nadmin = "127.0.0.1:{admin}"\n'
    text += "".join(f'[[gateway.workers]]\nid = "{name}"\nurl = "http://127.0.0.1:{port}"\n' for name, port in zip("abc", ports))
    processes["gateway"] = Millrace(arguments.millrace, "gateway", text, folder)
    until_up(admin, 3)
    until_ready(listen, "iris")
    goes, stay = processes["worker a"], ["gateway", "worker b", "worker c"]
    clients, samples, changes = Clients(listen), {name: [] for name in stay}, collections.Counter()
    policies, begun = itertools.cycle(POLICIES), time.monotonic()
    try:
        for second in itertools.count(1):
            time.sleep(max(0.0, begun + second - time.monotonic()))
            if time.monotonic() - begun > arguments.minutes * 60:
                break
            for name in stay:
                samples[name].append(processes[name].sample())
            if second % POLICY_SECONDS == 0:
                changes["policies"] += 1
                status, said = call(admin, "PUT", "/admin/policy", {"policy": next(policies)})
                if status != 200:
                    raise RuntimeError(f"the policy could not be changed: {said}")
            if second % RESTART_SECONDS == RESTART_SECONDS // 2:
                changes["restarts"] += 1
                goes.end(kill=changes["restarts"] % 2 == 0)
            if second % RESTART_SECONDS == RESTART_SECONDS // 2 + 2:
                goes.start()
    finally:
        clients.end()
    if goes.process.poll() is not None:
        goes.start()
    until_up(admin, 3)
    return samples, clients, changes


def growth(samples):
    """For each process and measure: the medians of the second and of the last fifth, and whether that is too much."""
    for name, rows in samples.items():
        fifth = len(rows) // 5
        for measure, (share, figure) in BOUNDS.items():
            values = [row[measure] for row in rows]
            before, after = statistics.median(values[fifth : 2 * fifth]), statistics.median(values[-fifth:])
            yield name, measure, before, after, after > before * (1 + share) + figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", required=True)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    processes = {}
    with tempfile.TemporaryDirectory(prefix="millrace-soak-") as folder:
        try:
            samples, clients, changes = soak(arguments, pathlib.Path(folder), processes)
            for process in processes.values():
                process.end()
        finally:
            for process in processes.values():
                process.process.kill()
                process.process.wait()
    print(f"{arguments.minutes:g} minutes, {changes['policies']} changes of policy, {changes['restarts']} restarts of a worker")
    for kind, count in sorted(clients.counts.items()):
        print(f"{count:9} {kind}")
    print(f"{len(clients.failures):9} failed")
    too_much = False
    for name, measure, before, after, grew in growth(samples):
        too_much |= grew
        print(f"{name:9} {measure:12} {before:8.1f} {after:8.1f}{'  GREW' if grew else ''}")
    for failure in clients.failures[:10]:
        print(f"FAILED {failure}")
    sys.exit(1 if too_much or clients.failures else 0)


if __name__ == "__main__":
    main()
