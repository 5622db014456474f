"""One method by two systems, fitted with several seeds each on the same split: is ours worse than chance explains?"""

import numpy as np


def of(figures, digits):
    """Mean and standard deviation in words."""
    return f"{np.mean(figures):.{digits}f} ± {np.std(figures, ddof=1):.{digits}f}"


def compare(figure, ours, theirs, *, digits, larger_is_better):
    """Prints both means and deviations; gives whether ours is no worse by more than two standard errors of the difference of the
    means, and the difference in words."""
    count = len(ours)
    print(f"     millrace, {count} seeds: {figure} {of(ours, digits)}", flush=True)
    print(f"     PyTorch, {count} seeds: {figure} {of(theirs, digits)}", flush=True)
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / count)
    difference = np.mean(ours) - np.mean(theirs)
    better = difference if larger_is_better else -difference
    return better >= -2 * error, f"{difference:+.{digits}f}, standard error {error:.{digits}f}"
