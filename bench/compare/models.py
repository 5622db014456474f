"""The models that are compared, as repositories of one model each; runs in the environment `models`.

    .cache/environments/models/bin/python models.py FOLDER

`digits` and `iris` are those of the repository. `forest` has 100 trees fitted on the digits. `wide` is a net over 784 values and
`linear` a softmax over as many, with random weights: what they say means nothing, what they cost does. Beside each lie the answers that ONNX Runtime gives.
"""
import json
import shutil
import sys
import tomllib
from pathlib import Path

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier

from bodies import rows_of

ROOT = Path(__file__).resolve().parents[2]
ROWS = 64
WIDTHS = {"wide": [784, 256, 128, 10], "linear": [784, 10]}


def digits():
    rows = numpy.asarray(rows_of(ROOT / "data/digits.csv", "digit"), dtype=numpy.float32)
    with open(ROOT / "data/digits.csv", encoding="utf-8") as file:
        place = next(file).strip().split(",").index("digit")
        labels = numpy.asarray([int(line.split(",")[place]) for line in file])
    return rows, labels


def forest():
    rows, labels = digits()
    model = RandomForestClassifier(n_estimators=100, random_state=42, n_jobs=1).fit(rows, labels)
    return to_onnx(model, rows[:1], options={"zipmap": False}, target_opset=17)


def wide(widths):
    chance = numpy.random.default_rng(42)
    nodes, weights, last = [], [], "inputs"
    for number, (before, after) in enumerate(zip(widths, widths[1:])):
        matrix = chance.normal(0, before ** -0.5, (before, after)).astype(numpy.float32)
        weights += [numpy_helper.from_array(matrix, f"w{number}"),
                    numpy_helper.from_array(numpy.zeros(after, numpy.float32), f"b{number}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"sum{number}"]))
        is_last = number == len(widths) - 2
        last = "probabilities" if is_last else f"out{number}"
        nodes.append(helper.make_node("Softmax" if is_last else "Relu", [f"sum{number}"], [last]))
    given = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["N", widths[0]])
    told = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", widths[-1]])
    graph = helper.make_graph(nodes, "wide", [given], [told], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def describe(width):
    names = json.dumps([f"pixel_{number}" for number in range(width)])
    classes = json.dumps([str(digit) for digit in range(10)])
    return f'task = "classification"\nfeatures = {names}\nclasses = {classes}\n'


def main():
    folder = Path(sys.argv[1])
    images = digits()[0][:ROWS]
    pixels = numpy.random.default_rng(1).integers(0, 256, (ROWS, 784)).astype(numpy.float32) / 255
    flowers = numpy.asarray(rows_of(ROOT / "data/iris.csv", "species")[::2][:ROWS], dtype=numpy.float32)
    rows = {"digits": images, "iris": flowers, "forest": images, "wide": pixels.round(4), "linear": pixels.round(4)}
    for name, inputs in rows.items():
        version = folder / name / name / "1"
        shutil.rmtree(version, ignore_errors=True)
        version.mkdir(parents=True)
        shipped = ROOT / "models" / name / "1"
        if shipped.exists():
            shutil.copy(shipped / "model.onnx", version)
            shutil.copy(shipped / "model.toml", version)
        else:
            onnx.save(forest() if name == "forest" else wide(WIDTHS[name]), version / "model.onnx")
            (version / "model.toml").write_text(describe(inputs.shape[1]), encoding="utf-8")
        session = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
        probabilities = session.run(["probabilities"], {session.get_inputs()[0].name: inputs})[0]
        classes = tomllib.loads((version / "model.toml").read_text(encoding="utf-8"))["classes"]
        told = {"rows": inputs.astype(float).round(6).tolist(), "probabilities": probabilities.tolist(), "classes": classes}
        (folder / name / "answers.json").write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
