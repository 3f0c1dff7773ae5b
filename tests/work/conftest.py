"""Commands and clients for tests of background work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import Registry
from tests.wire.images import Image

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the program with a docker configuration of its own."""

    def start(*words: str | Path, text: str = "") -> Done:
        known = {
            k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "ENTREPOT_"))
        }
        return subprocess.run(
            [sys.executable, "-m", "entrepot", *map(str, words)],
            env={**known, "DOCKER_CONFIG": str(tmp_path / "docker")},
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return start


def told(done: Done, *, status: int = 0) -> Any:
    """What a command printed as JSON."""
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def push(registry: Registry, name: str, tag: str, image: Image) -> None:
    """Push an image with all that it needs."""
    with httpx.Client(base_url=registry.url, timeout=60) as http:
        for blob in image.every_blob():
            push_blob(http, name, blob.data, digest=blob.digest)
        for manifest in image.every_manifest():
            reference = tag if manifest is image.manifest else manifest.digest
            answer = http.put(
                f"/v2/{name}/manifests/{reference}",
                content=manifest.data,
                headers={"content-type": manifest.media_type},
            )
            assert answer.status_code == 201, answer.text


def push_blob(http: httpx.Client, name: str, data: bytes, *, digest: str) -> None:
    answer = http.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data)
    assert answer.status_code == 201, answer.text


def blob_file(registry: Registry, digest: str) -> Path:
    """Where the bytes of a blob lie."""
    encoded = digest.partition(":")[2]
    blobs = registry.root / "docker/registry/v2/blobs/sha256"
    return blobs / encoded[:2] / encoded / "data"


def flip(path: Path) -> None:
    """Change one bit, as disks do."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
