"""Runs the conformance cases of the Python `onnx` package through millrace's default engine: every case is a model in a
repository, `millrace worker` loads them all, and every data set goes through the Open Inference Protocol V2.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-conformance.txt
    .venv/bin/python tests/python/conformance.py --millrace target/release/millrace [--check]

It writes docs/conformance.md. With --check it writes nothing, and fails if a case that the document lists as passing
does not pass any more.
"""

import argparse
import json
import re
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

import v2
from serving import Worker

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "conformance.md"
DATA = Path(onnx.backend.test.__file__).parent / "data"
GROUPS = {
    "node": "one operator each",
    "ai.onnx.ml": "one operator of classical machine learning each",
    "simple": "small graphs",
    "pytorch-operator": "operators as PyTorch exported them",
    "pytorch-converted": "layers as PyTorch exported them",
    "light": "real convolution nets with generated weights",
}


class Case:
    """One model with its data sets; tolerances are those of the case itself."""

    def __init__(self, group, name, model, sets, rtol, atol):
        self.group, self.name, self.model, self.sets, self.rtol, self.atol = group, name, model, sets, rtol, atol
        operators = sorted({node.op_type for node in model.graph.node}) or ["(no operator)"]
        self.operator = operators[0] if len(operators) == 1 else own_operator(name, operators)
        self.reason = None


def own_operator(name, operators):
    """What a case with several operators is about: the one in its name, if one is."""
    plain = name.replace("_", "").lower()
    named = [operator for operator in operators if operator.lower() in plain]
    return max(named, key=len) if named else "+".join(operators[:3]) + ("+…" if len(operators) > 3 else "")


def read_value(path, declared):
    """A value of a data set. Only tensors can be sent and compared."""
    if declared.type.WhichOneof("value") not in ("tensor_type", None):
        return declared.type.WhichOneof("value").removesuffix("_type")
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def data_sets(folder, model):
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len([*folder.glob("test_data_set_0/input_*.pb")]) == len(model.graph.input):
        inputs = list(model.graph.input)
    for data in sorted(folder.glob("test_data_set_*")):
        pairs = [[], []]
        for kind, declared, found in [("input", inputs, pairs[0]), ("output", model.graph.output, pairs[1])]:
            for position, value in enumerate(declared):
                path = data / f"{kind}_{position}.pb"
                if path.exists():
                    found.append((value.name, read_value(path, value)))
        yield tuple(dict(pair) for pair in pairs)


def in_memory_sets(model, sets):
    for inputs, outputs in sets:
        names = [value.name for value in model.graph.input if value.name]
        yield dict(zip(names, inputs)), dict(zip((value.name for value in model.graph.output), outputs))


