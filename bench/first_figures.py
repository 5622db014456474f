#!/usr/bin/env python3
"""CPU per request and resident memory of the gateway beside nginx, and of a worker alone.

Everything runs on this machine in one go: two workers serve the digits model; the gateway and nginx proxy the same two
workers; a load generator (wrk) keeps 32 connections busy with one row each. The subjects take turns, round by round,
so that a machine whose speed drifts drifts for all of them. What is reported is the median over the rounds of

    CPU µs/request = (user + system time of all processes of the subject) / (requests answered)

and, beside nginx, the median of the ratios within each round. CPU time is read from /proc, so that waiting and the load
generator do not count.

    cargo build --release && python3 bench/first_figures.py [--rounds 7] [--seconds 4] [--connections 32]

Needs wrk and nginx (Debian: wrk, nginx-light). Writes docs/benchmarks.md.
"""
import argparse
import csv
import json
import os
import pathlib
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "millrace"
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def tree(pid):
    """A process and its descendants."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [below for child in children for below in tree(int(child))]


def cpu_seconds(pid):
    total = 0
    for each in tree(pid):
        fields = pathlib.Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def resident_megabytes(pid):
    """Resident memory of all processes of a subject (RSS); pages that they share are counted for each."""
    rollups = [pathlib.Path(f"/proc/{each}/smaps_rollup").read_text() for each in tree(pid)]
    return sum(int(re.search(r"^Rss:\s+(\d+)", rollup, re.M)[1]) for rollup in rollups) / 1024


def wait_until_ready(url, seconds=20):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url} did not become ready within {seconds} s")


def load(url, seconds, connections, body):
    """Requests answered, and how many of them were not."""
    environment = dict(os.environ, MILLRACE_BENCH_BODY=str(body))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(ROOT / "bench/predict.lua"), url]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    errors = sum(map(int, re.findall(r"(?:Non-2xx or 3xx responses: |connect |read |write |timeout )(\d+)", output)))
    return {
        "requests": int(re.search(r"(\d+) requests in", output)[1]),
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        "p50": re.search(r"^\s+50%\s+(\S+)", output, re.M)[1],
        "p99": re.search(r"^\s+99%\s+(\S+)", output, re.M)[1],
        "errors": errors,
    }


def nginx_config(folder, port, upstreams, method=""):
    """The path of a configuration over these upstreams; `method` holds the directives that choose among them."""
    servers = "\n".join(f"    server 127.0.0.1:{upstream};" for upstream in upstreams)
    path = folder / f"nginx-{port}.conf"
    path.write_text(f"""
worker_processes 2;
pid {folder}/nginx-{port}.pid;
error_log {folder}/error.log;
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream workers {{
    {method}
{servers}
    keepalive 128; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--no-write", action="store_true", help="print only")
    arguments = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-"))
    with open(ROOT / "data/digits.csv", newline="") as file:
        rows = csv.DictReader(file)
        first = next(rows)
    row = [float(value) for name, value in first.items() if name != "digit"]
    body = folder / "body.json"
    body.write_text(json.dumps({"inputs": [row]}))
    path = "/models/digits/predict"

    environment = dict(os.environ, MILLRACE_TELEMETRY__ACCESS_LOG="false")
    log = open(folder / "log", "w")
    processes = []

    def start(command):
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        processes.append(process)
        return process.pid

    try:
        ports = [free_port(), free_port()]
        workers = [start([BINARY, "worker", "--listen", f"127.0.0.1:{port}", "--models", ROOT / "models"]) for port in ports]
        for port in ports:
            wait_until_ready(f"http://127.0.0.1:{port}/readyz")

        gateway_port, admin_port, nginx_port = free_port(), free_port(), free_port()
        config = folder / "gateway.toml"
        config.write_text(
            f'[gateway]\nlisten = "127.0.0.1:{gateway_port}"\nadmin = "127.0.0.1:{admin_port}"\n'
            + "".join(f'[[gateway.workers]]\nid = "w{i}"\nurl = "http://127.0.0.1:{port}"\n' for i, port in enumerate(ports))
        )
        gateway = start([BINARY, "gateway", "--config", config])
        wait_until_ready(f"http://127.0.0.1:{gateway_port}/readyz")
        nginx = start(["nginx", "-c", nginx_config(folder, nginx_port, ports)])
        wait_until_ready(f"http://127.0.0.1:{nginx_port}/readyz")

        subjects = {
            "millrace gateway": (gateway, gateway_port),
            "nginx": (nginx, nginx_port),
            "millrace worker alone": (workers[0], ports[0]),
        }
        results = {name: [] for name in subjects}
        for number in range(arguments.rounds + 1):
            for name, (pid, port) in subjects.items():
                before = cpu_seconds(pid)
                result = load(f"http://127.0.0.1:{port}{path}", arguments.seconds, arguments.connections, body)
                result["micros"] = (cpu_seconds(pid) - before) / result["requests"] * 1e6
                if number > 0:  # the first round warms up
                    results[name].append(result)
                print(f"round {number}  {name:24} {result}", file=sys.stderr)
        memory = {name: resident_megabytes(pid) for name, (pid, _) in subjects.items()}
        report = render(arguments, results, memory)
        print(report)
        if not arguments.no_write:
            write(report)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def render(arguments, results, memory):
    def median(name, key):
        return statistics.median(result[key] for result in results[name])

    pairs = zip(results["millrace gateway"], results["nginx"])
    ratio = statistics.median(ours["micros"] / theirs["micros"] for ours, theirs in pairs)
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr.strip().removeprefix("nginx version: ")
    model = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())[1]
    lines = [
        f"Measured on {time.strftime('%Y-%m-%d')}: {os.cpu_count()} cores ({model}), {platform.system()} {platform.release().split('-')[0]}, {version}; "
        f"{arguments.rounds} rounds of {arguments.seconds} s after one to warm up, {arguments.connections} connections, digits, one row a request.",
        "",
        "| subject | CPU µs/request | requests/s | p50 | p99 | memory (RSS) | failed |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, rounds in results.items():
        middle = sorted(rounds, key=lambda result: result["per_second"])[len(rounds) // 2]
        failed = sum(result["errors"] for result in rounds)
        lines.append(
            f"| {name} | {median(name, 'micros'):.1f} | {median(name, 'per_second'):,.0f} | {middle['p50']} | {middle['p99']} "
            f"| {memory[name]:.1f} MB | {failed} |"
        )
    lines += ["", f"The gateway takes **{ratio:.2f} ×** nginx's CPU per request (median of the ratios round by round)."]
    return "\n".join(lines)


def write(report):
    path = ROOT / "docs/benchmarks.md"
    text = path.read_text()
    begin, end = "<!-- first figures: begin -->", "<!-- first figures: end -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}\n{report}\n{end}{after}")
    print(f"written to {path.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
