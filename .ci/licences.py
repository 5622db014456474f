#!/usr/bin/env python3
"""Checks that every dependency is a published package, of one registry, under a licence that deny.toml allows.

The part of `cargo deny check` that needs no further tool; the whole of it also knows advisories.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def is_allowed(expression, allowed):
    """Whether an SPDX expression can be met by what is allowed; crates from before SPDX write `/` for OR."""
    tokens = re.findall(r"[()]|AND|OR|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))
    operators = {"(": "(", ")": ")", "AND": " and ", "OR": " or "}
    return eval("".join(operators.get(token, str(token in allowed)) for token in tokens))


def main():
    allowed = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    dependencies = [package for package in metadata["packages"] if package["source"]]
    # A dependency from a git repository, or from a second registry, would be one that nobody can look up by its name.
    registry = next(package["source"] for package in dependencies if package["name"] == "tokio")
    problems = [
        f"{package['name']} {package['version']}: {package['license']} from {package['source']}"
        for package in dependencies
        if package["source"] != registry or not is_allowed(package["license"] or "none", allowed)
    ]
    print(*problems, f"{len(dependencies)} dependencies, {len(problems)} not allowed", sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
