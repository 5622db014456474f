#!/usr/bin/env python3
"""Has a real Prometheus scrape a gateway and two workers, and compares what it knows with what was sent.

Usage: tests/deployment/prometheus.py [millrace binary]    needs prometheus and promtool

Also lets promtool judge the metrics of both kinds of process: names, units, help texts.
"""

import json
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support import (
    ROOT,
    Checks,
    Prometheus,
    check_models,
    get,
    metric,
    predict,
    rows_of,
    run,
    wait_for,
    wait_for_models,
)

GOOD, BAD = 37, 3

checks = Checks()


def free_ports(count):
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def process(command, log):
    """A process that is ended on SIGTERM when the block ends; its log is shown where a check failed."""
    with open(log, "wb") as output:
        running = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(timeout=60)
        if checks.failed or sys.exc_info()[0]:
            print(f"{log.name}:\n{log.read_text()[-3000:]}")


def check_names(what, url):
    """promtool finds nothing to say about the metrics page of a process."""
    told = subprocess.run(["promtool", "check", "metrics"], input=get(f"{url}/metrics"), text=True, capture_output=True)
    found = (told.stdout + told.stderr).strip()
    checks.that(f"promtool finds nothing in the metrics of the {what}", told.returncode == 0 and not found, found)


def check_values(prometheus, sent):
    """What Prometheus was told is what was sent, model by model, at the gateway and over all workers."""
    for model, count in sent.items():
        expected = {
            f'sum(millrace_gateway_requests_total{{model="{model}",code="ok"}})': count,
            f'sum(millrace_gateway_request_duration_seconds_count{{model="{model}"}})': count,
            f'sum(millrace_worker_requests_total{{model="{model}",code="ok"}})': count,
        }
        if model == "iris":
            expected['sum(millrace_gateway_requests_total{model="iris",code="invalid_input"})'] = BAD
            expected['sum(millrace_gateway_request_duration_seconds_count{model="iris"})'] = count + BAD
        for expression, value in expected.items():
            wait_for(f"{expression} to be {value}", lambda: prometheus.query(expression) == value)
            checks.that(f"{expression} is {value}", True)
    rows = prometheus.query('sum(millrace_worker_batch_rows_sum{model="iris"})')
    every_row = GOOD + len(rows_of("iris")[0])
    checks.that("the rows of all batches are the rows that were sent", rows == every_row, rows)
    names = prometheus.ask("label/model/values")
    unknown = [name for name in names if "nobody" in name]
    checks.that("a model that nobody has is no label value", not unknown, ", ".join(names))


def start_workers(stack, binary, folder, ports):
    for port in ports:
        command = [binary, "worker", "--listen", f"127.0.0.1:{port}"]
        stack.enter_context(process(command, folder / f"worker-{port}.log"))


def start_gateway(stack, binary, folder, port, admin_port, worker_ports):
    """A gateway that has taken in every worker; gives its URL."""
    config = folder / "millrace.toml"
    listed = [f'[[gateway.workers]]\nid = "{each}"\nurl = "http://127.0.0.1:{each}"\n' for each in worker_ports]
    config.write_text("\n".join(listed))
    command = [binary, "gateway", "--config", config]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin_port}"]
    stack.enter_context(process(command, folder / "gateway.log"))
    url = f"http://127.0.0.1:{port}"
    for each in worker_ports:
        wait_for(
            f"worker {each} healthy",
            lambda: metric(url, "millrace_gateway_endpoint_healthy", worker=each) == 1,
        )
    return url


def start_prometheus(stack, folder, port, scraped_ports):
    """A Prometheus server that scrapes these ports every second."""
    targets = [f"127.0.0.1:{each}" for each in scraped_ports]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "millrace", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    stack.enter_context(process(command, folder / "prometheus.log"))
    return Prometheus(f"http://127.0.0.1:{port}")


def send(gateway):
    """Every row of the data sets, and requests of each kind: good, with a row that is too short, for no model."""
    check_models(checks, gateway)
    row = [5.1, 3.5, 1.4, 0.2]
    statuses = [predict(gateway, "iris", [row])[0] for _ in range(GOOD)]
    checks.that(f"{GOOD} predictions were answered", statuses == [200] * GOOD)
    statuses = [predict(gateway, "iris", [row[:3]])[0] for _ in range(BAD)]
    checks.that(f"{BAD} rows that are too short were refused", statuses == [400] * BAD)
    statuses = [predict(gateway, f"nobody-has-this-{number}", [row])[0] for number in range(BAD)]
    checks.that(f"{BAD} unknown models were refused", statuses == [404] * BAD)


def main():
    binary = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/millrace").resolve()
    gateway_port, admin_port, prometheus_port, *worker_ports = free_ports(5)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="millrace-prometheus-")))
        start_workers(stack, binary, folder, worker_ports)
        gateway = start_gateway(stack, binary, folder, gateway_port, admin_port, worker_ports)
        scraped_ports = [gateway_port, *worker_ports]
        wait_for_models(gateway)
        prometheus = start_prometheus(stack, folder, prometheus_port, scraped_ports)
        send(gateway)
        check_names("gateway", gateway)
        check_names("worker", f"http://127.0.0.1:{worker_ports[0]}")
        prometheus.wait_for_targets(len(scraped_ports))
        checks.that("Prometheus sees gateway and workers up", True)
        check_values(prometheus, {"iris": GOOD + 1, "digits": 1, "diabetes": 1})


if __name__ == "__main__":
    sys.exit(run(checks, main))
