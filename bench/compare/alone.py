"""What is measured of millrace alone: binary rows beside JSON, memory over time, the time to ready, and the load generator itself."""
import re
import statistics
import subprocess
import sys
import time

import bodies
import environments
import subjects
from measure import generate
from process import Failed

CONNECTIONS = 32
ROWS = 64
WIDE = ("wide", "linear")


class Shipped(subjects.MillraceWorker):
    """A worker with all models that millrace ships."""

    def __init__(self, models):
        super().__init__("millrace worker, all shipped models")
        self.models = models

    def start(self, machine, model):
        port, tree = subjects.start_worker(machine, self.models)
        running = subjects.Running(self, port, [tree])
        limit = time.monotonic() + subjects.START_SECONDS
        while time.monotonic() < limit and tree.is_alive():
            try:
                if bodies.ask(port, bodies.Request("/readyz", b""), 1, "GET")[0] == 200:
                    return running
            except (OSError, IndexError, ValueError):
                pass
            time.sleep(0.01)
        running.stop()
        raise Failed(f"not ready: {tree.last_words()}")


def measure(machine, models, rounds, seconds):
    """Everything of this file; what fails says so and leaves the rest."""
    told = {}
    for name, part in (("wide", wide), ("memory", memory), ("ready", ready), ("generator", generator)):
        print(f"[{time.strftime('%H:%M:%S')}] millrace alone: {name}", file=sys.stderr, flush=True)
        try:
            told[name] = part(machine, models, rounds, seconds)
        except (Failed, OSError, ValueError, IndexError, KeyError, subprocess.SubprocessError) as error:
            told[name] = {"failed": str(error)}
            print(f"failed: {error}", file=sys.stderr)
    return told


def wide(machine, models, rounds, seconds):
    """Rows per second and CPU per row of 64 rows of 784 values, as JSON and as binary tensors of V2, by model: the less the
    model itself costs, the more it matters how its rows are written."""
    return {model: forms(machine, model, rounds, seconds) for model in WIDE}


def forms(machine, model, rounds, seconds):
    subject = subjects.MillraceWorker()
    running = subject.start(machine, model)
    results = {"rows": [], "v2": []}
    try:
        for number in range(rounds + 1):
            for body in sorted(results, reverse=number % 2 == 1):
                request, expected = subject.request(machine, model, body)
                expect = bodies.check(running.port, request, expected)
                before = running.cpu_seconds()
                result = generate(machine, running.port, request, expect, CONNECTIONS, seconds)
                used = running.cpu_seconds() - before
                if number:
                    results[body].append({"rows_per_second": result["per_second"] * ROWS, "failed": result["failed"],
                                          "cpu_us": used / max(1, result["answered"] + result["failed"]) / ROWS * 1e6})
    finally:
        running.stop()
    return results


def memory(machine, models, rounds, seconds):
    """Resident memory of a worker with all shipped models, and of a gateway, while requests come."""
    told = {}
    worker = Shipped(models)
    gateway = subjects.Gateway("millrace gateway", subjects.start_gateway, "")
    for subject in (worker, gateway):
        running = subject.start(machine, "digits")
        try:
            settle(running)
            points, requests = [(0, running.pss_megabytes())], 0
            request, _ = subject.request(machine, "digits", "row")
            expect = bodies.check(running.port, request, None)
            for _ in range(2 * rounds):
                requests += generate(machine, running.port, request, expect, 128, seconds)["answered"]
                points.append((requests, running.pss_megabytes()))
            told[subject.name] = points
        finally:
            running.stop()
    return told


def settle(running):
    """Waits until next to nothing is computed: a worker prepares larger batches after it is ready, with trials that end then."""
    limit = time.monotonic() + subjects.START_SECONDS
    while time.monotonic() < limit:
        before = running.cpu_seconds()
        time.sleep(1)
        if running.cpu_seconds() - before < 0.05:
            return


def ready(machine, models, rounds, seconds):
    """Seconds until a worker with all shipped models is ready."""
    took = []
    for _ in range(max(3, rounds)):
        begun = time.monotonic()
        running = Shipped(models).start(machine, "digits")
        took.append(time.monotonic() - begun)
        running.stop()
    return {"median": statistics.median(took), "least": min(took), "most": max(took)}


def generator(machine, models, rounds, seconds):
    """The load generator beside wrk, both on the floor server."""
    wrk = environments.program("wrk")
    subject = subjects.FloorServer()
    running = subject.start(machine, "digits")
    results = {"ours": [], "wrk": []}
    try:
        request, _ = subject.request(machine, "digits", "row")
        body = machine.folder / "body.json"
        body.write_bytes(request.body)
        script = machine.folder / "predict.lua"
        script.write_text('wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\n'
                          f'local file = assert(io.open("{body}", "r"))\nwrk.body = file:read("*a")\nfile:close()\n')
        url = f"http://127.0.0.1:{running.port}{request.path}"
        for _ in range(max(1, rounds)):
            results["ours"].append(generate(machine, running.port, request, "predictions", CONNECTIONS, seconds)["per_second"])
            output = subprocess.run(["taskset", "-c", ",".join(map(str, machine.load)), wrk, "-t1", f"-c{CONNECTIONS}",
                                     f"-d{max(1, round(seconds))}s", "-s", str(script), url], capture_output=True, text=True, check=True).stdout
            results["wrk"].append(float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]))
    finally:
        running.stop()
    return {name: statistics.median(rates) for name, rates in results.items()}
