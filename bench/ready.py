"""How soon a worker with all shipped models is ready, what that costs, and what memory it takes then and later.

    cargo build --release && python3 bench/ready.py [--rounds 9] [--binary PATH ...]

Several binaries are measured in turn, so that whatever else the machine does meets all of them.
"""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from support import BINARY, ROOT, free_port

TICKS = os.sysconf("SC_CLK_TCK")
PAUSE = 0.01  # between two questions, each of which takes time of the processor
LATER = 6.0  # seconds until everything is prepared


def tree(pid):
    """A process and those that it started."""
    told = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout
    return [pid, *map(int, told.split())]


def cpu_seconds(pid):
    """Processor time of a process and of its children that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def pss_megabytes(pid):
    try:
        return int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) / 1024
    except (OSError, TypeError):
        return 0.0


def is_ready(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200
    except OSError:  # not ready is an error as well
        return False


def measure(binary):
    """Milliseconds, processor time in milliseconds and memory in MB when it is ready; the same two later."""
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f'[worker]\nlisten = "127.0.0.1:{port}"\nmodels = "{ROOT / "models"}"\nthreads = 1\n')
        config.flush()
        begun = time.monotonic()
        worker = subprocess.Popen([binary, "worker", "--config", config.name], stderr=subprocess.DEVNULL)
        try:
            while not is_ready(port):
                time.sleep(PAUSE)
            took = time.monotonic() - begun
            figures = [took * 1000]
            for pause in (0, LATER):
                time.sleep(pause)
                figures += [sum(map(cpu_seconds, tree(worker.pid))) * 1000, sum(map(pss_megabytes, tree(worker.pid)))]
            return figures
        finally:
            worker.terminate()
            worker.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--binary", type=pathlib.Path, action="append")
    arguments = parser.parse_args()
    binaries = arguments.binary or [BINARY]
    rounds = [[measure(binary) for binary in binaries] for _ in range(arguments.rounds)]
    names = ("ready, ms", "processor time until then, ms", "memory then, MB", f"processor time {LATER:.0f} s later, ms", "memory then, MB")
    for number, binary in enumerate(binaries):
        print(binary)
        for name, values in zip(names, zip(*(figures[number] for figures in rounds))):
            print(f"  {name:34} {statistics.median(values):8.1f}  ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
