"""One scenario: its subjects take turns under the same loads, and each turn is measured."""
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import bodies
from process import Failed

OPEN_LOOP_CONNECTIONS = 256
# A subject that answers less than this share more than a rate under a closed loop is not asked at the rate.
HEADROOM = 1.25


@dataclass(frozen=True)
class Cell:
    """A load: a model, a body (`row`, `rows` of JSON, `v2` of 64 binary rows), and connections or a rate."""

    model: str
    body: str
    connections: int
    rate: int = 0

    @property
    def name(self):
        body = {"row": "1 row", "rows": "64 rows", "v2": "64 rows, V2 binary"}[self.body]
        return f"{body}, {self.rate:,}/s" if self.rate else f"{body}, {self.connections}"


def generate(machine, port, request, expect, connections, seconds, rate=0):
    """Runs the load generator, and gives back what it says."""
    file = machine.folder / f"request-{port}"
    file.write_bytes(request.bytes())
    command = ["taskset", "-c", ",".join(map(str, machine.load)), machine.tools / "load", "--address", f"127.0.0.1:{port}",
               "--request", file, "--expect", expect, "--connections", connections, "--seconds", seconds]
    if rate:
        command += ["--rate", rate]
        if os.geteuid() == 0:
            # Real clients run elsewhere: this one never waits for a processor.
            command = ["chrt", "--fifo", "1", *command]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds + 90)
    if done.returncode != 0:
        raise Failed(f"the load generator: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


class Scenario:
    """The subjects of one comparison, and what was measured of them."""

    def __init__(self, machine, name, subjects, cells, rounds, seconds):
        self.machine, self.name, self.subjects, self.cells = machine, name, subjects, cells
        self.rounds, self.seconds = rounds, seconds
        self.absent, self.results, self.memory, self.best = {}, {}, {}, {}

    def run(self):
        models = list(dict.fromkeys(cell.model for cell in self.cells))
        for model in models:
            self.run_model(model, [cell for cell in self.cells if cell.model == model], model == models[0])
        return self.told()

    def told(self):
        measured = {name for results in self.results.values() for name in results}
        return {
            "subjects": {subject.name: subject.note for subject in self.subjects if subject.name in measured},
            "absent": self.absent, "memory": self.memory, "seconds": self.seconds, "rounds": self.rounds,
            "cells": [{**asdict(cell), "name": cell.name, "results": self.results.get(cell, {})} for cell in self.cells]}

    def run_model(self, model, cells, is_first):
        running = []
        try:
            for subject in self.subjects:
                if subject.name in self.absent:
                    continue
                self.say(f"{model}: starting {subject.name}")
                try:
                    running.append(subject.start(self.machine, model))
                    running[-1].pause()
                except (Failed, OSError, subprocess.SubprocessError) as error:
                    self.leave_out(subject, str(error))
            for number in range(self.rounds + 1):  # the first is to warm up
                for cell in cells:
                    for each in running if number % 2 else reversed(running):
                        if each.subject.name not in self.absent:
                            self.turn(number, cell, each)
            if is_first:
                for each in running:
                    self.memory[each.subject.name] = each.pss_megabytes()
        finally:
            for each in running:
                each.stop()

    def turn(self, number, cell, running):
        name = running.subject.name
        asked = running.subject.request(self.machine, cell.model, cell.body)
        if asked is None or cell.rate * HEADROOM > self.best.get((name, cell.model), cell.rate * HEADROOM):
            return
        request, expected = asked
        running.go_on()
        try:
            expect = bodies.check(running.port, request, expected)
            result = self.measure(running, request, expect, cell, number == 0)
            bodies.check(running.port, request, expected)
        except (Failed, OSError, ValueError, IndexError, KeyError, subprocess.SubprocessError) as error:
            self.leave_out(running.subject, f"{cell.name}: {error}")
            return
        finally:
            running.pause()
        if number == 0:
            if not cell.rate and cell.body == "row":
                key = (name, cell.model)
                self.best[key] = max(self.best.get(key, 0), result["per_second"])
            return
        self.results.setdefault(cell, {}).setdefault(name, []).append(result)
        self.say(f"round {number}/{self.rounds}  {cell.model}, {cell.name:24} {name:32} {result['cpu_us']:9.1f} µs CPU  "
                 f"{result['per_second']:9,.0f}/s  p50 {result['p50_us'] / 1e3:8.2f} ms  p99 {result['p99_us'] / 1e3:8.2f} ms"
                 + (f"  {result['failed']} FAILED" if result["failed"] else ""))

    def measure(self, running, request, expect, cell, is_warm_up):
        seconds = self.seconds
        if is_warm_up:
            seconds = min(1, seconds / 2)
        else:  # it has stood still while the others had their turns
            generate(self.machine, running.port, request, expect, min(cell.connections, 32), min(0.3, seconds / 5))
        cpu, begun = running.cpu_seconds(), time.monotonic()
        result = generate(self.machine, running.port, request, expect, cell.connections, seconds, cell.rate)
        used, took = running.cpu_seconds() - cpu, time.monotonic() - begun
        if not result["answered"]:
            raise Failed(f"no good answer, {result['failed']} failed")
        count = result["answered"] + result["failed"]
        return {**result, "cpu_us": used / count * 1e6, "busy": used / took}

    def leave_out(self, subject, reason):
        self.absent[subject.name] = reason
        self.say(f"without {subject.name}: {reason}")

    def say(self, text):
        print(f"[{time.strftime('%H:%M:%S')}] {self.name}: {text}", file=sys.stderr, flush=True)


def cells_of_workers(quick):
    connections = [1, 32, 128, 512]
    cells = [Cell("digits", "row", count) for count in connections]
    cells += [Cell("digits", "row", OPEN_LOOP_CONNECTIONS, rate) for rate in (500, 5000)]
    cells += [Cell("digits", body, 32) for body in ("rows", "v2")]
    if not quick:
        cells += [Cell(model, "row", 32) for model in ("iris", "forest")]
    return cells


def cells_of_gateways(quick):
    return [cell for cell in cells_of_workers(quick) if cell.model == "digits"]
