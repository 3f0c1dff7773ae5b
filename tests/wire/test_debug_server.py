"""The server at `http.debug.addr`, and what its health means for the registry."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.footing import Footing, open_footing
from tests.servers import Registry, RegistryStartError, free_port, start_registry, wait_until


@pytest.fixture(scope="module")
def debug_address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose existence takes the registry out of service."""
    return tmp_path_factory.mktemp("switch") / "down"


@pytest.fixture(scope="module")
def watched(
    request: pytest.FixtureRequest,
    kind: str,
    tmp_path_factory: pytest.TempPathFactory,
    debug_address: str,
    switch: Path,
) -> Iterator[Registry]:
    config: dict[str, Any] = {
        "http": {"debug": {"addr": debug_address, "prometheus": {"enabled": True, "path": "/m"}}},
        "health": {
            "storagedriver": {"enabled": True, "interval": "50ms", "threshold": 3},
            "file": [{"file": str(switch), "interval": "50ms"}],
        },
    }
    root = tmp_path_factory.mktemp("watched") / "r"
    with (
        open_footing(request, kind) as footing,
        footing.start(root, config=config) as registry,
    ):
        wait_until(lambda: httpx.get(f"http://{debug_address}/livez").status_code == 200)
        yield registry


@pytest.fixture(scope="module")
def debug(watched: Registry, debug_address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{debug_address}") as client:
        yield client


def test_health_is_empty_while_all_is_well(debug: httpx.Client) -> None:
    answer = debug.get("/debug/health")
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert debug.head("/debug/health").status_code == 200


def test_an_operator_takes_it_out_of_service(debug: httpx.Client, watched: Registry) -> None:
    """POST /debug/health/down: 503 UNAVAILABLE for every request for content, from every worker."""
    assert debug.post("/debug/health/down").status_code == 200
    assert debug.get("/debug/health").json() == {"manual_http_status": "manual Check"}
    assert debug.get("/debug/health").status_code == 503
    for _ in range(10):
        answer = httpx.get(f"{watched.url}/v2/")
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
        assert "please see /debug/health" in answer.text
    assert debug.get("/readyz").status_code == 503
    assert debug.get("/livez").status_code == 200
    assert debug.post("/debug/health/up").status_code == 200
    assert httpx.get(f"{watched.url}/v2/").status_code == 200


def test_a_file_takes_it_out_of_service(
    debug: httpx.Client, watched: Registry, switch: Path
) -> None:
    switch.touch()
    wait_until(lambda: httpx.get(f"{watched.url}/v2/").status_code == 503, what="503")
    assert debug.get("/debug/health").json() == {str(switch): "file exists"}
    switch.unlink()
    wait_until(lambda: httpx.get(f"{watched.url}/v2/").status_code == 200, what="200")


def test_metrics_of_all_workers(debug: httpx.Client, watched: Registry) -> None:
    httpx.get(f"{watched.url}/v2/")
    answer = debug.get("/m")
    assert answer.status_code == 200
    assert 'registry_http_requests_total{code="200",handler="base",method="get"}' in answer.text
    assert debug.get("/metrics").status_code == 404


@pytest.mark.parametrize(
    "method,path",
    [("GET", "/"), ("GET", "/debug/health/down"), ("POST", "/debug/health"), ("GET", "/v2/")],
)
def test_there_is_nothing_else(debug: httpx.Client, method: str, path: str) -> None:
    assert debug.request(method, path).status_code == 404


def test_it_answers_during_the_drain(footing: Footing, tmp_path: Path) -> None:
    """/readyz of the debug server says 503 while the main address refuses connections."""
    address = f"127.0.0.1:{free_port()}"
    config = {"http": {"debug": {"addr": address}, "draintimeout": "60s"}}
    with footing.start(tmp_path / "r", config=config) as registry:
        wait_until(lambda: httpx.get(f"http://{address}/readyz").status_code == 200)
        location = httpx.post(f"{registry.url}/v2/a/blobs/uploads/").headers["location"]
        head = (
            f"PATCH {httpx.URL(location).raw_path.decode()} HTTP/1.1\r\nHost: {registry.host}\r\n"
            "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as client:
            client.sendall(head.encode())
            assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
            registry.process.terminate()
            wait_until(lambda: httpx.get(f"http://{address}/readyz").status_code == 503)
            client.sendall(b"0123456789")
            assert client.recv(4096).startswith(b"HTTP/1.1 202 ")
        assert registry.process.wait(60) == 0


@pytest.mark.chosen_kind("sockets")
def test_its_address_may_not_be_taken(registry: Registry, tmp_path: Path) -> None:
    config = {"http": {"debug": {"addr": registry.host}}}
    with (
        pytest.raises(RegistryStartError, match="another program listens there"),
        start_registry(tmp_path / "r", config=config),
    ):
        pass
