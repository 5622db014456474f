"""Asks a running millrace with the clients of other model servers: NVIDIA's tritonclient and the KServe SDK; and holds its
answers against its OpenAPI document.

    python -m venv .venv && .venv/bin/pip install -r tests/python/requirements-v2.txt
    .venv/bin/python tests/python/v2_clients.py --millrace target/release/millrace

Starts `millrace serve`, and asks its gateway and one of its workers the same. Every check runs, whatever failed before it;
the last line counts them, and the exit code is 1 if one failed.
"""

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import ml_dtypes
import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from jsonschema import Draft202012Validator
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from openapi_spec_validator import validate as validate_document
from tritonclient.utils import InferenceServerException

from checks import check, verdict

ROOT = Path(__file__).resolve().parents[2]
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], dtype=np.float32)


def attempt(what, part, *arguments):
    """A part that breaks off is a failed check and does not keep the other parts from running."""
    try:
        part(*arguments)
    except Exception as error:
        check(what, False, f"broke off: {error!r}")


def check_error(what, status, part, call):
    try:
        found = call()
        check(what, False, f"no error: {found}")
    except InferenceServerException as error:
        holds = error.status() == str(status) and part in error.message()
        check(what, holds, f"{error.status()} {error.message()}")


@contextlib.contextmanager
def serving(millrace, models, config):
    """A gateway and two workers on free ports; gives the addresses of the gateway and of one worker."""
    command = [millrace, "serve", "--workers", "2", "--models", models, "--config", config]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([str(part) for part in command], stderr=log, text=True)
        try:
            yield until(lambda: addresses(process, log), "both workers serve every model")
        finally:
            process.terminate()
            process.wait(timeout=30)


def addresses(process, log):
    if process.poll() is not None:
        log.seek(0)
        raise RuntimeError(f"millrace ended: {log.read()}")
    log.seek(0)
    found = re.search(r" listen=([0-9.:]+) .*?admin=([0-9.:]+)", log.read())
    if not found:
        return None
    gateway, admin = found.groups()
    workers = ask(f"http://{admin}/admin/workers")["workers"]
    shipped = [path for path in (ROOT / "models").iterdir() if path.is_dir()]
    ready = [worker for worker in workers if worker["state"] == "up" and len(worker["models"]) == len(shipped)]
    return (gateway, ready[0]["url"].removeprefix("http://")) if len(ready) == 2 else None


def until(look, what, patience=60):
    begun = time.monotonic()
    while time.monotonic() - begun < patience:
        try:
            if found := look():
                return found
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"waited {patience} s in vain until {what}")


def ask(url, body=None):
    with urllib.request.urlopen(urllib.request.Request(url, body, {"content-type": "application/json"}), timeout=10) as response:
        return json.load(response)


