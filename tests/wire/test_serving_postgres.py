"""A registry whose index is in PostgreSQL: what clients see while it is away, and at the start."""

from __future__ import annotations

import os
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.certificates import Authority
from tests.conformance.pushing import push
from tests.faulty import start_proxy
from tests.objectstores import SeaweedFS
from tests.postgres import PASSWORD, Postgres, start_postgres
from tests.programs import run
from tests.servers import (
    Registry,
    RegistryStartError,
    default_config,
    free_port,
    merged,
    start_registry,
    wait_until,
)
from tests.wire.images import image

pytestmark = pytest.mark.chosen_kind("what is PostgreSQL's own")

WAITS = "the start waits for a server"


def get(registry: Registry, path: str) -> httpx.Response:
    return httpx.get(f"{registry.url}{path}", timeout=20)


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop, if it starts it again."""
    with start_postgres() as running:
        yield running


@pytest.fixture(params=["files", "objects"])
def storage(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A storage that is empty: the default, or a part of S3 that is streamed from."""
    if request.param == "files":
        return {}
    seaweedfs: SeaweedFS = request.getfixturevalue("seaweedfs")
    section = seaweedfs.config("tests", rootdirectory=f"serving/{uuid4()}")
    return {"storage": {"s3": section, "redirect": {"disable": True}}}


def test_the_database_goes_away_and_comes_back(
    own_postgres: Postgres, storage: dict[str, Any], tmp_path: Path
) -> None:
    """503 with Retry-After at once, never a hang or a 500; and right again without a restart."""
    database = {"url": own_postgres.database(), "connecttimeout": "2s"}
    config = {"database": database, **storage}
    with start_registry(tmp_path / "r", config=config) as registry:
        made = image("away")
        with httpx.Client(base_url=registry.url, timeout=20) as client:
            push(client, "a", made, tag="latest")
        for mode in ("fast", "immediate"):
            own_postgres.stop(mode)
            for path in ("/v2/a/manifests/latest", "/v2/_catalog", "/v2/a/tags/list"):
                answer = get(registry, path)
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) <= 5
                assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
                assert answer.elapsed.total_seconds() < 15
            begun = httpx.post(f"{registry.url}/v2/a/blobs/uploads/?mount={made.digest}&from=b")
            assert begun.status_code == 503
            ready = get(registry, "/readyz")
            assert ready.status_code == 503
            assert "127.0.0.1" in ready.text
            assert PASSWORD not in ready.text
            assert get(registry, "/livez").status_code == 200
            own_postgres.start()
            wait_until(
                lambda: get(registry, "/readyz").status_code == 200, seconds=30, what="readiness"
            )
            wait_until(  # of the workers each finds out by itself
                lambda: get(registry, "/v2/a/manifests/latest").content == made.manifest.data,
                what="the manifest",
            )
        assert PASSWORD not in registry.log()
        assert "Traceback" not in registry.log()


