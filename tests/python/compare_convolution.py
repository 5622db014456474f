"""Trains a convolutional network of millrace's once more in PyTorch: the same layers, options and split.

    millrace train convolutional-network … --report report.json
    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-torch.txt
    .venv/bin/python tests/python/compare_convolution.py --data data/digits.csv --target digit --report report.json

Prints the held-out figures of both, and the seconds that PyTorch took. Weights begin elsewhere and the validation part is
drawn anew, so the figures differ by chance; several --seeds show by how much.
"""

import argparse
import copy
import csv
import json
import time

import numpy as np
import torch
from torch import nn


def read(path, target):
    """Rows of pixels, and the text of the target of each."""
    if path.endswith(".parquet"):
        from pyarrow import parquet
        table = parquet.read_table(path)
        names = [name for name in table.column_names if name != target]
        rows = np.stack([table[name].to_numpy() for name in names], axis=1)
        return rows.astype(np.float32), [str(value) for value in table[target].to_pylist()]
    with open(path, newline="", encoding="utf-8") as file:
        header, *records = csv.reader(file)
    place = header.index(target)
    rows = [[float(value) for column, value in enumerate(record) if column != place] for record in records]
    return np.array(rows, dtype=np.float32), [record[place] for record in records]


def network(shape, options, classes):
    depth, height, width = shape
    layers = []
    for more in options["channels"]:
        layers += [nn.Conv2d(depth, more, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        depth, height, width = more, height // 2, width // 2
    layers += [nn.Flatten(), nn.Dropout(options["dropout"])]
    fan_in = depth * height * width
    for fan_out in options["hidden"]:
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        fan_in = fan_out
    return nn.Sequential(*layers, nn.Linear(fan_in, classes))


def shifted(images, most):
    """Every image is moved by its own up to `most` pixels; what comes in repeats the border."""
    if most == 0:
        return images
    count, _, height, width = images.shape
    padded = nn.functional.pad(images, [most] * 4, mode="replicate")
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1))
    rows = (down + torch.arange(height))[:, None, :, None]
    columns = (right + torch.arange(width))[:, None, None, :]
    return padded[torch.arange(count)[:, None, None, None], torch.arange(images.shape[1])[:, None, None], rows, columns]


def divide(labels, fraction, random):
    """A validation part, in proportion within each class."""
    learnt, validation = [], []
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        kept = round(fraction * len(rows))
        validation.extend(rows[:kept])
        learnt.extend(rows[kept:])
    return np.array(learnt), np.array(validation)


def answers(net, images):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in images.split(512)])


def train(images, labels, options, classes, seed):
    torch.manual_seed(seed)
    learnt, validation = divide(labels.numpy(), options["validation_fraction"], np.random.default_rng(seed))
    mean, deviation = images[learnt].mean(), images[learnt].std()
    standardised = (images - mean) / deviation
    net = network(images.shape[1:], options, classes)
    optimiser = torch.optim.AdamW(net.parameters(), options["learning_rate"], weight_decay=options["weight_decay"])
    best, lowest, kept = 0, float("inf"), None
    for epoch in range(1, options["epochs"] + 1):
        net.train()
        for batch in torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(learnt)).split(options["batch_size"]):
            optimiser.zero_grad()
            outputs = net(shifted(standardised[batch], options["shift"]))
            nn.functional.cross_entropy(outputs, labels[batch]).backward()
            optimiser.step()
        loss = nn.functional.cross_entropy(answers(net, standardised[validation]), labels[validation]).item()
        if loss < lowest:
            best, lowest, kept = epoch, loss, copy.deepcopy(net.state_dict())
        if epoch - best >= options["patience"]:
            break
    net.load_state_dict(kept)
    return lambda unseen: answers(net, (unseen - mean) / deviation), epoch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--report", required=True, help="what millrace's --report wrote")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    arguments = parser.parse_args()
    with open(arguments.report, encoding="utf-8") as file:
        report = json.load(file)
    options, classes = report["options"], report["classes"]
    rows, targets = read(arguments.data, arguments.target)
    sizes = [int(size) for size in options["shape"].split("x")]
    shape = sizes if len(sizes) == 3 else [1, *sizes]
    images = torch.from_numpy(rows).reshape(-1, *shape)
    labels = torch.tensor([classes.index(target) for target in targets])
    ours = report["metrics"]
    print(f"millrace, seed {report['seed']}: accuracy {ours['accuracy']:.4f}, log-loss {ours['log_loss']:.4f}, "
          f"{len(report['epochs'])} epochs")
    test, held_out = labels[report["test_rows"]], images[report["test_rows"]]
    for seed in arguments.seeds:
        started = time.monotonic()
        predict, epochs = train(images[report["train_rows"]], labels[report["train_rows"]], options, len(classes), seed)
        seconds = time.monotonic() - started
        outputs = predict(held_out)
        accuracy = (outputs.argmax(1) == test).float().mean().item()
        loss = nn.functional.cross_entropy(outputs, test).item()
        print(f"PyTorch {torch.__version__}, seed {seed}: accuracy {accuracy:.4f}, log-loss {loss:.4f}, {epochs} epochs, "
              f"{seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
