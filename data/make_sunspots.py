"""Writes sunspots.csv beside this file, from the data set inside the pmdarima package.

    pip install --no-deps pmdarima==2.1.1
    python data/make_sunspots.py

The package is not imported, so that it needs nothing else. Numbers are written as they stand there, lines end in "\\n": the
same package gives the same bytes.
"""

import csv
import gzip
import importlib.util
from pathlib import Path

FOLDER = Path(__file__).parent
FIRST_YEAR = 1749


def short(number):
    """ "58.0" -> "58", "0.2" -> "0.2"."""
    return number.removesuffix(".0")


def main():
    package = importlib.util.find_spec("pmdarima")
    if package is None:
        raise SystemExit("pmdarima is not installed: pip install --no-deps pmdarima==2.1.1")
    source = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "sunspots.txt.gz"
    numbers = gzip.decompress(source.read_bytes()).decode("ascii").replace(",", " ").split()
    with open(FOLDER / "sunspots.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["month", "sunspots"])
        for place, number in enumerate(numbers):
            writer.writerow([f"{FIRST_YEAR + place // 12}-{place % 12 + 1:02}", short(number)])


if __name__ == "__main__":
    main()
