"""A server as a tree of processes: what it costs, and how it is paused and ended."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from launcher import descendants

LAUNCHER = Path(__file__).with_name("launcher.py")
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A server that is not there, with the reason for the report."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Tree:
    """A command with all that it starts, on some of the processors."""

    def __init__(self, command, cpus, log, environment=None, folder=None):
        self.log = Path(log)
        with open(log, "wb") as file:
            # In a session of its own: Ctrl-C is for the measure, which ends its servers in order.
            self.launcher = subprocess.Popen(
                [sys.executable, LAUNCHER, ",".join(map(str, sorted(cpus))), *map(str, command)],
                env={**os.environ, **(environment or {})}, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True)

    def pids(self):
        return descendants(self.launcher.pid)

    def is_alive(self):
        return self.launcher.poll() is None

    def cpu_seconds(self):
        """User and system time of all processes, those included that have ended."""
        ended = ended_children_seconds(self.launcher.pid)
        return ended + sum(cpu_clock(pid) + ended_children_seconds(pid) for pid in self.pids())

    def pss_megabytes(self):
        """Resident memory, in which a page that several processes share is divided among them."""
        return sum(map(pss_kibibytes, self.pids())) / 1024

    def pause(self):
        self.signal(signal.SIGSTOP)

    def go_on(self):
        self.signal(signal.SIGCONT)

    def signal(self, number):
        for pid in self.pids():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def stop(self):
        self.launcher.terminate()

    def wait(self):
        self.launcher.wait()

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def cpu_clock(pid):
    """The processor time of a process with all its threads, in seconds; `/proc` counts it in hundredths."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def ended_children_seconds(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[13]) + int(fields[14])) / TICKS


def pss_kibibytes(pid):
    try:
        return int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1])
    except (OSError, TypeError):
        return 0
