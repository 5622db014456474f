"""Runs ONNX Runtime as millrace's second engine, with the library inside the onnxruntime wheel, and compares every answer
with what the wheel's own Python interface says.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements.txt
    .venv/bin/python tests/python/check_onnxruntime.py --millrace target/debug/millrace

Every check runs, whatever failed before it; the last line counts them, and the exit code is 1 if one failed.
"""

import argparse
import ctypes.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import v2
from checks import check, verdict
from serving import Worker, write_model


def library():
    """The library inside the wheel."""
    files = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not files:
        raise SystemExit("the installed onnxruntime wheel has no libonnxruntime.so")
    return files[0]


def model(nodes, inputs, outputs, initializers=(), domains=()):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info(*each) for each in inputs], [info(*each) for each in outputs], list(initializers)
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


# ONNX type, numpy type, and values that need the whole of it; as JSON they are written by `tolist`.
TYPES = {
    "BOOL": (TensorProto.BOOL, [True, False, True]),
    "UINT8": (TensorProto.UINT8, [0, 1, 255]),
    "UINT16": (TensorProto.UINT16, [0, 1, 65535]),
    "UINT32": (TensorProto.UINT32, [0, 1, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, [0, 1, 2**63 - 1]),
    "INT8": (TensorProto.INT8, [-128, 0, 127]),
    "INT16": (TensorProto.INT16, [-(2**15), 0, 2**15 - 1]),
    "INT32": (TensorProto.INT32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (TensorProto.INT64, [-(2**63), 0, 2**63 - 1]),
    "FP16": (TensorProto.FLOAT16, [-65504.0, 0.5, 0.25]),
    "BF16": (TensorProto.BFLOAT16, [-(2.0**127), 0.5, 1.5 * 2.0**-100]),
    "FP32": (TensorProto.FLOAT, [-1e30, 0.5, 3e-30]),
    "FP64": (TensorProto.DOUBLE, [-1e300, 0.1, 2.5e-300]),
    "BYTES": (TensorProto.STRING, ["", "a b", "größer 水"]),
}


def zoo(repository):
    """Every model of the checks."""
    floats = numpy_helper.from_array
    for name, (onnx_type, _) in TYPES.items():
        identity = helper.make_node("Identity", ["x"], ["y"])
        row = ("x", onnx_type, ["rows", 3]), ("y", onnx_type, ["rows", 3])
        write_model(repository, f"type_{name.lower()}", model([identity], [row[0]], [row[1]]))
    weights = floats(np.arange(8, dtype=np.float32).reshape(4, 2), "w")
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    linear = model([matmul], [("x", 1, ["n", 4])], [("y", 1, ["n", 2])], [weights])
    write_model(repository, "linear", linear)
    write_model(repository, "linear_by_tract", linear)
    # What only the second engine knows.
    determinant = model([helper.make_node("Det", ["x"], ["y"])], [("x", 1, ["n", 2, 2])], [("y", 1, ["n"])])
    write_model(repository, "determinant", determinant)
    write_model(repository, "determinant_by_tract", determinant)
    # A batch that is declared free and baked to one row, a fixed batch, no batch at all, a free length.
    one = floats(np.array([1, 4], np.int64), "shape")
    baked = helper.make_node("Reshape", ["x", "shape"], ["y"])
    write_model(repository, "baked", model([baked], [("x", 1, ["n", 4])], [("y", 1, ["n", 4])], [one]))
    relu = helper.make_node("Relu", ["x"], ["y"])
    write_model(repository, "fixed", model([relu], [("x", 1, [3, 2])], [("y", 1, [3, 2])]))
    total = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    write_model(repository, "total", model([total], [("x", 1, ["n", 2])], [("y", 1, [])]))
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    axes = floats(np.array([1], np.int64), "axes")
    write_model(repository, "mean", model([mean], [("x", 1, ["n", "length"])], [("y", 1, ["n"])], [axes]))
    # Weights beside the graph.
    onnx.save_model(
        linear,
        write_model(repository, "beside", linear),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    # What cannot be served: a sequence, a broken file, an operator that nobody has.
    split = helper.make_node("SplitToSequence", ["x"], ["y"])
    sequence = model([split], [("x", 1, ["n", 2])], [])
    sequence.graph.output.append(helper.make_tensor_sequence_value_info("y", 1, None))
    write_model(repository, "sequence", sequence)
    write_model(repository, "broken", linear).write_bytes(linear.SerializeToString()[:-30])
    telepathy = helper.make_node("Telepathy", ["x"], ["y"])
    write_model(repository, "telepathy", model([telepathy], [("x", 1, ["n", 2])], [("y", 1, ["n", 2])]))


def reference(repository, name, **inputs):
    session = onnxruntime.InferenceSession(repository / name / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def check_types(worker, repository):
    """Each type there and back, in one row and in three."""
    for name, (onnx_type, values) in TYPES.items():
        dtype = object if name == "BYTES" else helper.tensor_dtype_to_np_dtype(onnx_type)
        for rows in (1, 3):
            status, body = worker.predict(f"type_{name.lower()}", [values] * rows)
            found = body.get("predictions")
            holds = status == 200 and np.array_equal(np.array(found, dtype), np.array([values] * rows, dtype))
            check(f"{name}, {rows} rows", holds, body if not holds else "as it was sent")
            sent = np.array([values] * rows, dtype)
            status, outputs = v2.infer(worker, f"type_{name.lower()}", {"x": sent})
            holds = status == 200 and np.array_equal(outputs["y"], sent)
            check(f"{name}, {rows} rows as bytes", holds, outputs if not holds else "as it was sent")
        declared = worker.get(f"/models/type_{name.lower()}")[1]["inputs"][0]
        check(f"{name} is declared", declared == {"name": "x", "datatype": name, "shape": [-1, 3]}, declared)


def check_answers(worker, repository):
    """Batches of every kind give what the Python interface gives, row by row."""
    generator = np.random.default_rng(7)
    for name, shape in [
        ("linear", (5, 4)), ("determinant", (4, 2, 2)), ("baked", (3, 4)), ("fixed", (4, 2)), ("mean", (3, 7)), ("beside", (2, 4)),
    ]:
        rows = generator.normal(size=shape).astype(np.float32)
        if name == "baked":
            expected = np.concatenate([reference(repository, name, x=row[None])[0] for row in rows])
        elif name == "fixed":
            expected = np.maximum(rows, 0)
        else:
            expected = reference(repository, name, x=rows)[0]
        status, body = worker.predict(name, rows.tolist())
        found = np.array(body.get("predictions"), np.float32) if status == 200 else None
        # One value a row may be answered as a list or as a number.
        holds = status == 200 and np.allclose(found.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)
        check(f"{name} of {shape}", holds, body if not holds else "as onnxruntime")
    status, body = worker.predict("total", [[[1.0, 2.0]], [[3.0, 4.0]]])
    check("a graph without rows", status == 200 and body["predictions"] == [3.0, 7.0], body)


def check_engines(worker):
    """Which engine runs what, and why not."""
    for name, engine in [
        ("linear", "onnxruntime"), ("linear_by_tract", "tract"), ("determinant", "onnxruntime"),
    ]:
        detail = worker.get(f"/models/{name}")[1]
        told = (detail.get("engine"), detail["versions"][0].get("engine"))
        check(f"{name} tells its engine", told == (engine, engine), told)
    for name, parts in [
        ("determinant_by_tract", ["Det", 'engine = "onnxruntime"']),
        ("sequence", ["y", "Sequence"]),
        ("broken", ["tract: ", "ONNX Runtime: "]),
        ("telepathy", ["Telepathy"]),
    ]:
        version = worker.get(f"/models/{name}")[1]["versions"][0]
        reason = version.get("reason", "")
        holds = version["state"] == "failed" and all(part in reason for part in parts)
        check(f"{name} says why not", holds, version)
    status, body = worker.predict("type_bytes", [["a\0b", "", ""]])
    check("a text that ONNX Runtime cannot hold fails alone", status == 500, body)
    status, body = worker.predict("type_bytes", [["c", "", ""]])
    check("and the next one is answered", status == 200, body)


def check_auto(millrace, repository):
    """`auto`, the default: tract first, and ONNX Runtime for what tract refuses."""
    with Worker(millrace, repository, onnxruntime_library=library()) as worker:
        for name, engine in [("linear", "tract"), ("type_bytes", "tract"), ("determinant", "onnxruntime")]:
            told = worker.get(f"/models/{name}")[1].get("engine")
            check(f"auto runs {name}", told == engine, told)
        rows = [[[1.0, 2.0], [3.0, 5.0]]]
        status, body = worker.predict("determinant", rows)
        expected = reference(repository, "determinant", x=np.array(rows, np.float32))[0]
        holds = status == 200 and np.allclose(body["predictions"], expected, rtol=1e-5)
        check("auto answers", holds, body)


def check_cost(millrace, repository):
    """No library, no cost: nothing is mapped. With it, engines compute on their own threads: ONNX Runtime adds one of its
    own to the process, however many models there are."""
    threads = {}
    for name, options in [("without", {}), ("with", {"onnxruntime_library": library(), "engine": "onnxruntime"})]:
        with Worker(millrace, repository, only=["linear", "mean", "fixed"], **options) as worker:
            maps = Path(f"/proc/{worker.process.pid}/maps").read_text()
            threads[name] = len(list(Path(f"/proc/{worker.process.pid}/task").iterdir()))
            check(f"{name} a library it is mapped or not", ("libonnxruntime" in maps) == (name == "with"), threads[name])
    check("the second engine starts one thread at most", threads["with"] <= threads["without"] + 1, threads)


def check_refusals(millrace, repository):
    """Libraries that are none, another, or too old, are told at start with exit code 2."""
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "libold.so"
        source = Path(folder) / "old.c"
        source.write_text(
            'static const char *version(void) { return "1.11.1"; } static void *api(unsigned v) { return 0; }\n'
            "static struct { void *(*a)(unsigned); const char *(*v)(void); } base = { api, version };\n"
            "void *OrtGetApiBase(void) { return &base; }\n"
        )
        subprocess.run(["cc", "-shared", "-fPIC", "-o", old, source], check=True)
        other = next(line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "libc.so" in line)
        text = Path(folder) / "text.so"
        text.write_text("no library" * 100)
        for path, part in [
            (old, "is ONNX Runtime 1.11.1; expected 1.17 or newer"),
            (other, "is not ONNX Runtime"),
            (text, "invalid ELF header"),
            (Path(folder) / "missing.so", "expected the file libonnxruntime.so"),
        ]:
            config = Path(folder) / "config.toml"
            config.write_text(f"[worker]\nmodels = '{repository}'\nonnxruntime_library = '{path}'\n")
            run = subprocess.run([millrace, "worker", "--config", config], capture_output=True, text=True, timeout=30)
            check(f"{Path(path).name} is refused", run.returncode == 2 and part in run.stderr, run.stderr.strip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, required=True)
    millrace = parser.parse_args().millrace
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        zoo(repository)
        per_model = {
            "linear_by_tract": {"engine": "tract"},
            "determinant_by_tract": {"engine": "tract"},
            "broken": {"engine": "auto"},
        }
        options = {"engine": "onnxruntime", "onnxruntime_library": library()}
        with Worker(millrace, repository, per_model=per_model, **options) as worker:
            check_types(worker, repository)
            check_answers(worker, repository)
            check_engines(worker)
        several = {"onnxruntime_threads": 2, "batching": {"instances": 2}}
        with Worker(millrace, repository, only=["linear", "mean"], **options, **several) as worker:
            check_answers_of_instances(worker, repository)
        check_auto(millrace, repository)
        check_cost(millrace, repository)
        check_refusals(millrace, repository)
    return verdict()


def check_answers_of_instances(worker, repository):
    """Two engines with two threads each, asked many times at once."""
    rows = np.random.default_rng(9).normal(size=(64, 4)).astype(np.float32)
    expected = reference(repository, "linear", x=rows)[0]
    answers = worker.predict_at_once("linear", [[row] for row in rows.tolist()])
    found = [body["predictions"][0] if status == 200 else None for status, body in answers]
    holds = None not in found and np.allclose(found, expected, rtol=1e-5, atol=1e-6)
    check("64 requests at once over two instances", holds, "as onnxruntime" if holds else answers[:3])


if __name__ == "__main__":
    sys.exit(main())