def test_a_restart_under_load(
    own_postgres: Postgres, storage: dict[str, Any], tmp_path: Path
) -> None:
    """Clients that pull and push all the time see answers that are right, or 503."""
    config = {"database": {"url": own_postgres.database()}, **storage}
    statuses: set[int] = set()
    stop = threading.Event()
    with start_registry(tmp_path / "r", config=config) as registry:
        made = image("load")
        with httpx.Client(base_url=registry.url, timeout=30) as client:
            push(client, "a", made, tag="latest")

        def pull_and_push(number: int) -> None:
            with httpx.Client(base_url=registry.url, timeout=30) as client:
                while not stop.is_set():
                    found = client.get("/v2/a/manifests/latest")
                    headers = {"Content-Type": made.manifest.media_type}
                    path = f"/v2/a/manifests/t{number}"
                    put = client.put(path, content=made.manifest.data, headers=headers)
                    statuses.update((found.status_code, put.status_code))
                    if found.status_code == 200:
                        assert found.content == made.manifest.data

        threads = [threading.Thread(target=pull_and_push, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        wait_until(lambda: statuses == {200, 201}, what="the first answers")
        own_postgres.stop("fast")
        wait_until(lambda: 503 in statuses, what="a request that failed")
        own_postgres.start()
        statuses.clear()
        wait_until(lambda: statuses >= {200, 201}, seconds=30, what="answers again")
        stop.set()
        for thread in threads:
            thread.join()
        assert statuses <= {200, 201, 503}


def test_nodes_share_an_index(postgres: Postgres, tmp_path: Path) -> None:
    """Five nodes on one host start at once on an empty database; what one is told, all know."""
    config = {"database": {"url": postgres.empty_database(), "maxconnections": 3}}
    root = tmp_path / "shared"
    config["storage"] = {"filesystem": {"rootdirectory": str(root)}}
    with ExitStack() as stack:
        nodes: list[Registry] = []

        def start(number: int) -> None:
            started = start_registry(tmp_path / f"node-{number}", config=config, workers=1)
            nodes.append(stack.enter_context(started))

        threads = [threading.Thread(target=start, args=(n,)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(nodes) == 5
        for number, node in enumerate(nodes):
            made = image(f"node-{number}")
            with httpx.Client(base_url=node.url, timeout=30) as client:
                push(client, "a", made, tag="latest")
            for other in nodes:
                assert get(other, "/v2/a/manifests/latest").content == made.manifest.data


def test_a_node_that_is_killed(postgres: Postgres, storage: dict[str, Any], tmp_path: Path) -> None:
    """What it acknowledged is there when it comes again."""
    config = {"database": {"url": postgres.empty_database()}, **storage}
    with start_registry(tmp_path / "r", config=config) as registry:
        made = image("killed")
        with httpx.Client(base_url=registry.url, timeout=30) as client:
            push(client, "a", made, tag="latest")
        os.killpg(registry.process.pid, signal.SIGKILL)
        registry.kill()
        registry.start()
        assert get(registry, "/v2/a/manifests/latest").content == made.manifest.data
        for blob in made.blobs:
            assert get(registry, f"/v2/a/blobs/{blob.digest}").content == blob.data


# Starting ---------------------------------------------------------------------------------------


def broken_urls(postgres: Postgres) -> dict[str, tuple[str, str]]:
    """Addresses that do not work, and what must be said of each."""
    return {
        "password": (
            postgres.url("postgres", password="wr0ng-s3cret"),
            "password authentication failed for user",
        ),
        "database": (postgres.url("missing"), "does not exist"),
        "port": (f"postgresql://me:{PASSWORD}@127.0.0.1:{free_port()}/x", "refused"),
        "host": (f"postgresql://me:{PASSWORD}@no-such-host.invalid/x", "no-such-host.invalid"),
        "tls": (postgres.url("postgres") + "?sslmode=require", "SSL"),
        "certificate": (
            postgres.url("postgres") + "?sslmode=verify-full&sslrootcert=/no/such.pem",
            "/no/such.pem",
        ),
        "option": (postgres.url("postgres") + "?colour=blue", "colour"),
    }


@pytest.mark.parametrize(
    "kind", ["password", "database", "port", "host", "tls", "certificate", "option"]
)
def test_an_address_that_does_not_work(postgres: Postgres, tmp_path: Path, kind: str) -> None:
    """The start, and `config check` before it, name the key and say what was answered."""
    url, said = broken_urls(postgres)[kind]
    database = {"url": url, "connecttimeout": "3s"}
    if kind in {"port", "host"}:  # it waits for these, and for nothing else
        database["startuptimeout"] = "1s"
    config: dict[str, Any] = {"database": database}
    with pytest.raises(RegistryStartError) as caught, start_registry(tmp_path / "r", config=config):
        pass
    assert "database.url: " in str(caught.value)
    assert said in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert (WAITS in str(caught.value)) == (kind in {"port", "host"})
    path = tmp_path / "config.yml"
    path.write_text(
        yaml.safe_dump({**default_config(tmp_path / "r", port=free_port(), workers=1), **config})
    )
    checked = run("config", "check", str(path))
    assert checked.returncode == 1
    (line,) = [line for line in checked.stdout.splitlines() if "database.url" in line]
    assert line.startswith("error")
    assert said in line
    for text in (str(caught.value), checked.stdout, checked.stderr):
        assert "s3cret" not in text


@contextmanager
def starting(root: Path, config: dict[str, Any]) -> Iterator[Registry]:
    """A registry that waits for a server, from when it says so on; ended on leaving."""
    port = free_port()
    full = merged(default_config(root, port=port, workers=1), config)
    if "s3" in full["storage"]:
        del full["storage"]["filesystem"]
    registry = Registry(root, config=full, port=port, env={}, args=())

    def start() -> None:
        with suppress(RegistryStartError):
            registry.start()

    thread = threading.Thread(target=start)
    thread.start()
    try:
        wait_until(
            lambda: WAITS in registry.log(), seconds=30, what="a failure that it can wait for"
        )
        yield registry
    finally:
        registry.stop()
        thread.join()


def test_servers_that_come_later(
    own_postgres: Postgres, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    """The node says what it waits for and is alive meanwhile; then it serves."""
    url, port, debug = own_postgres.empty_database(), free_port(), f"127.0.0.1:{free_port()}"
    section = seaweedfs.config("tests", rootdirectory=f"later/{tmp_path.name}")
    config = {
        "http": {"debug": {"addr": debug}},
        "database": {"url": url},
        "storage": {"s3": section | {"regionendpoint": f"http://127.0.0.1:{port}"}},
    }
    own_postgres.stop("fast")
    with starting(tmp_path / "r", config) as registry:
        for place in (registry.url, f"http://{debug}"):
            assert httpx.get(f"{place}/livez").status_code == 200
            assert httpx.get(f"{place}/readyz").status_code == 503
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            answer = httpx.request(method, f"{registry.url}/v2/a/manifests/latest")
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "5"
        assert httpx.get(f"{registry.url}/v2/").json()["errors"][0]["code"] == "UNAVAILABLE"
        assert f"storage.s3: 127.0.0.1:{port} can't be reached" in registry.log()
        with start_proxy(seaweedfs.port, port=port):
            wait_until(lambda: "database.url: the index at" in registry.log(), seconds=30)
            own_postgres.start()
            wait_until(lambda: get(registry, "/readyz").status_code == 200, seconds=30)
            wait_until(lambda: httpx.get(f"http://{debug}/readyz").status_code == 200)
            with httpx.Client(base_url=registry.url, timeout=20) as client:
                push(client, "a", image("later"), tag="latest")
        assert registry.log().count(WAITS) == 2  # once for each
        assert PASSWORD not in registry.log()
        assert "Traceback" not in registry.log()


def test_a_start_that_waits_can_be_ended(tmp_path: Path) -> None:
    """By SIGTERM, at once. Over TLS, too, clients are told that they should come again."""
    authority = Authority(tmp_path)
    pair = authority.server()
    config = {
        "http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}},
        "database": {"url": f"postgresql://registry:{PASSWORD}@127.0.0.1:{free_port()}/x"},
    }
    with starting(tmp_path / "r", config) as registry:
        trusted = ssl.create_default_context(cafile=authority.certificate)
        assert httpx.get(f"{registry.url}/v2/", verify=trusted).status_code == 503
        registry.process.terminate()
        assert registry.process.wait(60) == 0


def test_config_check_finds_the_index(postgres_url: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    config = default_config(tmp_path / "r", port=free_port(), workers=1)
    path.write_text(yaml.safe_dump({**config, "database": {"url": postgres_url}}))
    checked = run("config", "check", str(path))
    assert checked.returncode == 0
    assert "ok      database.url: PostgreSQL 15" in checked.stdout
