"""Who is compared, and how each of them is started."""
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import bodies
import environments
import proxies
from process import Failed, Tree, free_port

SERVERS = Path(__file__).resolve().parent / "servers"
START_SECONDS = 90


@dataclass
class Machine:
    """Where everything runs: what is measured on some processors, what measures on the others."""

    measured: list
    load: list
    cache: Path
    millrace: Path
    tools: Path
    repositories: Path
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="millrace-compare-")))
    is_isolated: bool = False

    def told(self, model):
        """The rows of a model, what it says of them, and its classes."""
        return json.loads((self.repositories / model / "answers.json").read_text(encoding="utf-8"))

    def log(self, name):
        return self.folder / f"{''.join(c if c.isalnum() else '-' for c in name)}-{free_port()}.log"

    def start(self, name, command, cpus=None, **more):
        return Tree(command, self.measured if cpus is None else cpus, self.log(name), **more)

    def clean_up(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Running:
    """A subject that has started: the trees whose cost is its own, those that only have to be there, and its port."""

    def __init__(self, subject, port, trees, beside=()):
        self.subject, self.port, self.trees, self.beside = subject, port, list(trees), list(beside)
        self.expect = {}

    def all(self):
        return self.trees + self.beside

    def cpu_seconds(self):
        return sum(tree.cpu_seconds() for tree in self.trees)

    def pss_megabytes(self):
        return sum(tree.pss_megabytes() for tree in self.trees)

    def pause(self):
        for tree in self.all():
            tree.pause()

    def go_on(self):
        for tree in self.all():
            tree.go_on()

    def stop(self):
        self.go_on()
        for tree in self.all():
            tree.stop()
        for tree in self.all():
            tree.wait()


class Subject:
    """One of those that are compared. `paths` has the path of each dialect that it speaks: native, v2-json, v2-binary."""

    name = ""
    note = ""
    answers_like_the_model = True

    def paths(self, model):
        return {"native": "/predict"}

    def start(self, machine, model):
        raise NotImplementedError

    def request(self, machine, model, body):
        """The request for a body (`row`, `rows`, `v2`) and the probabilities that must come back, or None where it speaks no such."""
        told, paths = machine.told(model), self.paths(model)
        rows = told["rows"][:1] if body == "row" else told["rows"]
        expected = [value for row in told["probabilities"][:len(rows)] for value in row]
        if body == "v2":
            made = bodies.v2_binary(paths["v2-binary"], rows) if "v2-binary" in paths else None
        elif "native" in paths:
            made = bodies.native(paths["native"], rows)
        else:
            made = bodies.v2_json(paths["v2-json"], rows)
        return (made, expected if self.answers_like_the_model else None) if made else None

    def until_ready(self, running, machine, model):
        """Waits for the first good answer; who gives none is ended."""
        try:
            return self.wait_until_ready(running, machine, model)
        except Failed:
            running.stop()
            raise

    def wait_until_ready(self, running, machine, model):
        request, expected = self.request(machine, model, "row")
        limit = time.monotonic() + START_SECONDS
        reason = "no answer"
        while time.monotonic() < limit:
            dead = [tree for tree in running.all() if not tree.is_alive()]
            if dead:
                raise Failed(f"it ended: {dead[0].last_words()}")
            try:
                bodies.check(running.port, request, expected)
                return running
            except (OSError, ValueError, IndexError, KeyError) as error:
                reason = str(error)
                time.sleep(0.1)
        raise Failed(f"not ready after {START_SECONDS} s: {reason}; {running.all()[0].last_words()}")


class Millrace(Subject):
    def paths(self, model):
        return {"native": f"/models/{model}/predict", "v2-json": f"/v2/models/{model}/infer",
                "v2-binary": f"/v2/models/{model}/infer"}


def millrace_config(machine, name, sections, telemetry=""):
    """Everything that is not the default of millrace stands here: no access log, and one thread of the network runtime."""
    path = machine.folder / f"{name}-{free_port()}.toml"
    path.write_text(sections + "[telemetry]\naccess_log = false\n" + telemetry)
    return path


THREADS = "threads = 1\n"
WITHOUT_METRICS = "metrics = false\n"


def start_worker(machine, repository, telemetry=""):
    port = free_port()
    config = millrace_config(machine, "worker", f'[worker]\nlisten = "127.0.0.1:{port}"\nmodels = "{repository}"\n{THREADS}', telemetry)
    return port, machine.start("millrace-worker", [machine.millrace, "worker", "--config", config])


def start_gateway(machine, upstreams, telemetry="", more=""):
    port = free_port()
    workers = "".join(f'[[gateway.workers]]\nid = "w{number}"\nurl = "http://127.0.0.1:{upstream}"\n'
                      for number, upstream in enumerate(upstreams))
    config = millrace_config(machine, "gateway", f'[gateway]\nlisten = "127.0.0.1:{port}"\n'
                             f'admin = "127.0.0.1:{free_port()}"\n{THREADS}{more}{workers}', telemetry)
    return port, machine.start("millrace-gateway", [machine.millrace, "gateway", "--config", config])


def can_be_without_metrics(machine):
    """Whether this version of millrace has the key."""
    config = millrace_config(machine, "metrics", "", WITHOUT_METRICS)
    return subprocess.run([machine.millrace, "check", "--config", config], capture_output=True).returncode == 0


class MillraceWorker(Millrace):
    def __init__(self, name="millrace worker", note="", telemetry=""):
        self.name, self.telemetry = name, telemetry
        self.note = note or "tract, one thread of the network runtime, no access log, else as shipped"

    def start(self, machine, model):
        port, tree = start_worker(machine, machine.repositories / model, self.telemetry)
        return self.until_ready(Running(self, port, [tree]), machine, model)


class FloorServer(Subject):
    name = "bare hyper server (floor)"
    note = "parses the JSON, answers a constant, one thread"
    answers_like_the_model = False

    def start(self, machine, model):
        port, tree = start_floor(machine, model)
        return self.until_ready(Running(self, port, [tree]), machine, model)


def start_floor(machine, model, is_blind=False, cpus=None):
    told = machine.told(model)
    answer = machine.folder / f"answer-{model}.json"
    best = max(range(len(told["classes"])), key=told["probabilities"][0].__getitem__)
    answer.write_text(json.dumps({"model": model, "version": "1", "predictions": [told["classes"][best]],
                                  "probabilities": told["probabilities"][:1], "classes": told["classes"]}, separators=(",", ":")))
    port = free_port()
    command = [machine.tools / "floor-server", "--listen", f"127.0.0.1:{port}", "--answer", answer, "--model", model]
    return port, machine.start("floor-server", command + ["--blind"] * is_blind, cpus)


class PythonServer(Subject):
    """A Python server in an environment of its own; `command` says what of it is run with which arguments."""

    def __init__(self, name, environment, command, note, path="/predict", variables=None):
        self.name, self.environment, self.command, self.note = name, environment, command, note
        self.path, self.variables = path, variables or {}

    def paths(self, model):
        return {"native": self.path}

    def start(self, machine, model):
        port, tree = self.start_alone(machine, model)
        return self.until_ready(Running(self, port, [tree]), machine, model)

    def start_alone(self, machine, model):
        folder = environments.environment(self.environment, machine.cache)
        port = free_port()
        program, *arguments = self.command
        variables = {"COMPARE_MODEL": str(machine.repositories / model / model / "1/model.onnx"),
                     "COMPARE_CLASSES": json.dumps(machine.told(model)["classes"]), "PYTHONDONTWRITEBYTECODE": "1",
                     "PYTHONPATH": str(SERVERS), "HOME": str(machine.folder), **self.variables}
        arguments = [str(argument).replace("PORT", str(port)) for argument in arguments]
        return port, machine.start(self.name, [folder / "bin" / program, *arguments], environment=variables, folder=SERVERS)


class Mlserver(PythonServer):
    """MLServer wants a folder of settings, and two more ports."""

    def paths(self, model):
        return {"v2-json": f"/v2/models/{model}/infer"}

    def start_alone(self, machine, model):
        folder = machine.folder / f"mlserver-{free_port()}"
        folder.mkdir()
        self.command = ["mlserver", "start", folder]
        port, grpc, metrics = free_port(), free_port(), free_port()
        (folder / "settings.json").write_text(json.dumps({
            "host": "127.0.0.1", "http_port": port, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0,
            "debug": False}))
        (folder / "model-settings.json").write_text(json.dumps({"name": model, "implementation": "serve_mlserver.Onnx"}))
        return port, super().start_alone(machine, model)[1]


class Ray(PythonServer):
    def start_alone(self, machine, model):
        if not machine.is_isolated:
            raise Failed("it opens ports on all interfaces, and only root can give it a network of its own")
        return super().start_alone(machine, model)


def mosec(name="mosec", batch=32, note="batches of up to 32, waiting 1 ms for them to fill; one worker process"):
    return PythonServer(name, "mosec", ["python", "serve_mosec.py", "--address", "127.0.0.1", "--port", "PORT", "--log-level", "error"],
                        note, "/inference", {"MOSEC_BATCH": str(batch)})


def ray(name, replicas, note):
    return Ray(name, "ray", ["python", "serve_ray.py", replicas, "PORT"], note, variables={"RAY_USAGE_STATS_ENABLED": "0"})


def workers(machine):
    without = [MillraceWorker("millrace worker, metrics off", "the same", WITHOUT_METRICS)] * can_be_without_metrics(machine)
    return [
        MillraceWorker(),
        *without,
        FloorServer(),
        mosec(),
        mosec("mosec, unbatched", 1, "without batching, which has nothing to wait for; one worker process"),
        PythonServer("FastAPI", "fastapi",
                     ["uvicorn", "serve_fastapi:app", "--host", "127.0.0.1", "--port", "PORT", "--workers", "1", "--loop", "uvloop",
                      "--http", "httptools", "--no-access-log", "--log-level", "warning"],
                     "uvicorn with uvloop and httptools, orjson, one process"),
        Mlserver("MLServer", "mlserver", [], "a runtime for the ONNX file, in the process of the server"),
        PythonServer("LitServe", "litserve", ["python", "serve_litserve.py", "PORT"], "one API server, one worker process, fast queue"),
        PythonServer("BentoML", "bentoml", ["bentoml", "serve", "serve_bentoml:Predictor", "--host", "127.0.0.1", "--port", "PORT"],
                     "one worker process, no access log", variables={"BENTOML_DO_NOT_TRACK": "True"}),
        ray("Ray Serve", 1, "one proxy, one replica, no access log"),
    ]


class Gateway(Millrace):
    """A proxy over three servers that answer a constant; `start_proxy` starts it."""

    answers_like_the_model = False

    def __init__(self, name, start_proxy, note):
        self.name, self.start_proxy, self.note = name, start_proxy, note

    def start(self, machine, model):
        floors = [start_floor(machine, model, is_blind=True, cpus=machine.load) for _ in range(3)]
        try:
            port, tree = self.start_proxy(machine, [port for port, _ in floors])
        except Failed:
            for _, floor in floors:
                floor.stop()
            raise
        return self.until_ready(Running(self, port, [tree], [tree for _, tree in floors]), machine, model)


def start_gateway_without_metrics(machine, upstreams):
    return start_gateway(machine, upstreams, WITHOUT_METRICS)


def gateways(machine):
    without = [Gateway("millrace gateway, metrics off", start_gateway_without_metrics, "the same")] * can_be_without_metrics(machine)
    return [
        Gateway("millrace gateway", start_gateway, "one thread, no access log, else as shipped"),
        *without,
        Gateway("bare hyper proxy (floor)", proxies.start_floor_proxy, "one thread, a pooled client, in turn"),
        Gateway("nginx", proxies.start_nginx, "one worker process, 512 idle connections to upstreams, no access log"),
        Gateway("HAProxy", proxies.start_haproxy, "one thread, `http-reuse always`, no log"),
        Gateway("Caddy", proxies.start_caddy, "GOMAXPROCS=1, no access log"),
    ]


class Whole(Millrace):
    name = "millrace gateway + 2 workers"
    note = "three processes of one thread of the network runtime each"
    more = ""

    def start(self, machine, model):
        workers = [start_worker(machine, machine.repositories / model) for _ in range(2)]
        port, gateway = start_gateway(machine, [port for port, _ in workers], more=self.more)
        return self.until_ready(Running(self, port, [gateway] + [tree for _, tree in workers]), machine, model)


class Apart(Whole):
    name = "millrace gateway + 2 workers, not coalescing"
    note = "the same, with each request on a connection of its own between gateway and worker"
    more = "coalesce = false\n"


class NginxOverMosec(Subject):
    name = "nginx + 2 mosec"
    note = "each as above"

    def paths(self, model):
        return {"native": "/inference"}

    def start(self, machine, model):
        servers = [mosec().start_alone(machine, model) for _ in range(2)]
        running = Running(self, 0, [tree for _, tree in servers])
        try:
            for port, tree in servers:
                mosec().wait_until_ready(Running(self, port, [tree]), machine, model)
            running.port, nginx = proxies.start_nginx(machine, [port for port, _ in servers])
        except Failed:
            running.stop()
            raise
        running.trees.insert(0, nginx)
        return self.until_ready(running, machine, model)


def wholes(machine):
    direct = MillraceWorker("millrace worker, asked directly", "what the gateway adds to")
    return [Whole(), Apart(), direct, NginxOverMosec(), ray("Ray Serve, 2 replicas", 2, "its own proxy and balancer, two replicas")]
