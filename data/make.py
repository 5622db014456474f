"""Writes diabetes.csv, iris.csv, digits.csv and penguins.csv beside this file, from the data sets inside the packages of
scikit-learn and palmerpenguins.

    pip install scikit-learn==1.9.1 palmerpenguins==0.1.6
    python data/make.py

Numbers are written in their shortest exact form, lines end in "\n": the same package gives the same bytes.
"""

import csv
from importlib import resources
from pathlib import Path

from sklearn.datasets import load_diabetes, load_digits, load_iris

FOLDER = Path(__file__).parent


def short(value):
    """13.0 -> "13", 0.2 -> "0.2"."""
    value = float(value)
    return str(int(value)) if value.is_integer() else repr(value)


def write(name, header, rows, targets):
    with open(FOLDER / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row, target in zip(rows, targets, strict=True):
            writer.writerow([short(value) for value in row] + [target])


def main():
    diabetes = load_diabetes(scaled=False)
    write("diabetes.csv", [*diabetes.feature_names, "progression"], diabetes.data, map(short, diabetes.target))

    iris = load_iris()
    header = ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    write("iris.csv", header, iris.data, iris.target_names[iris.target])

    digits = load_digits()
    pixels = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    write("digits.csv", [*pixels, "digit"], digits.data, digits.target)

    # As the package has it, with an empty value for what is missing.
    penguins = (resources.files("palmerpenguins") / "data" / "penguins.csv").read_text(encoding="utf-8")
    with open(FOLDER / "penguins.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for record in csv.reader(penguins.splitlines()):
            writer.writerow(["" if value == "NA" else value for value in record])


if __name__ == "__main__":
    main()
