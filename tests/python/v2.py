"""The binary form of the Open Inference Protocol V2, as far as these checks need it."""

import json
import struct

import ml_dtypes
import numpy as np

DATATYPES = {
    np.dtype(bool): "BOOL", np.dtype(np.uint8): "UINT8", np.dtype(np.uint16): "UINT16", np.dtype(np.uint32): "UINT32",
    np.dtype(np.uint64): "UINT64", np.dtype(np.int8): "INT8", np.dtype(np.int16): "INT16", np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64", np.dtype(np.float16): "FP16", np.dtype(np.float32): "FP32", np.dtype(np.float64): "FP64",
    np.dtype(ml_dtypes.bfloat16): "BF16",
}
DTYPES = {name: dtype for dtype, name in DATATYPES.items()}


class Unwritable(Exception):
    """A value that the protocol has no type for."""


def is_text(array):
    return array.dtype.kind in "OUS"


def to_bytes(array):
    if not is_text(array):
        return np.ascontiguousarray(array).tobytes()
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def from_bytes(raw, datatype, shape):
    if datatype != "BYTES":
        return np.frombuffer(raw, DTYPES[datatype]).reshape(shape)
    texts, place = [], 0
    while place < len(raw):
        (length,) = struct.unpack_from("<I", raw, place)
        texts.append(raw[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return np.array(texts, object).reshape(shape)


def infer(worker, model, inputs):
    """The outputs for named arrays, or an error's status and text."""
    entries, raws = [], []
    for name, array in inputs.items():
        datatype = "BYTES" if is_text(array) else DATATYPES.get(array.dtype)
        if datatype is None:
            raise Unwritable(f"the protocol has no type for {array.dtype}")
        raws.append(to_bytes(array))
        parameters = {"binary_data_size": len(raws[-1])}
        entries.append({"name": name, "shape": list(array.shape), "datatype": datatype, "parameters": parameters})
    head = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    status, answered, body = worker.request("POST", f"/v2/models/{model}/infer", head + b"".join(raws), headers)
    if status != 200:
        return status, json.loads(body)["error"]
    length = int(answered.get("inference-header-content-length", len(body)))
    place, outputs = length, {}
    for output in json.loads(body[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        outputs[output["name"]] = from_bytes(body[place : place + size], output["datatype"], output["shape"])
        place += size
    return 200, outputs
