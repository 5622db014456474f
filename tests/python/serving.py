"""A millrace worker over a repository that a check has made: start it, ask it, end it."""

import http.client
import json
import re
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def write_model(repository, name, model):
    """Writes version 1 of a model; gives back where its graph lies."""
    path = Path(repository) / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def toml_value(value):
    return json.dumps(value) if isinstance(value, (bool, int, float)) else json.dumps(str(value), ensure_ascii=False)


class Worker:
    """`millrace worker` on a free port, with every model loaded or failed. Keyword arguments are keys of [worker];
    `only` names the models to serve, `per_model` what differs for one."""

    def __init__(self, millrace, repository, only=None, per_model=None, batching=None, patience=600, **keys):
        self.millrace, self.repository, self.patience = millrace, Path(repository), patience
        self.folder = tempfile.TemporaryDirectory()
        if only is not None:
            chosen = Path(self.folder.name) / "models"
            for name in only:
                shutil.copytree(self.repository / name, chosen / name)
            self.repository = chosen
        lines = ["[worker]", 'listen = "127.0.0.1:0"', f"models = {toml_value(self.repository)}", 'deadline = "60s"']
        lines += ['max_body = "256MiB"', *(f"{key} = {toml_value(value)}" for key, value in keys.items())]
        for table, values in [("batching", batching or {}), *(((f"model.{name}"), own) for name, own in (per_model or {}).items())]:
            lines += [f"[worker.{table}]", *(f"{key} = {toml_value(value)}" for key, value in values.items())]
        lines += ["[telemetry]", 'access_log = false']
        self.config = Path(self.folder.name) / "millrace.toml"
        self.config.write_text("\n".join(lines) + "\n")

    def __enter__(self):
        self.log = open(Path(self.folder.name) / "log", "w+", encoding="utf-8")
        self.process = subprocess.Popen([self.millrace, "worker", "--config", self.config], stderr=self.log)
        self.address = self._address()
        until = time.monotonic() + self.patience
        while any(version["state"] == "loading" for model in self.models() for version in model["versions"]):
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the worker did not load its models: {self.said()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def said(self):
        return Path(self.log.name).read_text(encoding="utf-8", errors="replace")

    def _address(self):
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(r"the worker listens address=([0-9.:]+)", self.said())
            if found:
                return found[1]
            time.sleep(0.02)
        raise RuntimeError(f"the worker did not start: {self.said()}")

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body of one answer."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path):
        status, _, body = self.request("GET", path)
        return status, json.loads(body)

    def models(self):
        return self.get("/models")[1]["models"]

    def predict(self, model, inputs):
        body = json.dumps({"inputs": inputs}).encode()
        status, _, answer = self.request("POST", f"/models/{model}/predict", body, {"content-type": "application/json"})
        return status, json.loads(answer)

    def predict_at_once(self, model, requests):
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda inputs: self.predict(model, inputs), requests))
