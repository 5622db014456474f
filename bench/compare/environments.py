"""What has to be there before anything can be measured: Debian's packages, an environment for each Python server, and our tools."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from process import Failed

HERE = Path(__file__).resolve().parent
failures = {}  # of environments: they are tried once, while there is a network
# A program, and Debian's package that has it.
PROGRAMS = {"nginx": "nginx-light", "haproxy": "haproxy", "caddy": "caddy", "wrk": "wrk", "taskset": "util-linux"}


def find(program):
    """Where a program lies; servers are not on everybody's path."""
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def install_programs():
    """Installs what is missing, where that is allowed; what is missing then is said by whoever needs it."""
    missing = sorted({package for program, package in PROGRAMS.items() if not find(program)})
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(missing)}", file=sys.stderr)
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
        # The packages would start servers of their own.
        policy = Path("/usr/sbin/policy-rc.d")
        is_ours = not policy.exists()
        if is_ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            for package in missing:  # one by one: a package that is not to be had costs itself alone
                subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], **quiet)
        finally:
            if is_ours:
                policy.unlink()


def program(name):
    found = find(name)
    if not found:
        raise Failed(f"{name} is not installed")
    return found


def environment(name, cache):
    """The folder of a virtual environment with what requirements/NAME.txt pins, made where it is not there yet."""
    if name in failures:
        raise failures[name]
    requirements = HERE / "requirements" / f"{name}.txt"
    folder = cache / "environments" / name
    stamp = folder / "installed"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    print(f"installing {name}", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        run([sys.executable, "-m", "venv", folder])
        run([folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements])
    except Failed as failure:
        failures[name] = failure
        raise
    stamp.write_text(wanted)
    return folder


def tools(cache):
    """The folder of the load generator and the floors, built where they are older than their sources."""
    target = cache / "target"
    run(["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", HERE / "tools/Cargo.toml",
         "--target-dir", target])
    return target / "release"


def repositories(cache):
    """The folder with one model repository for each model that is compared."""
    folder, stamp = cache / "models", cache / "models/made"
    wanted = hashlib.sha256((HERE / "models.py").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        python = environment("models", cache) / "bin/python"
        print("making the models", file=sys.stderr)
        run([python, HERE / "models.py", folder])
        stamp.write_text(wanted)
    return folder


def run(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        errors = [line for line in lines if re.match(r"(?i)error", line)] or lines[-1:] or ["it said nothing"]
        raise Failed(f"`{' '.join(map(str, command[:3]))} …` failed: {errors[0][:300]}")
    return done.stdout
