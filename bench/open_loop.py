#!/usr/bin/env python3
"""A client that sends requests when they are due, whether or not those before are answered, and times them from when they
were due, so that a stall counts for every request that falls into it.

It is a process of its own and goes before everything else on the machine, because real clients run elsewhere.

    python3 bench/open_loop.py '{"port": 8080, "path": "/predict", "body": "…", "rate": 400, "seconds": 5}'
"""
import gc
import json
import os
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections import deque

CONNECTIONS = 32  # at most so many at once; more wait, and their time runs


class Connection:
    """One connection of the client: a request under way, or none."""

    def __init__(self, port):
        self.port = port
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due, self.answer, self.is_broken = None, b"", False

    def fileno(self):
        return self.socket.fileno()

    def send(self, request, due):
        if self.is_broken:
            self.socket.close()
            self.connect()
        self.due, self.answer = due, b""
        self.socket.sendall(request)

    def is_answered(self):
        part = self.socket.recv(1 << 16)
        self.is_broken = not part
        self.answer += part
        head, end, body = self.answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.I) if end else None
        return not part or (length is not None and len(body) >= int(length[1]))

    def is_good(self):
        return self.answer.startswith(b"HTTP/1.1 200 ")


def run(port, path, body, rate, seconds, connections=CONNECTIONS, poisson=False, seed=1):
    """For each request: when it was due, how many seconds after that it was answered, and whether well."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError as error:
        print(f"the client has to wait its turn: {error}", file=sys.stderr)
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    request = (head + body).encode()
    idle = deque(Connection(port) for _ in range(connections))
    waiting, busy, told = deque(), set(), []
    gc.disable()
    chance = random.Random(seed)
    total = int(seconds * rate)
    pauses = [chance.expovariate(rate) if poisson else 1 / rate for _ in range(total)]
    due, sent = time.monotonic() + 0.1, 0
    while len(told) < total:
        now = time.monotonic()
        while sent < total and due <= now:
            waiting.append(due)
            due += pauses[sent]
            sent += 1
        while waiting and idle:
            connection = idle.popleft()
            connection.send(request, waiting.popleft())
            busy.add(connection)
        pause = due - time.monotonic() if sent < total else 30
        ready, _, _ = select.select(busy, [], [], max(0.0, pause))
        now = time.monotonic()
        for connection in ready:
            if connection.is_answered():
                told.append((connection.due, now - connection.due, connection.is_good()))
                busy.remove(connection)
                idle.append(connection)
    return told


def start_client(port, path, body, rate, seconds, **more):
    what = json.dumps({"port": port, "path": path, "body": body, "rate": rate, "seconds": seconds, **more})
    return subprocess.Popen([sys.executable, __file__, what], stdout=subprocess.PIPE)


def answers(process):
    output, _ = process.communicate()
    return json.loads(output)


def percentile(answered, share):
    """In milliseconds."""
    times = sorted(took for _, took, _ in answered)
    return times[min(len(times) - 1, int(len(times) * share))] * 1e3


if __name__ == "__main__":
    json.dump(run(**json.loads(sys.argv[1])), sys.stdout)
