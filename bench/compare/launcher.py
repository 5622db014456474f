"""Runs a command and whatever it starts, keeps all of it together, and ends all of it.

    python3 launcher.py CPUS COMMAND …

Whoever loses its parent becomes a child of this process, so that servers which start daemons can be measured, paused and ended
as one tree. It ends when its own parent does, however that ends.
"""
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PATIENCE_SECONDS = 5


class Stop(Exception):
    pass


def stop(number, frame):
    raise Stop


def children(pid):
    """Those of all threads of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            pass  # the thread, or the process, has ended
    return found


def descendants(pid):
    return [each for child in children(pid) for each in [child, *descendants(child)]]


def signal_all(number):
    for pid in descendants(os.getpid()):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def reap_all():
    """Until no child is left."""
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


def main():
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[1].split(",")})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            os.execvp(sys.argv[2], sys.argv[2:])
        except OSError as error:
            print(f"{sys.argv[2]}: {error}", file=sys.stderr)
            os._exit(127)
    try:
        reap_all()
        return
    except Stop:
        pass
    signal_all(signal.SIGCONT)
    try:
        os.kill(child, signal.SIGTERM)
    except ProcessLookupError:
        pass
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE_SECONDS)
    while True:
        try:
            reap_all()
            return
        except Stop:
            signal_all(signal.SIGKILL)
            signal.alarm(1)


if __name__ == "__main__":
    main()
