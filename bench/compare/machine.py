"""What a reader of the figures has to know of the machine and of the versions."""
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import environments

# A package of each environment, as its users call it.
PACKAGES = {"mosec": "mosec", "fastapi": "fastapi", "mlserver": "mlserver", "litserve": "litserve", "bentoml": "bentoml", "ray": "ray"}


def said(command):
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr


def version(text):
    found = re.search(r"\d+\.\d+[.\d]*", text)
    return found[0] if found else "unknown"


def pinned(name, package):
    text = (environments.HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{package}==(\S+)", text, re.M | re.I)
    return found[1] if found else "unknown"


def describe(place):
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    versions = {"millrace": version(said([place.millrace, "--version"])) + commit()}
    for name, argument in (("nginx", "-v"), ("haproxy", "-v"), ("caddy", "version")):
        if environments.find(name):
            versions[name] = version(said([environments.find(name), argument]))
    versions.update({name: pinned(name, package) for name, package in PACKAGES.items()})
    versions["onnxruntime"] = pinned("mosec", "onnxruntime")
    versions["uvicorn"] = pinned("fastapi", "uvicorn")
    versions["python"] = platform.python_version()
    return {
        "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "cpu": cpu[1].strip() if cpu else platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}", "versions": versions,
        "measured": place.measured, "load": place.load, "busy": os.getloadavg()[0]}


def commit():
    told = said(["git", "-C", environments.HERE, "describe", "--always", "--dirty", "--abbrev=8"]).strip()
    return f" ({told})" if re.fullmatch(r"[\w.-]+", told) else ""
