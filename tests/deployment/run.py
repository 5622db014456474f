#!/usr/bin/env python3
"""Tests the container image and the deployments of docker-compose.yml and docker-compose.scale.yml on a real engine, as
an operator would use them.

Usage: tests/deployment/run.py    needs Docker (or what answers to `docker`), Compose, and nothing else

It builds the image, brings each deployment up beside whatever else runs (a project name and ports of its own), checks
it, and takes it away again, also when it fails. The last line says how many checks passed and failed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from support import (
    ROOT,
    Checks,
    Prometheus,
    Stopped,
    check_models,
    get,
    load,
    metric,
    predict,
    rows_of,
    run,
    wait_for,
    wait_for_models,
)

PROJECT = f"millrace-test-{os.getpid()}"
IMAGE = "millrace:test"
IMAGE_WITH_ONNXRUNTIME = "millrace:test-onnxruntime"
# A system with a shell; the image is built with it, so that it is there.
TOOLS = "debian:bookworm-slim"
# Bytes that the image may have.
MAX_IMAGE = 120_000_000
WORKERS = {"a": "worker-a", "b": "worker-b", "c": "worker-c"}
# Stands in for Prometheus's own image where that cannot be pulled: the same program from Debian's package.
PROMETHEUS_STAND_IN = "millrace-test-prometheus"
PROMETHEUS_DOCKERFILE = """
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends prometheus wget && rm -rf /var/lib/apt/lists/* \\
    && mkdir /prometheus && chown nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
"""

# Every command here gets them. Port 0: the engine takes a free one.
ENVIRONMENT = os.environ | {"MILLRACE_IMAGE": IMAGE, "MILLRACE_PORT": "0", "PROMETHEUS_PORT": "0"}

checks = Checks()


def call(*command, **options):
    """What a command prints; its failure is an error."""
    options = {"check": True, "text": True, "capture_output": True, "env": ENVIRONMENT} | options
    return subprocess.run(command, **options).stdout


def docker(*arguments, **options):
    """What a docker command prints."""
    return (call("docker", *arguments, **options) or "").strip()


def with_tools(*options):
    """What a shell says that stands beside a container: there is none in the image. The last two options are the shell's."""
    *beside, flag, script = options
    return docker("run", "--rm", *beside, "--entrypoint", "bash", TOOLS, flag, script)


def succeeds(*command):
    """Whether a command is there and ends well."""
    return bool(shutil.which(command[0])) and subprocess.run(command, capture_output=True).returncode == 0


def find_engine():
    """The Compose command; says what is missing."""
    if not succeeds("docker", "info"):
        raise Stopped("`docker info` fails: a running container engine is needed")
    for compose in [["docker", "compose"], ["docker-compose"]]:
        if succeeds(*compose, "version"):
            return compose
    raise Stopped("neither `docker compose` nor `docker-compose` is there")


def inspect(name, template):
    """What Docker knows of a container or an image, in the shape of a Go template."""
    return docker("inspect", "--format", template, name)


def wait_until_healthy(what, container):
    """Waits for the container's own health check."""
    wait_for(f"{what} healthy", lambda: inspect(container, "{{.State.Health.Status}}") == "healthy", seconds=90)


class Deployment:
    """The deployment of a Compose file, under a project name of its own."""

    def __init__(self, compose, folder, file="docker-compose.yml"):
        self.config = folder / "config" / "deployment.toml"
        shutil.copytree(ROOT / "config", self.config.parent)
        folder.chmod(0o755)  # the containers' user reads it
        override = folder / "override.json"  # JSON is YAML
        services = {"gateway": {"volumes": [f"{self.config.parent}:/etc/millrace:ro"]}}
        if file == "docker-compose.yml" and not prometheus_image():
            services["prometheus"] = {"image": PROMETHEUS_STAND_IN}
        override.write_text(json.dumps({"services": services}))
        files = ["-f", str(ROOT / file), "-f", str(override)]
        self.command = [*compose, "--project-name", PROJECT, *files]

    def compose(self, *arguments, **options):
        return (call(*self.command, *arguments, **options) or "").strip()

    def container(self, service):
        return self.compose("ps", "-q", service)

    def address(self, service, port):
        """Where a port of a service is published."""
        published = self.compose("port", service, str(port)).splitlines()[0]
        return f"http://127.0.0.1:{published.rpartition(':')[2]}"

    def scale(self, count):
        """Asks for so many workers, and waits until the gateway balances over exactly those; gives their addresses."""
        self.compose("up", "--detach", "--no-build", "--scale", f"worker={count}")
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}:9000"
        containers = self.container("worker").split()
        addresses = sorted(inspect(name, template) for name in containers)
        wait_for(f"{count} workers in /admin/workers, all up", lambda: len(addresses) == count and self.up() == addresses)
        return addresses

    def up(self):
        """The ids of the workers in /admin/workers; nothing where one of them is not up."""
        # The listener is inside the container, where there is nothing to ask it with.
        ask = r"exec 3<>/dev/tcp/127.0.0.1/8081; printf 'GET /admin/workers HTTP/1.0\r\n\r\n' >&3; cat <&3"
        answer = with_tools("--network", f"container:{self.container('gateway')}", "-c", ask)
        workers = json.loads(answer[answer.index("{") :])["workers"]
        return all(worker["state"] == "up" for worker in workers) and sorted(worker["id"] for worker in workers)

    def edit(self, old, new):
        """Edits the configuration as editors do: a new file in the place of the old one."""
        text = self.config.read_text()
        assert old in text, old
        edited = self.config.with_suffix(".new")
        edited.write_text(text.replace(old, new))
        edited.replace(self.config)

    def down(self):
        # A failure here must not hide what failed before.
        self.compose("down", "--volumes", "--timeout", "5", check=False)


def prometheus_image():
    """Whether Prometheus's own image is there; else its stand-in is built."""
    [image] = re.findall(r"image: (prom/\S+)", (ROOT / "docker-compose.yml").read_text())
    if succeeds("docker", "image", "inspect", image):
        return True
    try:
        if subprocess.run(["docker", "pull", "-q", image], capture_output=True, timeout=120).returncode == 0:
            return True
    except subprocess.TimeoutExpired:
        pass
    print(f"        {image} cannot be pulled: Debian's package stands in for it", flush=True)
    docker("build", "-q", "-t", PROMETHEUS_STAND_IN, "-", input=PROMETHEUS_DOCKERFILE)
    return False


@contextmanager
def container(*arguments):
    """A container that is removed at the end, whatever happens."""
    name = docker("run", "--detach", *arguments)
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


def check_image():
    started = time.monotonic()
    docker("build", "-t", IMAGE, str(ROOT), capture_output=False)
    seconds = time.monotonic() - started
    checks.that("the image is built", True, f"{seconds:.0f} s")
    size = int(inspect(IMAGE, "{{.Size}}"))
    checks.that(f"it has {MAX_IMAGE / 1e6:.0f} MB at most", size <= MAX_IMAGE, f"{size / 1e6:.1f} MB")
    user = inspect(IMAGE, "{{.Config.User}}")
    checks.that("its user is a number and not root's", re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), user)
    for file in ["millrace.toml", "deployment.toml", "scale.toml"]:
        told = docker("run", "--rm", IMAGE, "check", "--config", f"/etc/millrace/{file}")
        checks.that(f"config/{file} is valid", "is valid" in told)


def check_plain_container():
    """The image on its own, without Compose: `docker run -p 8080:8080 millrace`."""
    with container("--publish", "127.0.0.1:0:8080", IMAGE) as name:
        port = docker("port", name, "8080").rpartition(":")[2]
        wait_until_healthy("a plain container", name)
        wait_for_models(f"http://127.0.0.1:{port}")
        status, answer, _ = predict(f"http://127.0.0.1:{port}", "iris", [[5.1, 3.5, 1.4, 0.2]])
        checks.that("a plain container predicts", status == 200 and answer["predictions"] == ["setosa"], answer)
        check_stop("a plain container", name)


def check_second_engine():
    """The image with ONNX Runtime in it, and a net that the default engine does not run."""
    requirements = (ROOT / "tests" / "python" / "requirements-zoo.txt").read_text()
    [version] = re.findall(r"^onnxruntime==(.+)$", requirements, re.M)
    docker("build", "--build-arg", f"ONNXRUNTIME={version}", "-t", IMAGE_WITH_ONNXRUNTIME, str(ROOT))
    added = int(inspect(IMAGE_WITH_ONNXRUNTIME, "{{.Size}}")) - int(inspect(IMAGE, "{{.Size}}"))
    with tempfile.TemporaryDirectory(prefix="millrace-models-") as folder:
        net = Path(folder) / "loop" / "1" / "model.onnx"
        net.parent.mkdir(parents=True)
        shutil.copy(ROOT / "tests" / "nets" / "torchscript_loop.onnx", net)
        Path(folder).chmod(0o755)  # the container's user reads it
        mount = f"{folder}:/srv/millrace/models:ro"
        with container("--publish", "127.0.0.1:0:8080", "--volume", mount, IMAGE_WITH_ONNXRUNTIME) as name:
            gateway = f"http://127.0.0.1:{docker('port', name, '8080').rpartition(':')[2]}"
            wait_until_healthy("an image with ONNX Runtime", name)
            [version] = json.loads(get(f"{gateway}/models/loop"))["versions"]
            is_run = version["engine"] == "onnxruntime"
            checks.that("a Loop is run by the ONNX Runtime of its image", is_run, f"{added / 1e6:.0f} MB more")
            status, answer, _ = predict(gateway, "loop", [[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]])
            checks.that("and answers with its state", status == 200 and len(answer["predictions"][0]) == 8, answer)


def check_stop(what, name, seconds=25):
    """`docker stop`: SIGTERM, and SIGKILL where that was not heard within the grace period."""
    started = time.monotonic()
    docker("stop", "-t", str(seconds), name)
    took, code = time.monotonic() - started, inspect(name, "{{.State.ExitCode}}")
    in_time = code == "0" and took < seconds
    checks.that(f"{what} ends on SIGTERM with exit code 0", in_time, f"code {code} after {took:.1f} s")


def check_start(deployment):
    deployment.compose("up", "--detach", "--no-build")
    for service in ["gateway", *WORKERS.values(), "prometheus"]:
        wait_until_healthy(service, deployment.container(service))
    checks.that("the deployment is up, every container healthy", True)
    for service in ["gateway", "worker-a"]:
        status = with_tools("--pid", f"container:{deployment.container(service)}", "-c", "cat /proc/1/status")
        checks.that(f"{service} does not run as root", re.search(r"^Uid:\t[1-9]", status, re.M))
    published = json.loads(inspect(deployment.container("gateway"), "{{json .NetworkSettings.Ports}}"))
    open_ports = sorted(port for port, bindings in published.items() if bindings)
    checks.that("of the gateway, only 8080 is published", open_ports == ["8080/tcp"], open_ports)


def endpoint_is(gateway, worker, healthy):
    """Waits until the gateway sees a worker so."""
    wait_for(
        f"worker {worker} {'taken in' if healthy else 'taken out'}",
        lambda: metric(gateway, "millrace_gateway_endpoint_healthy", worker=worker) == healthy,
    )


def check_kill(deployment, gateway):
    name = deployment.container("worker-b")
    with load(checks, gateway, "docker kill of a worker and its start") as clients:
        docker("kill", name)
        endpoint_is(gateway, "b", False)
        clients.more()
        docker("start", name)
        endpoint_is(gateway, "b", True)
        clients.until_answered_by("b")
        checks.that("the killed worker was taken out, and answers again after its start", True)


def check_crash(deployment, gateway):
    """The engine restarts what dies by itself; `docker kill` it takes for the operator's will."""
    name = deployment.container("worker-c")
    pid = inspect(name, "{{.State.Pid}}")
    with load(checks, gateway, "a crash of a worker") as clients:
        with_tools("--pid", "host", "-c", f"kill -KILL {pid}")
        wait_for("a restart by the engine", lambda: int(inspect(name, "{{.RestartCount}}")) >= 1)
        endpoint_is(gateway, "c", True)
        clients.until_answered_by("c")
        checks.that("the crashed worker was restarted by the engine, and answers again", True)


def check_rolling_restart(deployment, gateway):
    with load(checks, gateway, "docker stop and start of one worker after the other") as clients:
        for worker, service in WORKERS.items():
            name = deployment.container(service)
            check_stop(f"worker {worker}", name)
            clients.more()
            docker("start", name)
            endpoint_is(gateway, worker, True)
            clients.until_answered_by(worker)


def check_policy_switch(deployment, gateway):
    def in_force(policy):
        return lambda: metric(gateway, "millrace_gateway_policy", policy=policy) == 1

    checks.that("round_robin is in force", in_force("round_robin")())
    with load(checks, gateway, "a switch of policy and weights by an edit of the configuration") as clients:
        clients.more()
        deployment.edit('policy = "round_robin"', 'policy = "weighted"')
        deployment.edit('id = "a"', 'id = "a"\nweight = 3')
        wait_for("the policy weighted in force", in_force("weighted"))
        wait_for("the weight in force", lambda: metric(gateway, "millrace_gateway_endpoint_weight", worker="a") == 3)
    row = rows_of("iris")[0][:1]
    shares = [predict(gateway, "iris", row)[2] for _ in range(50)]
    counts = [shares.count(worker) for worker in WORKERS]
    checks.that("weights 3:1:1 give 50 requests as 30, 10 and 10", counts == [30, 10, 10], counts)

    deployment.edit('policy = "weighted"', 'policy = "heaviest"')
    wait_for(
        "a wrong file refused",
        lambda: metric(gateway, "millrace_gateway_config_reloads_total", outcome="refused") >= 1,
    )
    checks.that("a wrong file is refused, and the policy before it stays", in_force("weighted")())
    deployment.edit('policy = "heaviest"', 'policy = "weighted"')


def check_prometheus(deployment, gateway):
    prometheus = Prometheus(deployment.address("prometheus", 9090))
    instances = prometheus.wait_for_targets(1 + len(WORKERS))
    checks.that("Prometheus sees gateway and workers up", True, ", ".join(instances))

    page = get(f"{gateway}/metrics").splitlines()
    answered = sum(float(line.split()[-1]) for line in page if line.startswith("millrace_gateway_requests_total{"))
    wait_for(
        f"{answered:.0f} requests in Prometheus",
        lambda: prometheus.query("sum(millrace_gateway_requests_total)") == answered,
    )
    checks.that("Prometheus counts the requests that the gateway answered", answered > 0, f"{answered:.0f}")
    others = prometheus.ask("query", query='millrace_gateway_requests_total{code!="ok"} > 0')["result"]
    checks.that("every one of them with code ok", not others, others or "")
    rows = prometheus.query("sum(millrace_worker_batch_rows_sum)")
    checks.that("and the rows that ran on workers", rows > 0, f"{rows:.0f}")


@contextmanager
def deployed(compose, file):
    """A deployment that is taken away at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="millrace-deployment-") as folder:
        deployment = Deployment(compose, Path(folder), file)
        try:
            yield deployment
        finally:
            if checks.failed or sys.exc_info()[0]:
                print(deployment.compose("logs", "--tail", "30", check=False))
            deployment.down()
    left = docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}")
    checks.that("nothing of it is left", not left, left)


def check_deployment(compose):
    with deployed(compose, "docker-compose.yml") as deployment:
        check_start(deployment)
        gateway = deployment.address("gateway", 8080)
        wait_for_models(gateway)
        check_models(checks, gateway)
        check_kill(deployment, gateway)
        check_crash(deployment, gateway)
        check_rolling_restart(deployment, gateway)
        check_policy_switch(deployment, gateway)
        check_prometheus(deployment, gateway)
        check_stop("the gateway", deployment.container("gateway"))


def check_scaling(compose):
    """`docker compose up --scale worker=N`, to more and to fewer workers under load."""
    with deployed(compose, "docker-compose.scale.yml") as deployment:
        deployment.scale(2)
        gateway = deployment.address("gateway", 8080)
        wait_for_models(gateway)
        with load(checks, gateway, "docker compose up --scale worker=5, then 3, where there were 2") as clients:
            for count in [5, 3]:
                addresses = deployment.scale(count)
                checks.that(f"/admin/workers shows {count} workers up", True, ", ".join(addresses))
                for address in addresses:
                    clients.until_answered_by(address)
                clients.more()


def main():
    compose = find_engine()
    check_image()
    check_plain_container()
    check_second_engine()
    check_deployment(compose)
    check_scaling(compose)


if __name__ == "__main__":
    sys.exit(run(checks, main))
