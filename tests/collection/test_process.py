"""The process that does what is done in the background, beside real workers."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conformance.pushing import push_in_time
from tests.servers import Registry, children, free_port, start_registry, wait_until
from tests.wire import images

SOON: dict[str, Any] = {
    "storage": {"delete": {"enabled": True}},
    "lifecycle": {"collection": {"grace": "2s"}, "trash": {"window": "0s"}},
}


def upkeeps(registry: Registry) -> set[int]:
    """The process ids of the upkeep of a server."""
    return children(registry, "entrepot-upkeep")


def niceness(pid: int) -> list[int]:
    """How nice the threads of a process are, sorted."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            found.append(int(fields[16]))
    return sorted(found)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Registry]:
    with start_registry(tmp_path / "registry", config=SOON) as registry:
        yield registry


def push(client: httpx.Client, seed: str) -> images.Image:
    made = images.image(seed)
    push_in_time(client, "a", made, tag=seed)
    return made


def reclaimed(address: str) -> float:
    """Bytes that were deleted, by the metrics."""
    text = httpx.get(f"http://{address}/metrics").text
    (line,) = re.findall(r"^entrepot_reclaimed_bytes_total (.*)$", text, re.MULTILINE)
    return float(line)


def test_it_collects_is_started_again_and_ends(running: Registry) -> None:
    """A second image goes after the process was killed."""
    wait_until(lambda: len(upkeeps(running)) == 1, what="the upkeep")
    (first,) = upkeeps(running)
    wait_until(lambda: niceness(first)[-1:] == [19], what="niceness")
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    # The thread that commits is not nice: others wait for it.
    wait_until(lambda: niceness(first)[:1] == [usual], what="a thread that is not nice")
    stored = running.root / "docker/registry/v2/blobs"
    with httpx.Client(base_url=running.url) as client:
        for seed in ("one", "two"):
            made = push(client, seed)
            assert any(stored.rglob("data"))
            assert client.delete(f"/v2/a/manifests/{seed}").status_code == 202
            wait_until(lambda: not any(stored.rglob("data")), what="collection")
            head = client.head(f"/v2/a/blobs/{made.blobs[0].digest}")
            assert head.status_code == 404
            if seed == "one":
                os.kill(first, signal.SIGKILL)
                wait_until(lambda: bool(upkeeps(running) - {first}), what="the next upkeep")
    assert running.stop() == 0, "it was not killed"


def test_in_memory_the_only_worker_collects(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    config = {
        **SOON,
        "storage": {"inmemory": {}, "delete": {"enabled": True}},
        "http": {"debug": {"addr": address, "prometheus": {"enabled": True}}},
    }
    with start_registry(tmp_path / "registry", config=config) as registry:
        with httpx.Client(base_url=registry.url) as client:
            made = push(client, "one")
            size = sum(len(blob.data) for blob in made.blobs)
            assert client.delete("/v2/a/manifests/one").status_code == 202
            wait_until(lambda: reclaimed(address) == size, what="collection")
            blob = f"/v2/a/blobs/{made.blobs[0].digest}"
            assert client.head(blob).status_code == 404
        assert upkeeps(registry) == set()


def test_a_registry_that_is_only_read_keeps_what_it_has(tmp_path: Path) -> None:
    config = {**SOON, "storage": {"maintenance": {"readonly": {"enabled": True}}}}
    with start_registry(tmp_path / "registry", config=config) as registry:
        assert httpx.get(f"{registry.url}/v2/").status_code == 200
        assert upkeeps(registry) == set()
