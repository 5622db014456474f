"""What the checks in this folder share: each one says what it found and whether that holds, and all of them run, whatever failed
before."""

import numpy as np

passed, failed = [], []


def check(what, holds, found="as expected"):
    (passed if holds else failed).append(what)
    print(f"{'ok  ' if holds else 'FAIL'} {what}: {found}", flush=True)


def check_close(what, ours, theirs, tolerance):
    """The largest absolute difference."""
    compared = comparable(what, ours, theirs)
    if compared is not None:
        difference = np.abs(compared[0] - compared[1]).max()
        check(what, difference <= tolerance, f"largest difference {difference:.2e} (at most {tolerance:.0e})")


def check_relative(what, ours, theirs, tolerance=1e-5, floor=1e-6):
    """The largest difference relative to the value; values near 0 may differ by `floor`."""
    compared = comparable(what, ours, theirs)
    if compared is None:
        return
    ours, theirs = compared
    allowed = np.maximum(tolerance * np.abs(theirs), floor)
    difference = np.abs(ours - theirs)
    worst = np.divide(difference, allowed, out=np.where(difference > 0, np.inf, 0), where=allowed > 0).max()
    check(what, worst <= 1, f"{worst:.3f} of the allowed difference (relative {tolerance:.0e}, or {floor:.0e})")


def comparable(what, ours, theirs):
    """Both as numbers; none, and a failed check, where their shapes differ."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if ours.shape == theirs.shape:
        return ours, theirs
    check(what, False, f"shapes {ours.shape} and {theirs.shape}")
    return None


def verdict():
    """Says how many checks passed, and which failed; gives the exit code."""
    print(f"{len(passed)} checks passed, {len(failed)} failed{': ' if failed else ''}{'; '.join(failed)}")
    return 1 if failed else 0
