"""Measures millrace beside other servers and proxies, on this machine and in one run, and writes docs/benchmarks.md.

    cargo build --release && bench/compare/run [--quick] [--only worker,gateway,whole,alone] [--rounds 5] [--seconds 2.5]

It installs what it needs: Debian's packages (as root), a virtual environment for each Python server, its own load generator.
README.md beside this file says what is compared, and how.
"""
import argparse
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path

import alone
import environments
import machine as facts
import measure
import report
import subjects
from process import Failed

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCENARIOS = {
    "worker": (subjects.workers, measure.cells_of_workers),
    "gateway": (subjects.gateways, measure.cells_of_gateways),
    "whole": (subjects.wholes, measure.cells_of_gateways),
}
CLONE_NEWNET, SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8913, 0x8914, 1


def isolate():
    """Gives this process and all that it starts a network of their own, with nothing but loopback; whether that worked."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
    return True


def end(number, frame):
    raise KeyboardInterrupt


def arguments_of():
    parser = argparse.ArgumentParser(prog="bench/compare/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--millrace", type=Path, default=target / "release/millrace")
    parser.add_argument("--only", default=",".join([*SCENARIOS, "alone"]), help="some of worker, gateway, whole, alone")
    parser.add_argument("--subjects", help="only those whose name contains one of these words (comma-separated)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.5, help="of one measure")
    parser.add_argument("--quick", action="store_true", help="one round of one second, digits only: to see that it works")
    parser.add_argument("--cache", type=Path, default=HERE / ".cache", help="where environments and tools are kept")
    parser.add_argument("--no-write", action="store_true", help="print the report and leave docs/benchmarks.md alone")
    parser.add_argument("--report", type=Path, metavar="FILE", help="measure nothing: write the report of an earlier run anew")
    return parser.parse_args()


def prepare(arguments):
    """Installs, and says where everything is."""
    if not arguments.millrace.is_file():
        sys.exit(f"{arguments.millrace} is not there: cargo build --release")
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    environments.install_programs()
    # Built and made before the network is gone.
    tools, repositories = environments.tools(cache), environments.repositories(cache)
    for name in sorted(path.stem for path in (HERE / "requirements").glob("*.txt")):
        try:
            environments.environment(name, cache)
        except Failed as error:
            print(f"{name} could not be installed: {error}", file=sys.stderr)  # its subjects say so again
    cpus = sorted(os.sched_getaffinity(0))
    place = subjects.Machine(measured=cpus[:1], load=cpus[1:] or cpus, cache=cache, millrace=arguments.millrace.resolve(),
                             tools=tools, repositories=repositories)
    place.is_isolated = isolate()
    return place


def chosen(made, words):
    return [subject for subject in made if not words or any(word.lower() in subject.name.lower() for word in words)]


def run(arguments):
    place = prepare(arguments)
    rounds, seconds = (1, 1.0) if arguments.quick else (arguments.rounds, arguments.seconds)
    words = arguments.subjects.split(",") if arguments.subjects else []
    begun = time.monotonic()
    results = {"machine": facts.describe(place), "quick": arguments.quick, "rounds": rounds, "seconds": seconds, "scenarios": {}}
    try:
        for name in arguments.only.split(","):
            if name == "alone":
                results["alone"] = alone.measure(place, ROOT / "models", rounds, seconds)
            else:
                who, cells = SCENARIOS[name]
                scenario = measure.Scenario(place, name, chosen(who(place), words), cells(arguments.quick), rounds, seconds)
                results["scenarios"][name] = scenario.run()
            results["minutes"] = (time.monotonic() - begun) / 60
            keep(arguments, results)
    finally:
        place.clean_up()
    return results


def keep(arguments, results):
    """After each scenario, so that a run that is broken off has told what it knew."""
    folder = arguments.cache / "results"
    folder.mkdir(exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(results, indent=1), encoding="utf-8")


def main():
    arguments = arguments_of()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        if arguments.report:
            results = json.loads(arguments.report.read_text(encoding="utf-8"))
        else:
            results = run(arguments)
            latest = arguments.cache / "results/latest.json"
            shutil.copy(latest, latest.with_name(time.strftime("%Y-%m-%d-%H%M.json")))
    except Failed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("broken off; what was measured of whole scenarios is in results/latest.json of the cache")
    text = report.render(results)
    print(text)
    if not arguments.no_write:
        report.write(ROOT / "docs/benchmarks.md", text)


if __name__ == "__main__":
    main()
