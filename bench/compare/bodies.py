"""The requests that are sent, in the dialects that servers speak, and what must come back."""
import csv
import json
import re
import socket
import struct
from dataclasses import dataclass

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes
    headers: tuple = ()

    def bytes(self, method="POST"):
        lines = [f"{method} {self.path} HTTP/1.1", "host: localhost", "accept: */*", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in (self.headers or (("content-type", "application/json"),))]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def rows_of(file, target):
    with open(file, newline="") as lines:
        return [[float(value) for name, value in row.items() if name != target] for row in csv.DictReader(lines)]


def native(path, rows):
    return Request(path, json.dumps({"inputs": rows}, separators=(",", ":")).encode())


def v2_json(path, rows):
    tensor = {"name": "inputs", "shape": [len(rows), len(rows[0])], "datatype": "FP32",
              "data": [value for row in rows for value in row]}
    return Request(path, json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode())


def v2_binary(path, rows):
    data = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    tensor = {"name": "inputs", "shape": [len(rows), len(rows[0])], "datatype": "FP32",
              "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}, separators=(",", ":")).encode()
    headers = (("content-type", "application/octet-stream"), ("inference-header-content-length", str(len(head))))
    return Request(path, head + data, headers)


def ask(port, request, timeout=30, method="POST"):
    """The status, the headers and the body of one answer."""
    raw = request.bytes(method).replace(b"accept: */*", b"accept: */*\r\nconnection: close", 1)
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(raw)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunk(body)
    return int(status.split()[1]), headers, body


def unchunk(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        whole, body = whole + body[:length], body[length + 2:]
    return whole


def probabilities(headers, body):
    """Those of an answer in any of the dialects, as one flat list."""
    length = headers.get("inference-header-content-length")
    told = json.loads(body[:int(length)] if length else body)
    if "probabilities" in told:
        return [value for row in told["probabilities"] for value in row]
    output = told["outputs"][0]
    if length:
        data = body[int(length):]
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return output["data"]


def check(port, request, expected):
    """Asks once and holds the answer against what the model says; gives back a text that every good answer has."""
    status, headers, body = ask(port, request)
    if status != 200:
        raise ValueError(f"status {status}: {body[:200].decode(errors='replace')}")
    text = body.decode("latin-1")
    if expected is not None:
        given = probabilities(headers, body)
        if len(given) != len(expected) or any(abs(a - b) > TOLERANCE for a, b in zip(given, expected)):
            raise ValueError(f"another answer than the model's: {text[:200]}")
    found = re.search(r'"predictions":\s*\[[^\]]*\]', text) or re.search(r'"shape":\s*\[[^\]]*\]', text)
    if not found:
        raise ValueError(f"neither predictions nor a shape: {text[:200]}")
    return found[0]
