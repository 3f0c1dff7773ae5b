"""The shipped proxies in front of real nodes: everything passes, and a node may die."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.clients.provide import path_of
from tests.conformance.answers import assert_status, location_of
from tests.conformance.pushing import finish, push, start_upload
from tests.deploy.proxies import Proxy, start_proxy
from tests.postgres import Postgres
from tests.servers import Registry, start_registry, wait_until
from tests.wire.images import OCTETS, Content, image, random_bytes

MIB = 1 << 20


@dataclass
class Site:
    """Two nodes on one index and one directory, and a proxy in front."""

    nodes: list[Registry]
    proxy: Proxy


@pytest.fixture(scope="module", params=["haproxy", "nginx"])
def site(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("proxied")
    config = {
        "database": {"url": postgres.empty_database()},
        "storage": {"filesystem": {"rootdirectory": str(place / "shared")}},
        "http": {"trustedproxies": ["127.0.0.1"]},
    }
    with ExitStack() as stack:
        nodes = [stack.enter_context(start_registry(place / name, config=config)) for name in "ab"]
        hosts = [node.host for node in nodes]
        proxy = stack.enter_context(start_proxy(request.param, place / "proxy", hosts))
        yield Site(nodes, proxy)


@pytest.fixture
def http(site: Site) -> Iterator[httpx.Client]:
    with site.proxy.client() as client:
        yield client


def test_a_push_goes_over_all_nodes(site: Site, http: httpx.Client) -> None:
    """Upload sessions go on wherever the proxy sends them; addresses are the proxy's."""
    made = image("proxied")
    push(http, "team/app", made, tag="1")
    assert http.get("/v2/team/app/manifests/1").content == made.manifest.data
    for node in site.nodes:
        answer = httpx.get(f"{node.url}/v2/team/app/manifests/1")
        assert answer.content == made.manifest.data
    begun = http.post("/v2/team/app/blobs/uploads/")
    assert begun.headers["Location"].startswith(f"{site.proxy.url}/v2/team/app/blobs/uploads/")


def test_skopeo_over_tls(site: Site, http: httpx.Client) -> None:
    push(http, "team/tool", image("skopeo"), tag="1")
    trusted = f"--src-cert-dir={site.proxy.place / 'trusted'}"
    source = f"docker://{site.proxy.host}/team/tool:1"
    target = f"docker://{site.proxy.host}/team/copy:1"
    known = f"--dest-cert-dir={site.proxy.place / 'trusted'}"
    command = [path_of("skopeo"), "--insecure-policy", "copy", trusted, known, source, target]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    wanted = http.head("/v2/team/tool/manifests/1").headers["Docker-Content-Digest"]
    assert http.head("/v2/team/copy/manifests/1").headers["Docker-Content-Digest"] == wanted


def test_a_large_upload_is_not_kept_by_the_proxy(site: Site, http: httpx.Client) -> None:
    """Its first bytes are in the registry while its last are not sent yet."""
    piece, pieces = random_bytes(MIB, "large upload"), 48
    location = start_upload(http, "team/large")
    arrived = threading.Event()
    seen: list[int] = []

    def stream() -> Iterator[bytes]:
        for number in range(pieces):
            if number == pieces - 8:
                arrived.wait(30)
                seen.append(site.proxy.temporary_bytes())
            yield piece

    def watch() -> None:
        uploads = Path(site.nodes[0].config["storage"]["filesystem"]["rootdirectory"])
        folder = uploads / "entrepot" / "uploads"
        wait_until(
            lambda: any(f.stat().st_size > (pieces - 16) * MIB for f in folder.glob("*")),
            seconds=30,
            what="the upload in the registry",
        )
        arrived.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    patched = http.patch(location, content=stream(), headers={"Content-Type": OCTETS})
    watcher.join()
    assert_status(patched, 202)
    assert arrived.is_set()
    assert seen == [0]
    digest = f"sha256:{hashlib.sha256(piece * pieces).hexdigest()}"
    assert_status(finish(http, location_of(patched), digest), 201)
    with http.stream("GET", f"/v2/team/large/blobs/{digest}") as answer:
        running = hashlib.sha256()
        for data in answer.iter_bytes():
            running.update(data)
    assert f"sha256:{running.hexdigest()}" == digest
    assert site.proxy.temporary_bytes() == 0


def test_metrics_are_not_for_the_outside(http: httpx.Client) -> None:
    assert http.get("/metrics").status_code == 404


def test_a_claimed_address_is_not_believed(site: Site, http: httpx.Client) -> None:
    """The access log names the client that the proxy saw."""
    claimed = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9;host=evil"}
    begun = http.post("/v2/team/app/blobs/uploads/", headers=claimed)
    assert "evil" not in begun.headers["Location"]
    assert not any("203.0.113.9" in node.log() for node in site.nodes)


def test_pulls_go_on_while_a_node_is_killed(site: Site, http: httpx.Client) -> None:
    """Nobody who pulls sees it, nor who comes while it is away; then it takes part again."""
    made = image("killed")
    push(http, "team/killed", made, tag="1")
    node = site.nodes[1]
    over = threading.Event()
    answers: list[int] = []

    def pull() -> None:
        with site.proxy.client() as client:
            while not over.is_set():
                answers.append(client.get("/v2/team/killed/manifests/1").status_code)

    pullers = [threading.Thread(target=pull) for _ in range(4)]
    for puller in pullers:
        puller.start()
    try:
        wait_until(lambda: len(answers) > 50, what="pulls")
        os.killpg(node.process.pid, signal.SIGKILL)
        node.kill()
        before = len(answers)
        wait_until(lambda: len(answers) > before + 200, seconds=30, what="pulls without the node")
        push(http, "team/killed", image("while it is away"), tag="2")
        node.start()
        before = len(answers)
        wait_until(lambda: len(answers) > before + 200, seconds=30, what="pulls with the node")
    finally:
        over.set()
        for puller in pullers:
            puller.join()
    assert set(answers) == {200}


def test_one_host(tmp_path: Path) -> None:
    """nginx sends the blobs of a registry on the same host itself."""
    config = {"http": {"accel": "nginx", "trustedproxies": ["127.0.0.1"]}}
    with start_registry(tmp_path / "r", config=config) as registry:
        blobs = registry.root / "docker" / "registry" / "v2" / "blobs"
        with (
            start_proxy("nginx on one host", tmp_path / "p", [registry.host], blobs=blobs) as proxy,
            proxy.client() as client,
        ):
            blob = Content(OCTETS, random_bytes(3 * MIB, "one host"))
            assert_status(finish(client, start_upload(client, "a"), blob.digest, blob.data), 201)
            answer = client.get(f"/v2/a/blobs/{blob.digest}", headers={"Range": "bytes=5-9"})
            assert_status(answer, 206)
            assert answer.content == blob.data[5:10]
            assert answer.headers["Docker-Content-Digest"] == blob.digest
            assert client.get(f"/_blobs/sha256/{blob.digest[7:9]}").status_code == 404
