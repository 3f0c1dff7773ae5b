"""What the README's first two commands bring: ./dev serve, and the package that pip builds."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.servers import free_port, start_registry, wait_until

pytestmark = pytest.mark.chosen_kind("the package, not what it serves")

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    build += ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_package_has_both_commands(wheel: Path) -> None:
    """`entrepot` and `registry` are the same program."""
    with zipfile.ZipFile(wheel) as files:
        name = next(name for name in files.namelist() if name.endswith("entry_points.txt"))
        points = configparser.ConfigParser()
        points.read_string(files.read(name).decode())
    commands = dict(points["console_scripts"])
    assert commands == {"entrepot": "entrepot.cli:main", "registry": "entrepot.cli:main"}


def test_the_package_serves(wheel: Path, tmp_path: Path) -> None:
    """What is in the package is enough to serve: code, migrations and all."""
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "unpacked")
    env = {"PYTHONPATH": str(tmp_path / "unpacked")}
    found = subprocess.run(
        [sys.executable, "-c", "import entrepot; print(entrepot.__file__)"],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(env["PYTHONPATH"])
    with start_registry(tmp_path / "registry", env=env, workers=1) as registry:
        assert httpx.get(f"{registry.url}/v2/").json() == {}


def test_dev_serve(tmp_path: Path) -> None:
    """`./dev serve` starts the registry, and a SIGTERM to it ends the registry."""
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    env["REGISTRY_HTTP_ADDR"] = f"127.0.0.1:{port}"
    env["REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"] = str(tmp_path / "registry")
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "dev"), "serve"], env=env, stdout=output, stderr=output
        )

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(ready, seconds=60, what="the registry")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def test_dev_says_what_it_can_do() -> None:
    """`./dev help` names every command; one that does not exist is an error with the same help."""
    dev = [sys.executable, str(ROOT / "dev")]
    told = subprocess.run([*dev, "help"], capture_output=True, text=True, check=True).stdout
    for command in ("serve", "test", "check", "bench", "help"):
        assert f"\n  {command}" in told
    wrong = subprocess.run([*dev, "srve"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert told in wrong.stderr
