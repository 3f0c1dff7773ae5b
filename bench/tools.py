"""The programs the benchmark needs beside Python, installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

from bench.errors import MissingToolError

PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "docker-registry": "docker-registry"}
"""Program -> the Debian package that has it."""

_SYSTEM_PATHS = "/usr/local/sbin:/usr/sbin:/sbin"


def find(tool: str) -> str | None:
    """The path of a program, also where only root has it in the search path; None if absent."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATHS}")


def path_of(tool: str) -> str:
    """The path of a program that `require` has made sure of. Raises MissingToolError."""
    found = find(tool)
    if found is None:
        raise MissingToolError(f"{tool} is not installed (Debian package {PACKAGES[tool]})")
    return found


def require(tools: Iterable[str]) -> None:
    """Install what is missing with apt when root on Debian; else MissingToolError says what."""
    missing = sorted(PACKAGES[tool] for tool in tools if find(tool) is None)
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingToolError(f"please install first, as root: {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], env=environment, check=False)
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise MissingToolError(f"this failed, please see to it: {' '.join(command)}")
