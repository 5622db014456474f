#!/usr/bin/env python3
"""Counts the instructions that a request costs a worker and a gateway, so that noise cannot hide a loss.

    cargo build --release && python3 bench/instructions.py [--check | --record] [--profile]

A release binary runs under callgrind, which counts only while a fixed replay of 2,000 requests for the digits model goes through
it over one connection: accept, parse, handler, engine, answer, as in production. The kernel's work is not counted. --check
fails where a figure is more than 5 % above the one in bench/instructions.json, and says how to look for the reason; --record
writes the figures of now there. --profile prints the functions that cost most. Needs valgrind (Debian: valgrind).

Under callgrind an engine takes longer than a run in place may, so that batches run on the engine's thread.
"""
import argparse
import csv
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import BINARY, ROOT, free_port, is_whole, wait_until_ready

RECORD = ROOT / "bench" / "instructions.json"
TOLERANCE = 0.05
REQUESTS = 2_000
WARM_UP = 200
PREPARED = "prepared for batches of all sizes"  # what the log says when nothing but requests is computed any more
PATIENCE = 120  # seconds for a start under callgrind
HEAD = "POST /models/digits/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"


def body_of(rows):
    with open(ROOT / "data" / "digits.csv", newline="", encoding="utf-8") as file:
        records = [next_row for next_row, _ in zip(csv.DictReader(file), range(rows))]
    inputs = [[float(value) for name, value in record.items() if name != "digit"] for record in records]
    return json.dumps({"inputs": inputs}).encode()


class Connection:
    """One request after the other; each must be answered with 200."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def replay(self, body, count):
        request = HEAD.format(len(body)).encode() + body
        for _ in range(count):
            self.socket.sendall(request)
            answer = b""
            while not is_whole(answer):
                part = self.socket.recv(1 << 16)
                if not part:
                    sys.exit("the server closed the connection")
                answer += part
            if not answer.startswith(b"HTTP/1.1 200 "):
                sys.exit(f"a request was refused: {answer[:500].decode(errors='replace')}")


class Server:
    """A millrace process, under callgrind or not."""

    def __init__(self, folder, name, arguments, binary, is_counted):
        self.counts = folder / f"{name}.callgrind"
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.counts}"]
        self.log = open(folder / f"{name}.log", "w", encoding="utf-8")
        command = (callgrind if is_counted else []) + [binary, *arguments]
        self.process = subprocess.Popen([str(part) for part in command], stderr=self.log)

    def control(self, *arguments):
        command = ["callgrind_control", *arguments, str(self.process.pid)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def count(self, replay):
        """Instructions while `replay` runs."""
        self.control("-i", "on")
        replay()
        self.control("-i", "off")
        self.control("-d")

    def until_idle(self):
        """Waits until the process has computed nothing for a second."""
        used, since = None, time.monotonic()
        while time.monotonic() - since < 1:
            now = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
            if now != used:
                used, since = now, time.monotonic()
            time.sleep(0.1)

    def end(self):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()

    def wait_until_said(self, words):
        limit = time.monotonic() + PATIENCE
        while words not in Path(self.log.name).read_text(encoding="utf-8"):
            if time.monotonic() > limit:
                sys.exit(f"the log does not say {words!r} within {PATIENCE} s")
            time.sleep(0.05)

    def instructions(self):
        totals = (re.search(r"^totals: (\d+)", text.read_text(), re.M) for text in self.dumps())
        return max(int(found[1]) for found in totals if found)

    def dumps(self):
        return [path for path in self.counts.parent.glob(f"{self.counts.name}*")]


def counted(binary, role, rows, is_profiled):
    """Instructions per request of a worker, or of a gateway before one."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(ROOT / "models" / "digits", folder / "models" / "digits")
        port, gateway_port, admin_port = free_port(), free_port(), free_port()
        (folder / "millrace.toml").write_text(
            f'[telemetry]\naccess_log = false\nlog = "info,millrace::worker::registry=debug"\n[worker]\nlisten = "127.0.0.1:{port}"\nmodels = "{folder}/models"\n'
            f'[gateway]\nlisten = "127.0.0.1:{gateway_port}"\nadmin = "127.0.0.1:{admin_port}"\nthreads = 1\n'
            f'[[gateway.workers]]\nid = "a"\nurl = "http://127.0.0.1:{port}"\n')
        config = ["--config", folder / "millrace.toml"]
        servers = []
        try:
            servers.append(Server(folder, "worker", ["worker", *config], binary, role == "worker"))
            wait_until_ready(f"http://127.0.0.1:{port}/readyz", PATIENCE)
            servers[0].wait_until_said(PREPARED)
            if role == "gateway":
                servers.append(Server(folder, "gateway", ["gateway", *config], binary, True))
                wait_until_ready(f"http://127.0.0.1:{gateway_port}/readyz", PATIENCE)
            # A worker prepares larger batches once it is ready, which is no request's cost.
            servers[0].until_idle()
            connection = Connection(gateway_port if role == "gateway" else port)
            body = body_of(rows)
            connection.replay(body, WARM_UP)
            requests = REQUESTS // rows if rows > 1 else REQUESTS
            servers[-1].count(lambda: connection.replay(body, requests))
        finally:
            for server in reversed(servers):
                server.end()
        if is_profiled:
            profile(max(servers[-1].dumps(), key=lambda path: path.stat().st_size))
        return servers[-1].instructions() / requests


def profile(dump):
    for inclusive in ("yes", "no"):
        command = ["callgrind_annotate", f"--inclusive={inclusive}", "--threshold=90", str(dump)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


SUBJECTS = {
    "worker, 1 row": ("worker", 1),
    "worker, 64 rows": ("worker", 64),
    "gateway, 1 row": ("gateway", 1),
    "gateway, 64 rows": ("gateway", 64),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, default=BINARY)
    parser.add_argument("--check", action="store_true", help="fail on more than 5 %% above what is recorded")
    parser.add_argument("--record", action="store_true", help="write the figures to bench/instructions.json")
    parser.add_argument("--profile", action="store_true", help="print the functions that cost most")
    parser.add_argument("--only", choices=SUBJECTS, help="one subject")
    arguments = parser.parse_args()
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    found, is_worse = {}, False
    for name, (role, rows) in SUBJECTS.items():
        if arguments.only not in (None, name):
            continue
        found[name] = round(counted(arguments.millrace, role, rows, arguments.profile))
        line = f"{name}: {found[name]:,} instructions a request"
        if name in recorded:
            change = found[name] / recorded[name] - 1
            line += f", {change:+.1%} beside the {recorded[name]:,} that are recorded"
            is_worse |= change > TOLERANCE
        print(line, flush=True)
    if arguments.record:
        RECORD.write_text(json.dumps({**recorded, **found}, indent=2) + "\n")
    if arguments.check and set(found) - set(recorded):
        sys.exit("nothing is recorded for some of them; run with --record")
    if arguments.check and is_worse:
        sys.exit(f"more than {TOLERANCE:.0%} more than before: see --profile, and record the figures anew if it is worth it")


if __name__ == "__main__":
    main()