def light_sets(model, folder, stem):
    """The light nets get what their test runner gives them: a ramp, and the output that lies beside them."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = {}
    for value in model.graph.input:
        if value.name not in weights:
            shape = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            inputs[value.name] = (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)
    expected = onnx.TensorProto.FromString((folder / f"{stem}_output_0.pb").read_bytes())
    yield inputs, {model.graph.output[0].name: numpy_helper.to_array(expected)}


def cases():
    for kind in ("node", "simple", "pytorch-operator", "pytorch-converted"):
        for test in load_model_tests(kind=kind):
            if test.model_dir is not None:
                folder = Path(test.model_dir)
                model = onnx.load(folder / "model.onnx")
                sets = list(data_sets(folder, model))
            elif test.model is not None:
                model = test.model
                sets = list(in_memory_sets(model, test.data_sets or []))
            else:
                continue
            domains = {node.domain for node in model.graph.node}
            group = "ai.onnx.ml" if "ai.onnx.ml" in domains else kind
            yield Case(group, test.name, model, sets, test.rtol, test.atol)
    for path in sorted((DATA / "light").glob("*.onnx")):
        model = onnx.load(path)
        sets = list(light_sets(model, path.parent, path.stem))
        yield Case("light", f"test_{path.stem}", model, sets, 1e-3, 1e-3)


def difference(expected, found, case):
    """Why an output is not what it should be; none where it is."""
    if isinstance(expected, str):
        return f"an output is a {expected}"
    expected = np.asarray(expected)
    if expected.shape != found.shape:
        return f"an output has the shape {list(found.shape)} in place of {list(expected.shape)}"
    if v2.is_text(expected):
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in expected.ravel()]
        return None if texts == list(found.ravel()) else "other texts than expected"
    if expected.dtype != found.dtype:
        return f"an output is {found.dtype} in place of {expected.dtype}"
    if np.issubdtype(expected.dtype, np.number):
        close = np.isclose(found, expected, rtol=case.rtol, atol=case.atol, equal_nan=True)
        return None if close.all() else "other numbers than expected"
    return None if np.array_equal(expected, found) else "other values than expected"


def run(worker, case, version):
    """Why a case does not pass; none where it does."""
    if version["state"] != "ready":
        return version.get("reason", version["state"])
    if not case.sets:
        return "the package has no data for it"
    for inputs, outputs in case.sets:
        inputs, outputs = as_arrays(inputs), as_arrays(outputs)
        for value in inputs.values():
            if isinstance(value, (str, list, dict)) or value is None:
                return f"an input is a {value if isinstance(value, str) else type(value).__name__}"
        try:
            status, found = v2.infer(worker, case.name, {name: np.asarray(value) for name, value in inputs.items()})
        except v2.Unwritable as error:
            return str(error)
        if status != 200:
            return f"{status}: {found}" + failure_in_log(worker, case, status)
        for name, expected in outputs.items():
            if isinstance(expected, (list, dict)) or expected is None:
                return f"an output is a {type(expected).__name__}"
            reason = difference(expected, found[name], case)
            if reason:
                return reason
    return None


def as_arrays(values):
    return {name: numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value for name, value in values.items()}


def failure_in_log(worker, case, status):
    """What the engine said, which clients are not told."""
    if status != 500:
        return ""
    lines = [line for line in worker.said().splitlines() if f"{case.name}/1" in line and "error=" in line]
    return f" ({lines[-1].split('error=', 1)[1]})" if lines else ""


def shortened(reason, case):
    reason = re.sub(r"\S*" + re.escape(case.name) + r"\S*", "it", reason)
    reason = re.sub(r"\s+", " ", reason).replace("|", "\\|").replace("<", "\\<")
    return reason if len(reason) <= 160 else reason[:159] + "…"


def document(ran):
    by_group = defaultdict(list)
    for case in ran:
        by_group[case.group].append(case)
    lines = [
        "# Conformance", "",
        f"What became of the conformance cases of the Python package `onnx` {onnx.__version__} when they were served by the default",
        "engine, tract, and asked over HTTP (Open Inference Protocol V2, binary). `tests/python/conformance.py` makes this page and,",
        "with `--check`, holds new builds against it. Many cases are there for corners that no exporter writes: what has more than",
        "tensors as inputs or outputs, types that the protocol has no word for (bfloat16, float8, int4, complex), training operators;",
        "and many pass axes, shapes and sizes as inputs, which tract takes only as constants of the graph, as exporters write them.",
        "", "| group | | pass | of |", "|---|---|---:|---:|",
    ]
    for group, what in GROUPS.items():
        found = by_group[group]
        lines.append(f"| {group} | {what} | {sum(case.reason is None for case in found)} | {len(found)} |")
    lines.append(f"| **all** | | **{sum(case.reason is None for case in ran)}** | **{len(ran)}** |")
    lines += ["", "## What passes", "", "By operator: how many cases of how many, and their names without `test_`.", ""]
    for group in GROUPS:
        operators = defaultdict(list)
        for case in by_group[group]:
            operators[case.operator].append(case)
        lines += [f"### {group}", ""]
        for operator, found in sorted(operators.items()):
            good = sorted(case.name.removeprefix("test_") for case in found if case.reason is None)
            if good:
                lines.append(f"- {operator} ({len(good)}/{len(found)}): {' '.join(f'`{name}`' for name in good)}")
        lines.append("")
    lines += ["## What does not", "", "With the engine's reason.", ""]
    for group in GROUPS:
        reasons = defaultdict(list)
        for case in by_group[group]:
            if case.reason is not None:
                reasons[shortened(case.reason, case)].append(case.name.removeprefix("test_"))
        if not reasons:
            continue
        lines += [f"### {group}", "", "| reason | cases |", "|---|---|"]
        for reason, names in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
            lines.append(f"| {reason} | {' '.join(sorted(names))} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def listed_as_passing():
    passing = DOCUMENT.read_text(encoding="utf-8").split("## What passes")[1].split("## What does not")[0]
    return {f"test_{name}" for line in passing.splitlines() if line.startswith("- ") for name in re.findall(r"`([^`]+)`", line)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, required=True)
    parser.add_argument("--check", action="store_true", help="compare with docs/conformance.md and do not write it")
    parser.add_argument("--only", default="", help="cases whose name matches this pattern; nothing is written")
    parser.add_argument("--json", type=Path, help="write every case with its reason there, too")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    with tempfile.TemporaryDirectory() as repository:
        ran = [case for case in cases() if re.search(arguments.only, case.name)]
        for case in ran:
            folder = Path(repository) / case.name / "1"
            folder.mkdir(parents=True)
            (folder / "model.onnx").write_bytes(case.model.SerializeToString())
        # Rows of a data set go together as they are, so that graphs which mix rows are not split.
        with Worker(arguments.millrace, repository, engine="tract", patience=1800) as worker:
            versions = {model["name"]: model["versions"][-1] for model in worker.models()}
            for case in ran:
                case.reason = run(worker, case, versions[case.name])
    if arguments.json:
        arguments.json.write_text(json.dumps([[case.group, case.name, case.operator, case.reason] for case in ran], indent=0))
    counts = Counter((case.group, case.reason is None) for case in ran)
    for group in GROUPS:
        print(f"{group}: {counts[group, True]} of {counts[group, True] + counts[group, False]} pass")
    if arguments.check:
        lost = [case for case in ran if case.reason is not None and case.name in listed_as_passing()]
        for case in lost:
            print(f"FAIL {case.name} does not pass any more: {case.reason}")
        return 1 if lost else 0
    if not arguments.only:
        DOCUMENT.write_text(document(ran), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
