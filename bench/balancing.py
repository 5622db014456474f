#!/usr/bin/env python3
"""Four workers behind a balancer, one of them ten times slower: what each balancing policy makes of it.

Each worker serves one request at a time; three need 2 ms, one needs 20 ms. An open-loop client (open_loop.py) sends requests
at a steady rate. The subjects take turns, round by round: millrace under each policy that sees load, nginx and HAProxy with
theirs. After the last round the slow worker becomes fast, and it is measured how soon millrace gives it requests again.

    cargo build --release && python3 bench/balancing.py [--rounds 3] [--seconds 10] [--rates 600 900]

Needs nginx and haproxy (Debian: nginx-light, haproxy). The workers are stand-ins, because a model that takes 2 ms of a
processor would take it from the balancer as well: they sleep. They, the client and the balancers go before everything else on the
machine. They tell their load as workers of millrace do.
"""
import argparse
import asyncio
import collections
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from support import BINARY, free_port, nginx_config, wait_until_ready
from open_loop import answers, percentile, start_client

POLICIES = ["round_robin", "least_request", "power_of_two", "peak_ewma", "prequal"]
NGINX = {"round robin": "", "least_conn": "least_conn;", "random two": "random two least_conn;"}
HAPROXY = {"roundrobin": "roundrobin", "leastconn": "leastconn", "random(2)": "random(2)"}
SLOW, FAST = 0.020, 0.002


class StandIn(asyncio.Protocol):
    """One connection to a stand-in for a worker."""

    turn = None  # one request at a time
    takes = FAST
    inside = 0
    recent = collections.deque(maxlen=16)  # when a request ended, and how long it was inside
    answered = 0

    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if not end or len(body) < int(length[0] if length else 0):
            return
        self.received = b""
        if head.startswith(b"POST"):
            asyncio.ensure_future(self.predict())
        elif head.startswith(b"GET /models "):
            models = {"models": [{"name": "m", "versions": [{"version": "1", "state": "ready"}]}]}
            self.answer(json.dumps(models).encode())
        elif head.startswith(b"GET /count "):
            self.answer(json.dumps({"answered": StandIn.answered, "inside": StandIn.inside}).encode())
        else:
            self.answer(b"{}")

    async def predict(self):
        begun = time.monotonic()
        StandIn.inside += 1
        async with StandIn.turn:
            await asyncio.sleep(StandIn.takes)
        StandIn.inside -= 1
        StandIn.answered += 1
        StandIn.recent.append((time.monotonic(), time.monotonic() - begun))
        self.answer(b'{"model": "m", "version": "1", "predictions": [1]}')

    def answer(self, body):
        load = f"TEXT named_metrics.in_flight={StandIn.inside}"
        known = [took for ended, took in StandIn.recent if time.monotonic() - ended < 5]
        if known:
            load += f", named_metrics.latency_us={int(statistics.median(known) * 1e6)}"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nendpoint-load-metrics: {load}\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


async def stand_in(port, takes):
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass
    StandIn.turn, StandIn.takes = asyncio.Lock(), takes
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: setattr(StandIn, "takes", FAST))
    server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def millrace(folder, port, upstreams, policy):
    admin = free_port()
    text = f'[gateway]\nlisten = "127.0.0.1:{port}"\nadmin = "127.0.0.1:{admin}"\npolicy = "{policy}"\n'
    text += "".join(f'[[gateway.workers]]\nid = "w{at}"\nurl = "http://127.0.0.1:{up}"\n' for at, up in enumerate(upstreams))
    path = folder / f"{policy}.toml"
    path.write_text(text + "[telemetry]\naccess_log = false\n")
    return [BINARY, "gateway", "--config", path]


def nginx(folder, port, upstreams, method):
    return ["nginx", "-c", nginx_config(folder, port, upstreams, f"zone workers 256k; {method}")]


def haproxy(folder, port, upstreams, method):
    path = folder / f"haproxy-{port}.cfg"
    servers = "\n".join(f"  server w{at} 127.0.0.1:{up}" for at, up in enumerate(upstreams))
    path.write_text(f"""global
  nbthread 2
defaults
  mode http
  timeout connect 1s
  timeout client 30s
  timeout server 30s
  http-reuse always
frontend front
  bind 127.0.0.1:{port}
  default_backend workers
backend workers
  balance {method}
{servers}
""")
    return ["haproxy", "-q", "-f", path]


