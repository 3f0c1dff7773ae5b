"""The processes of a server that starts while what it needs goes away."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import httpx
import yaml

from tests.programs import environment
from tests.servers import default_config, free_port, wait_until


def test_a_worker_that_cannot_serve_when_another_does(tmp_path: Path) -> None:
    """The server goes on, and starts it again: who was answered once is not refused later."""
    port = free_port()
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump(default_config(tmp_path / "r", port=port, workers=2)))
    program = [sys.executable, "-m", "tests.unit.server.staggered", str(config), str(tmp_path)]
    with (tmp_path / "log").open("w+") as log, (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = subprocess.Popen(program, stdout=log, stderr=log, env=environment())
        try:
            wait_until(lambda: is_ready(port) or server.poll() is not None, what="an answer")
            fcntl.flock(lock, fcntl.LOCK_UN)
            wait_until(
                lambda: (tmp_path / "built-2").exists() or server.poll() is not None,
                what="another worker",
            )
            log.seek(0)
            said = log.read()
            assert is_ready(port), said
            assert "a worker ended unexpectedly" in said
        finally:
            server.terminate()
            status = server.wait()
    assert status == 0


def is_ready(port: int) -> bool:
    """Whether a server answers that it serves."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False
