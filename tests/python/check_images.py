"""Holds the convolutional networks that `millrace train` writes against ONNX Runtime.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/check_images.py --millrace target/release/millrace

Digits are learnt from a table and from a folder of PNG files that are made here, grey and in colour. Every graph passes
the checker of ONNX; the reported figures are those of ONNX Runtime's answers; and a worker that serves it answers as ONNX
Runtime does, for lists of pixels and for files. The exit code is 1 if one check failed.
"""

import argparse
import base64
import csv
import json
import struct
import subprocess
import sys
import tempfile
import tomllib
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from checks import check, verdict
from serving import Worker

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "data" / "digits.csv"
OPTIONS = ["--channels", "8,16", "--hidden", "32", "--epochs", "20", "--learning-rate", "0.003", "--dropout", "0.1", "--shift", "1"]


def digits():
    with open(DIGITS, newline="", encoding="utf-8") as file:
        _, *records = csv.reader(file)
    rows = np.array(records, dtype=float)
    return rows[:, :-1].reshape(-1, 1, 8, 8), rows[:, -1].astype(int)


def png(image):
    """A PNG file of an image, C × H × W of 0 to 255."""
    depth, height, width = image.shape
    lines = image.astype(np.uint8).transpose(1, 2, 0).reshape(height, -1)
    pixels = b"".join(b"\0" + line.tobytes() for line in lines)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if depth == 1 else 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def train(millrace, repository, model, *options):
    report = Path(repository) / f"{model}.json"
    command = [millrace, "train", "convolutional-network", "--model", model, "--repository", repository]
    command += ["--report", report, *options, *OPTIONS]
    finished = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{model}: exit code {finished.returncode}: {finished.stderr}")
    return json.loads(report.read_text()), Path(repository) / model / "1"


def check_model(name, report, folder, images, labels, worker):
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    held_out, truth = images[report["test_rows"]], labels[report["test_rows"]]
    (answers,) = session.run(None, {session.get_inputs()[0].name: held_out.astype(np.float32)})
    places = np.array([report["classes"].index(str(label)) for label in truth])
    accuracy = float((answers.argmax(axis=1) == places).mean())
    metrics = report["metrics"]
    check(f"{name}: accuracy as ONNX Runtime's", metrics["accuracy"] == accuracy, f"{metrics['accuracy']} and {accuracy}")
    loss = float(-np.log(answers[np.arange(len(places)), places].astype(float)).mean())
    check(f"{name}: log-loss as ONNX Runtime's", abs(metrics["log_loss"] - loss) < 1e-5, f"{metrics['log_loss']} and {loss}")
    check(f"{name}: held-out accuracy", accuracy > 0.9, f"{accuracy:.4f} > 0.9")
    status, answer = worker.predict(folder.parent.name, held_out.tolist())
    if status != 200:
        check(f"{name}: a worker serves it", False, f"{status}: {answer}")
        return
    served = np.array(answer["probabilities"])
    worst = (np.abs(served - answers) / np.maximum(np.abs(answers), 1e-4)).max()
    check(f"{name}: served as ONNX Runtime answers", worst < 1e-4, f"largest relative difference {worst:.1e}")
    if held_out.max() > 16:  # the file that it was learnt from is the same request
        files = [base64.b64encode(png(image)).decode() for image in held_out]
        status, answer = worker.predict(folder.parent.name, files)
        same = status == 200 and np.abs(np.array(answer["probabilities"]) - served).max() < 1e-6
        check(f"{name}: files of images are answered like their pixels", same, f"{status}, {len(files)} files")


def check_image(name, folder, expected):
    image = tomllib.loads((folder / "model.toml").read_text()).get("image", {})
    scale = image.pop("scale", 1 / 255)
    check(f"{name}: [image] in model.toml", image == expected[0] and abs(scale - expected[1]) < 1e-12, f"{image} {scale}")


def write_folder(folder, images, labels):
    """The images as files; gives back their order as millrace reads them."""
    order = []
    for label in sorted(set(labels.tolist()), key=str):
        (folder / str(label)).mkdir(parents=True)
        for row in np.flatnonzero(labels == label):
            (folder / str(label) / f"{row:05}.png").write_bytes(png(images[row]))
            order.append(row)
    return images[order], labels[order]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millrace", default=ROOT / "target/release/millrace", help="the binary")
    millrace = parser.parse_args().millrace
    images, labels = digits()
    bright = np.round(images * 255 / 16)
    size = {"width": 8, "height": 8}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "models"
        repository.mkdir()
        cases = []
        found = train(millrace, repository, "table", "--data", DIGITS, "--target", "digit", "--shape", "8x8")
        cases.append(("a table", *found, images, labels, ({**size, "channels": 1}, 16 / 255)))
        grey = write_folder(Path(folder) / "grey", bright, labels)
        found = train(millrace, repository, "grey", "--data", Path(folder) / "grey", "--shape", "8x8")
        cases.append(("a folder of grey images", *found, *grey, ({**size, "channels": 1}, 1)))
        colours = np.concatenate([bright, 255 - bright, bright // 2], axis=1)
        colour = write_folder(Path(folder) / "colour", colours, labels)
        found = train(millrace, repository, "colour", "--data", Path(folder) / "colour", "--shape", "3x8x8")
        cases.append(("a folder of colour images", *found, *colour, ({**size, "channels": 3}, 1)))
        with Worker(millrace, repository) as worker:
            for name, report, version, pixels, truth, declared in cases:
                check_image(name, version, declared)
                check_model(name, report, version, pixels, truth, worker)
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