def goes_first():
    """Whatever else runs on the machine must not look like a balancer's doing."""
    try:
        os.nice(-15)
    except OSError as error:
        print(f"the balancers have to wait their turn: {error}", file=sys.stderr)


def state(upstream):
    return json.load(urllib.request.urlopen(f"http://127.0.0.1:{upstream}/count", timeout=5))


def count(upstream):
    return state(upstream)["answered"]


def wait_until_idle(upstreams):
    """What a round before has left waiting would be the next one's."""
    while any(state(upstream)["inside"] for upstream in upstreams):
        time.sleep(0.1)
    time.sleep(1)


def measure(port, rate, seconds, upstreams):
    before = count(upstreams[-1])
    told = answers(start_client(port, "/models/m/predict", '{"inputs": [[1]]}', rate, seconds, connections=256))
    failed = sum(not is_good for _, _, is_good in told)
    return {
        "p50": percentile(told, 0.5), "p99": percentile(told, 0.99), "p999": percentile(told, 0.999),
        "failed": failed, "slow": (count(upstreams[-1]) - before) / len(told),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rates", type=int, nargs="+", default=[600, 900])
    parser.add_argument("--subjects", nargs="*", help="only those whose names contain one of these")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    upstreams = [free_port() for _ in range(4)]
    stand_ins = [
        subprocess.Popen([sys.executable, __file__, "--stand-in", str(port), str(SLOW if port == upstreams[-1] else FAST)])
        for port in upstreams
    ]
    commands = {f"millrace {policy}": (millrace, policy) for policy in POLICIES}
    commands |= {f"nginx {name}": (nginx, method) for name, method in NGINX.items()}
    commands |= {f"HAProxy {name}": (haproxy, method) for name, method in HAPROXY.items()}
    if arguments.subjects:
        commands = {name: it for name, it in commands.items() if any(part in name for part in arguments.subjects)}
    running, ports = [], {}
    try:
        for upstream in upstreams:
            wait_until_ready(f"http://127.0.0.1:{upstream}/models")
        for name, (configure, method) in commands.items():
            ports[name] = free_port()
            command = configure(folder, ports[name], upstreams, method)
            running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=goes_first))
            path = "/readyz" if configure is millrace else "/models"
            wait_until_ready(f"http://127.0.0.1:{ports[name]}{path}")
        for rate in arguments.rates:
            results = collections.defaultdict(list)
            for _ in range(arguments.rounds):
                for name, port in ports.items():
                    wait_until_idle(upstreams)
                    results[name].append(measure(port, rate, arguments.seconds, upstreams))
            print(f"\n{rate} requests/s, medians of {arguments.rounds} rounds of {arguments.seconds:g} s\n")
            print("| balancer | p50 ms | p99 ms (each round) | p99.9 ms | failed | share of the slow worker |\n|---|---:|---:|---:|---:|---:|")
            for name, rounds in results.items():
                middle = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
                each = ", ".join(f"{one['p99']:.1f}" for one in rounds)
                failed = sum(one["failed"] for one in rounds)
                print(f"| {name} | {middle['p50']:.1f} | **{middle['p99']:.1f}** ({each}) | {middle['p999']:.1f} | {failed} | {middle['slow']:.2%} |", flush=True)
        recover(ports, stand_ins[-1], upstreams)
    finally:
        for process in running + stand_ins:
            process.terminate()
        for process in running + stand_ins:
            process.wait(timeout=30)


def recover(ports, slow, upstreams):
    """When the slow worker turns fast: after how many seconds has it a fifth of the requests?"""
    print("\nseconds from the recovery of the slow worker until it has a fifth of the requests\n")
    slow.send_signal(signal.SIGUSR1)
    for name, port in ports.items():
        if "peak_ewma" not in name and "prequal" not in name:
            continue
        begun, client = time.monotonic(), start_client(port, "/models/m/predict", '{"inputs": [[1]]}', 600, 20, connections=256)
        before, after = count(upstreams[-1]), None
        while client.poll() is None and after is None:
            time.sleep(0.5)
            now = count(upstreams[-1])
            if now - before > 0.5 * 600 / 5:
                after = time.monotonic() - begun
            before = now
        answers(client)
        print(f"{name}: {'more than 20' if after is None else f'{after:.1f}'}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stand-in"]:
        asyncio.run(stand_in(int(sys.argv[2]), float(sys.argv[3])))
    else:
        main()