def iris_input(binary, rows=ROWS):
    tensor = triton.InferInput("inputs", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return tensor


def check_metadata(name, client):
    check(f"{name}: live", client.is_server_live())
    check(f"{name}: ready", client.is_server_ready())
    check(f"{name}: model ready", client.is_model_ready("iris") and client.is_model_ready("iris", "1"))
    check(f"{name}: unknown model is not ready", not client.is_model_ready("rose"))
    server = client.get_server_metadata()
    check(f"{name}: server metadata", server["name"] == "millrace" and "binary_tensor_data" in server["extensions"], server)
    model = client.get_model_metadata("iris")
    (given,) = model["inputs"]
    expected = {"name": "inputs", "datatype": "FP32", "shape": [-1, 4]}
    check(f"{name}: model metadata", given == expected and "1" in model["versions"], model)
    config = client.get_model_config("iris", "1")
    check(f"{name}: model configuration", config["input"] == [{"name": "inputs", "data_type": "TYPE_FP32", "dims": [4]}], config)


def check_infer(name, client, address, output):
    reference = ask(f"http://{address}/models/iris/predict", json.dumps({"inputs": ROWS.tolist()}).encode())
    answers = {}
    for is_binary in [True, False]:
        for wants_binary in [True, False]:
            wanted = [triton.InferRequestedOutput(output, binary_data=wants_binary)]
            what = f"{name}: {'binary' if is_binary else 'JSON'} in, {'binary' if wants_binary else 'JSON'} out"
            result = client.infer("iris", [iris_input(is_binary)], outputs=wanted, request_id="42")
            answers[what] = result.as_numpy(output)
            response = result.get_response()
            holds = response["id"] == "42" and response["model_version"] == "1" and answers[what].shape == (2, 3)
            check(what, holds and answers[what].argmax(axis=1).tolist() == [0, 2], response)
    first, *others = answers.values()
    check(f"{name}: all four ways give the same bits", all(np.array_equal(first, other) for other in others))
    check(f"{name}: as the native dialect answers", np.allclose(first, reference["probabilities"], rtol=1e-6))
    result = client.infer("iris", [iris_input(True)], model_version="1")
    check(f"{name}: without requested outputs", np.array_equal(result.as_numpy(output), first))
    result = client.infer("iris", [iris_input(True)], priority=1, timeout=5_000_000, parameters={"mine": "yes"})
    check(f"{name}: priority, timeout and a parameter of one's own", result.as_numpy(output) is not None)
    body, length = triton.InferenceServerClient.generate_request_body([iris_input(True)])
    check(f"{name}: a body made by hand", length is not None and len(body) > length)
    future = client.async_infer("iris", [iris_input(True)])
    check(f"{name}: in the background", np.array_equal(future.get_result().as_numpy(output), first))
    many = np.repeat(ROWS, 500, axis=0)
    result = client.infer("iris", [iris_input(True, many)])
    check(f"{name}: 1000 rows", result.as_numpy(output).shape == (1000, 3))


def check_compression(name, client, output):
    many = np.repeat(ROWS, 500, axis=0)
    plain = client.infer("iris", [iris_input(True, many)]).as_numpy(output)
    for sent, wanted in [("gzip", None), ("deflate", None), (None, "gzip"), (None, "deflate"), ("gzip", "deflate")]:
        for binary in [True, False]:
            outputs = [triton.InferRequestedOutput(output, binary_data=binary)]
            codings = {"request_compression_algorithm": sent, "response_compression_algorithm": wanted}
            result = client.infer("iris", [iris_input(binary, many)], outputs=outputs, **codings)
            what = f"{name}: request {sent}, answer {wanted}, {'binary' if binary else 'JSON'}"
            check(what, np.array_equal(result.as_numpy(output), plain))


def check_classification(name, client, output):
    for binary in [True, False]:
        wanted = [triton.InferRequestedOutput(output, binary_data=binary, class_count=2)]
        result = client.infer("iris", [iris_input(True)], outputs=wanted).as_numpy(output)
        texts = [[text.decode() if isinstance(text, bytes) else text for text in row] for row in result]
        first = [row[0].split(":") for row in texts]
        holds = result.shape == (2, 2) and [(index, label) for _, index, label in first] == [("0", "setosa"), ("2", "virginica")]
        check(f"{name}: classification, {'binary' if binary else 'JSON'}", holds and float(first[0][0]) > 0.9, texts)


def check_statistics(name, client, output):
    def counts():
        (model,) = client.get_inference_statistics("iris")["model_stats"]
        return model

    before = counts()
    client.infer("iris", [iris_input(True)])
    after = counts()
    rows = after["inference_count"] - before["inference_count"]
    answered = after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"]
    check(f"{name}: statistics count rows and requests", (rows, answered) == (2, 1), (rows, answered))
    holds = after["inference_stats"]["compute_infer"]["ns"] > 0 and any(batch["batch_size"] == 2 for batch in after["batch_stats"])
    check(f"{name}: statistics have times by batch size", holds, after["batch_stats"])
    everything = client.get_inference_statistics()["model_stats"]
    check(f"{name}: statistics of all models", {"diabetes", "digits", "iris"} <= {model["name"] for model in everything})
    check(f"{name}: last inference is now", abs(after["last_inference"] / 1000 - time.time()) < 60, after["last_inference"])


def check_errors(name, client, output):
    wrong = triton.InferInput("inputs", [1, 4], "FP64")
    wrong.set_data_from_numpy(np.zeros((1, 4)))
    brain = triton.InferInput("inputs", [1, 4], "BF16")
    brain.set_data_from_numpy(np.zeros((1, 4), dtype=ml_dtypes.bfloat16))
    named = triton.InferInput("flower", [1, 4], "FP32")
    named.set_data_from_numpy(np.zeros((1, 4), dtype=np.float32))
    narrow = iris_input(True, np.zeros((2, 3), dtype=np.float32))
    nothing = iris_input(True, np.zeros((0, 4), dtype=np.float32))
    unknown = [triton.InferRequestedOutput("colour")]
    for what, status, part, call in [
        ("a wrong datatype", 400, "data-type is 'FP64', model expects 'FP32'", lambda: client.infer("iris", [wrong])),
        ("BF16 where the model takes FP32", 400, "data-type is 'BF16', model expects 'FP32'", lambda: client.infer("iris", [brain])),
        ("a wrong shape", 400, "expected [-1, 4], got [2, 3]", lambda: client.infer("iris", [narrow])),
        ("no rows", 400, "is empty", lambda: client.infer("iris", [nothing])),
        ("an unknown input", 400, "unexpected inference input 'flower'", lambda: client.infer("iris", [named])),
        ("an unknown output", 400, "unexpected inference output 'colour'", lambda: client.infer("iris", [iris_input(True)], outputs=unknown)),
        ("an unknown model", 404, "rose", lambda: client.infer("rose", [iris_input(True)])),
        ("an unknown version", 404, "7", lambda: client.infer("iris", [iris_input(True)], model_version="7")),
        ("an unknown path", 404, "nothing lies at", lambda: client.get_log_settings()),
    ]:
        check_error(f"{name}: {what}", status, part, call)


def check_repository(name, client, workers, output):
    index = client.get_model_repository_index()
    (iris,) = [entry for entry in index if entry["name"] == "iris"]
    check(f"{name}: index", iris["version"] == "1" and iris["state"] == "READY", iris)
    check(f"{name}: index names the workers", len(iris.get("workers", {})) == workers, iris.get("workers"))
    client.unload_model("diabetes")
    check_error(f"{name}: an unloaded model answers no more", 404, "diabetes", lambda: until_refused(client))
    client.load_model("diabetes")
    until(lambda: client.is_model_ready("diabetes"), "diabetes is ready again")
    check(f"{name}: a model loaded again is ready", True)
    graph = (ROOT / "models/iris/1/model.onnx").read_bytes()
    client.load_model("uploaded", config=json.dumps({"backend": "onnxruntime"}), files={"file:1/model.onnx": graph})
    until(lambda: client.is_model_ready("uploaded"), "the uploaded model is ready")
    result = client.infer("uploaded", [iris_input(True)])
    check(f"{name}: a model that came with the request answers", result.as_numpy(output).shape == (2, 3))
    client.unload_model("uploaded")
    check_error(f"{name}: a model that nobody has is not loaded", 404, "rose", lambda: client.load_model("rose"))


def until_refused(client):
    """Answers become refusals as soon as the gateway knows."""
    rows = np.zeros((1, 10), dtype=np.float32)
    def is_refused():
        client.infer("diabetes", [iris_input(True, rows)])
        return False
    return until(is_refused, "diabetes is refused", 20)


async def check_asyncio(name, address, output):
    async with triton_aio.InferenceServerClient(address) as client:
        check(f"{name}: asyncio live and ready", await client.is_server_live() and await client.is_server_ready())
        for binary in [True, False]:
            wanted = [triton_aio.InferRequestedOutput(output, binary_data=binary)]
            results = await asyncio.gather(*(client.infer("iris", [iris_input(binary)], outputs=wanted) for _ in range(20)))
            shapes = {result.as_numpy(output).shape for result in results}
            check(f"{name}: asyncio, 20 at once, {'binary' if binary else 'JSON'}", shapes == {(2, 3)}, shapes)


def check_document(name, address):
    """What `GET /openapi.json` says is a document of its kind, and what this server answers is what it says."""
    document = ask(f"http://{address}/openapi.json")
    validate_document(document)
    check(f"{name}: the document is valid", True, f"{len(document['paths'])} paths")
    infer = {"inputs": [{"name": "inputs", "shape": [2, 4], "datatype": "FP32", "data": ROWS.tolist()}]}
    bodies = {"infer": infer, "predict": {"model": "iris", "inputs": ROWS.tolist()}, "index": {}}
    values = {"{model}": "iris", "{version}": "1", "{repository}": "any", "{picture}": "confusion.svg"}
    for path, operations in document["paths"].items():
        last = path.rsplit("/", 1)[-1]
        if path.startswith("/admin") or path == "/openapi.json" or last in ["metrics", "load", "unload"]:
            continue
        (operation,) = operations.values()
        for placeholder, value in values.items():
            path = path.replace(placeholder, value)
        body = json.dumps(bodies[last]).encode() if last in bodies else None
        content = operation["responses"]["200"]["content"]
        if "application/json" not in content:
            with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
                media_type = response.headers.get_content_type()
            check(f"{name}: {path} is of a type that the document names", media_type in content, media_type)
            continue
        schema = content["application/json"]["schema"]
        # References lead into the document.
        validator = Draft202012Validator({**schema, "components": document["components"]})
        problems = [error.message for error in validator.iter_errors(ask(f"http://{address}{path}", body))]
        check(f"{name}: {path} answers as the document says", not problems, problems[:3] or "as expected")


async def check_kserve(name, address, output):
    url = f"http://{address}"
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(InferenceRESTClient(RESTConfig(protocol="v2")))
        check(f"{name}: KServe live", await client.is_server_live(url) is True)
        check(f"{name}: KServe ready", await client.is_server_ready(url) is True)
        check(f"{name}: KServe model ready", await client.is_model_ready(url, "iris") is True)
        check(f"{name}: KServe unknown model", await client.is_model_ready(url, "rose") is False)
        for is_binary in [True, False]:
            for wants_binary in [True, False]:
                tensor = InferInput("inputs", list(ROWS.shape), "FP32")
                tensor.set_data_from_numpy(ROWS, binary_data=is_binary)
                wanted = [RequestedOutput(output, parameters={"binary_data": wants_binary})]
                request = InferRequest("iris", [tensor], request_id="7", request_outputs=wanted)
                answer = await client.infer(url, request, model_name="iris")
                values = answer.outputs[0].as_numpy()
                holds = answer.id == "7" and values.shape == (2, 3) and values.argmax(axis=1).tolist() == [0, 2]
                check(f"{name}: KServe {'binary' if is_binary else 'JSON'} in, {'binary' if wants_binary else 'JSON'} out", holds, values.tolist())
        plain = {"inputs": [{"name": "inputs", "shape": [2, 4], "datatype": "FP32", "data": ROWS.tolist()}]}
        answer = await client.infer(url, plain, model_name="iris")
        check(f"{name}: KServe with a plain dict", answer.outputs[0].shape == [2, 3], answer.outputs[0].shape)
        try:
            await client.infer(url, {"inputs": []}, model_name="iris")
            check(f"{name}: KServe is told of a missing input", False, "no error")
        except Exception as error:
            check(f"{name}: KServe is told of a missing input", "'inputs' for model 'iris' is missing" in str(error), error)


def check_server(name, address, workers):
    with triton.InferenceServerClient(address) as client:
        (output,) = [entry["name"] for entry in client.get_model_metadata("iris")["outputs"]]
        attempt(f"{name}: document", check_document, name, address)
        attempt(f"{name}: metadata", check_metadata, name, client)
        attempt(f"{name}: inference", check_infer, name, client, address, output)
        attempt(f"{name}: compression", check_compression, name, client, output)
        attempt(f"{name}: classification", check_classification, name, client, output)
        attempt(f"{name}: statistics", check_statistics, name, client, output)
        attempt(f"{name}: errors", check_errors, name, client, output)
        attempt(f"{name}: asyncio", lambda: asyncio.run(check_asyncio(name, address, output)))
        attempt(f"{name}: KServe", lambda: asyncio.run(check_kserve(name, address, output)))
        attempt(f"{name}: repository", check_repository, name, client, workers, output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millrace", default=ROOT / "target/release/millrace", help="the binary")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(ROOT / "models", models, ignore=shutil.ignore_patterns("*.sh"))
        config = Path(folder) / "millrace.toml"
        config.write_text("[worker.repository]\nallow_uploads = true\n")
        with serving(arguments.millrace, models, config) as (gateway, worker):
            attempt("worker", check_server, "worker", worker, 0)
            attempt("gateway", check_server, "gateway", gateway, 2)
    return verdict()


if __name__ == "__main__":
    sys.exit(main())
