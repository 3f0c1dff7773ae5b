"""A registry on PostgreSQL and S3, seen from outside: SeaweedFS with a proxy in front."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.faulty import Faults, Proxy, start_proxy
from tests.objectstores import SeaweedFS
from tests.postgres import Postgres
from tests.programs import run
from tests.servers import Registry, RegistryStartError, start_registry, wait_until
from tests.wire.images import Image, digest_of, image

pytestmark = pytest.mark.chosen_kind("what is S3's own")

MIB = 1_048_576
BLOBS = "docker/registry/v2/blobs"


@pytest.fixture(scope="module")
def proxy(seaweedfs: SeaweedFS) -> Iterator[Proxy]:
    with start_proxy(seaweedfs.port) as running:
        yield running


def config(seaweedfs: SeaweedFS, proxy: Proxy, index: str, **storage: Any) -> dict[str, Any]:
    """A registry in S3, behind the proxy, with its index in PostgreSQL at the URL `index`."""
    section = seaweedfs.config("tests", rootdirectory=f"/wire/{uuid4()}")
    return {
        "storage": {"s3": {**section, "regionendpoint": proxy.url}, **storage},
        "database": {"url": index},
    }


@pytest.fixture(scope="module")
def s3_registry(
    seaweedfs: SeaweedFS,
    proxy: Proxy,
    postgres: Postgres,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Registry]:
    settings = config(seaweedfs, proxy, postgres.database())
    with start_registry(tmp_path_factory.mktemp("s3") / "registry", config=settings) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(proxy: Proxy) -> Iterator[None]:
    proxy.faults = Faults()
    yield
    proxy.faults = Faults()


@pytest.fixture
def http(s3_registry: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=s3_registry.url, timeout=60) as client:
        yield client


def finished(answer: httpx.Response, digest: str) -> httpx.URL:
    """Where an upload is finished."""
    return httpx.URL(answer.headers["location"]).copy_merge_params({"digest": digest})


def post_put(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    began = http.post(f"/v2/{name}/blobs/uploads/")
    return http.put(finished(began, digest_of(data)), content=data)


def single_post(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    given = {"digest": digest_of(data)}
    return http.post(f"/v2/{name}/blobs/uploads/", params=given, content=data)


def post_patch_put(http: httpx.Client, name: str, data: bytes) -> httpx.Response:
    """As docker: the body of the PATCH has no length."""
    began = http.post(f"/v2/{name}/blobs/uploads/")
    pieces = (data[start : start + 32_768] for start in range(0, len(data), 32_768))
    patched = http.patch(began.headers["location"], content=pieces)
    return http.put(finished(patched, digest_of(data)))


FLOWS: list[Callable[[httpx.Client, str, bytes], httpx.Response]] = [
    post_put,
    single_post,
    post_patch_put,
]


def push(http: httpx.Client, name: str, tag: str, pushed: Image) -> httpx.Response:
    for blob in pushed.blobs:
        answer = post_patch_put(http, name, blob.data)
        if answer.status_code != 201:
            return answer
    kind = {"content-type": pushed.manifest.media_type}
    return http.put(f"/v2/{name}/manifests/{tag}", content=pushed.manifest.data, headers=kind)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("size", [0, 3000, 900_000, 3 * MIB])
def test_requests_per_blob(
    http: httpx.Client, proxy: Proxy, flow: Callable[..., httpx.Response], size: int
) -> None:
    """At most three for a blob of a small image, whatever way it comes; also when it is there."""
    data, name = os.urandom(size), f"count/{uuid4()}"
    proxy.requests.clear()
    for _ in range(2):
        assert flow(http, name, data).status_code == 201
        assert len(asked(proxy)) <= 3, proxy.requests
        proxy.requests.clear()


def asked(proxy: Proxy) -> list[str]:
    """What the store was asked, but for what the upkeep of a server asks whenever it likes: lists,
    and whose the storage is.
    """
    return [
        request
        for request in proxy.requests
        if "index-id" not in request and not (request.startswith("GET ") and "prefix=" in request)
    ]


def test_manifests_need_no_request(http: httpx.Client, proxy: Proxy) -> None:
    pushed = image(f"s3-{uuid4()}")
    assert push(http, "manifests", "one", pushed).status_code == 201
    proxy.requests.clear()
    for reference in ("one", pushed.manifest.digest):
        answer = http.get(f"/v2/manifests/manifests/{reference}")
        assert answer.content == pushed.manifest.data
        assert http.head(f"/v2/manifests/manifests/{reference}").status_code == 200
    assert http.head(f"/v2/manifests/blobs/{pushed.blobs[0].digest}").status_code == 200
    assert asked(proxy) == []


def test_a_pull_is_sent_to_the_store(http: httpx.Client, proxy: Proxy) -> None:
    """Without asking it; only what the repository links, and the address is good for reading."""
    data = os.urandom(2 * MIB)
    digest = digest_of(data)
    post_put(http, "redirect", data)
    proxy.requests.clear()
    answer = http.get(f"/v2/redirect/blobs/{digest}")
    assert asked(proxy) == []
    assert answer.status_code == 307
    assert answer.headers["docker-content-digest"] == digest
    address = answer.headers["location"]
    assert f"/{BLOBS}/sha256/{digest[7:9]}/{digest[7:]}/data" in urlsplit(address).path
    assert "X-Amz-Expires=1200" in address
    assert httpx.get(address).content == data
    part = httpx.get(address, headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, data[1000:2000])
    assert httpx.put(address, content=b"other").status_code in (403, 405)
    assert http.get(f"/v2/another/blobs/{digest}").status_code == 404
    unchanged = http.get(f"/v2/redirect/blobs/{digest}", headers={"if-none-match": f'"{digest}"'})
    assert unchanged.status_code == 304
    head = http.head(f"/v2/redirect/blobs/{digest}")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))


def test_without_redirects_blobs_are_streamed(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres_url: str, tmp_path: Path
) -> None:
    """With ranges, and in pieces."""
    data = os.urandom(25 * MIB)
    digest = digest_of(data)
    settings = config(seaweedfs, proxy, postgres_url, redirect={"disable": True})
    with start_registry(tmp_path / "registry", config=settings) as running:
        http = httpx.Client(base_url=running.url, timeout=60)
        assert post_patch_put(http, "stream", data).status_code == 201
        answer = http.get(f"/v2/stream/blobs/{digest}")
        assert (answer.status_code, answer.content == data) == (200, True)
        for start, stop in [(0, 1), (1000, 3 * MIB), (24 * MIB, 25 * MIB)]:
            asked = {"range": f"bytes={start}-{stop - 1}"}
            part = http.get(f"/v2/stream/blobs/{digest}", headers=asked)
            assert (part.status_code, part.content == data[start:stop]) == (206, True)
        http.close()


def test_clients_may_have_another_address_for_the_store(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres_url: str, tmp_path: Path
) -> None:
    """`redirectendpoint`: the registry goes through the proxy, clients don't."""
    settings = config(seaweedfs, proxy, postgres_url)
    settings["storage"]["s3"]["redirectendpoint"] = seaweedfs.endpoint
    with start_registry(tmp_path / "registry", config=settings) as running:
        http = httpx.Client(base_url=running.url, timeout=60)
        assert post_put(http, "elsewhere", b"content").status_code == 201
        address = http.get(f"/v2/elsewhere/blobs/{digest_of(b'content')}").headers["location"]
        assert address.startswith(f"{seaweedfs.endpoint}/")
        assert httpx.get(address).content == b"content"
        http.close()


def test_uploads_never_touch_the_disk(s3_registry: Registry, http: httpx.Client) -> None:
    """All that is local is the configuration and the log."""
    assert post_patch_put(http, "disk", os.urandom(30 * MIB)).status_code == 201
    kept = {s3_registry.config_path, s3_registry.log_path}
    assert set(s3_registry.root.parent.iterdir()) == kept


# Wrong settings ---------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"accesskey": "nobody"}, "storage.s3.accesskey: the store answered 403 InvalidAccessKeyId"),
    (
        {"secretkey": "something else"},
        "storage.s3.secretkey: the store answered 403 SignatureDoesNotMatch",
    ),
    ({"bucket": "not-there"}, "storage.s3.bucket: the store answered 404 NoSuchBucket"),
    ({"regionendpoint": "http://127.0.0.1:1"}, "storage.s3: 127.0.0.1:1 can't be reached"),
    ({"regionendpoint": "https://127.0.0.1:{port}"}, "storage.s3.regionendpoint: "),
]


@pytest.mark.parametrize("change, said", WRONG, ids=[said for _, said in WRONG])
def test_wrong_settings_are_named(
    seaweedfs: SeaweedFS,
    proxy: Proxy,
    postgres_url: str,
    tmp_path: Path,
    change: dict[str, Any],
    said: str,
) -> None:
    """By the start, which fails, and by `config check`; secrets are not."""
    settings = config(seaweedfs, proxy, postgres_url)
    for key, value in change.items():
        settings["storage"]["s3"][key] = value.format(port=seaweedfs.port)
    settings["database"]["startuptimeout"] = "5s"
    with (
        pytest.raises(RegistryStartError) as caught,
        start_registry(tmp_path / "registry", config=settings),
    ):
        pass
    assert said in str(caught.value)
    path = tmp_path / "check.yml"
    path.write_text(yaml.safe_dump({**settings, "version": "0.1"}))
    checked = run("config", "check", str(path))
    assert checked.returncode == 1
    assert said in checked.stdout
    assert settings["storage"]["s3"]["secretkey"] not in str(caught.value) + checked.stdout


@pytest.mark.parametrize("clock, said", [(3600, "behind the store's"), (-7200, "ahead of")])
def test_a_wrong_clock_is_named(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres_url: str, tmp_path: Path, clock: float, said: str
) -> None:
    """By the start and the check: S3 refuses what was signed a quarter of an hour ago."""
    settings = config(seaweedfs, proxy, postgres_url)
    path = tmp_path / "check.yml"
    path.write_text(yaml.safe_dump({**settings, "version": "0.1"}))
    proxy.clock = clock
    try:
        with (
            pytest.raises(RegistryStartError) as caught,
            start_registry(tmp_path / "registry", config=settings),
        ):
            pass
        checked = run("config", "check", str(path))
    finally:
        proxy.clock = 0
    assert checked.returncode == 1
    for text in (str(caught.value), checked.stdout):
        found = re.search(rf"storage.s3: the clock of this machine is (\d+) s {said}", text)
        assert found is not None, text
        assert abs(int(found[1]) - abs(clock)) < 60
        assert "the store answered 403 RequestTimeTooSkewed" in text


def test_the_check_finds_nothing_wrong(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres_url: str, tmp_path: Path
) -> None:
    settings = config(seaweedfs, proxy, postgres_url)
    path = tmp_path / "check.yml"
    path.write_text(yaml.safe_dump({**settings, "version": "0.1", "http": {"addr": "127.0.0.1:0"}}))
    checked = run("config", "check", str(path))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "storage.s3: objects can be read, written and removed" in checked.stdout


# Failures ---------------------------------------------------------------------------------------


def known_blobs(registry: Registry, postgres: Postgres) -> set[str]:
    rows = postgres.execute("SELECT digest FROM blobs", registry.config["database"]["url"])
    return {digest[1:].hex() for (digest,) in rows}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_store_that_fails_at_random(
    s3_registry: Registry, postgres: Postgres, proxy: Proxy, seed: int
) -> None:
    """Pushes succeed or end in a clear error, and no row is without its object."""
    proxy.faults = Faults(seed, drop=0.1, lose=0.1, cut=0.1, delay=0.2, refuse=0.15)
    before = proxy.broken

    def push_one(number: int) -> tuple[int, Image]:
        pushed = image(f"faulty-{seed}-{number}-{uuid4()}", layer_count=3)
        with httpx.Client(base_url=s3_registry.url, timeout=120) as http:
            large = os.urandom(12 * MIB) if number == 0 else b""
            answer = post_patch_put(http, "faulty", large)
            if answer.status_code == 201:
                answer = push(http, "faulty", f"tag-{seed}-{number}", pushed)
        if answer.status_code != 201:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
        return answer.status_code, pushed

    with ThreadPoolExecutor(4) as clients:
        results = list(clients.map(push_one, range(12)))
    assert proxy.broken > before + 10
    proxy.faults = Faults()
    done = [pushed for status, pushed in results if status == 201]
    assert len(done) >= 6
    with httpx.Client(base_url=s3_registry.url, timeout=60, follow_redirects=True) as http:
        for pushed in done:
            for blob in pushed.blobs:
                assert http.get(f"/v2/faulty/blobs/{blob.digest}").content == blob.data
        for encoded in known_blobs(s3_registry, postgres):
            digest = f"sha256:{encoded}"
            head = http.head(f"/v2/faulty/blobs/{digest}")
            if head.status_code == 200:
                content = http.get(f"/v2/faulty/blobs/{digest}").content
                assert hashlib.sha256(content).hexdigest() == encoded


def test_a_store_that_is_away(s3_registry: Registry, http: httpx.Client, proxy: Proxy) -> None:
    """Pushes get 503 with Retry-After in finite time, pulls of manifests go on; then all is well,
    and the same request may be sent again.
    """
    pushed, data = image(f"away-{uuid4()}"), os.urandom(100_000)
    assert push(http, "away", "one", pushed).status_code == 201
    began = http.post("/v2/away/blobs/uploads/")
    patched = http.patch(began.headers["location"], content=data[:50_000])
    proxy.faults = Faults(drop=1.0)
    refused = http.put(finished(patched, digest_of(data)), content=data[50_000:])
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert http.get("/v2/away/manifests/one").content == pushed.manifest.data
    proxy.faults = Faults()
    again = http.put(finished(patched, digest_of(data)), content=data[50_000:])
    assert again.status_code == 201, again.text
    address = http.get(f"/v2/away/blobs/{digest_of(data)}").headers["location"]
    assert httpx.get(address).content == data


def held_by(http: httpx.Client, path: str) -> int:
    return int(http.get(path).headers["range"].partition("-")[2]) + 1


def test_a_node_that_dies_in_the_middle(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres_url: str, tmp_path: Path
) -> None:
    """Another node goes on with the upload from what it holds."""
    data = os.urandom(40 * MIB)
    settings = config(seaweedfs, proxy, postgres_url)
    with (
        start_registry(tmp_path / "one", config=settings) as one,
        start_registry(tmp_path / "two", config=settings) as two,
    ):
        first = httpx.Client(base_url=one.url, timeout=60)
        second = httpx.Client(base_url=two.url, timeout=60)
        began = first.post("/v2/dies/blobs/uploads/")
        patched = first.patch(began.headers["location"], content=data[: 15 * MIB])
        path = str(httpx.URL(patched.headers["location"]).raw_path, "ascii")

        def interrupted() -> Iterator[bytes]:
            for start in range(15 * MIB, 35 * MIB, MIB):
                yield data[start : start + MIB]
            os.killpg(one.process.pid, signal.SIGKILL)
            yield data[35 * MIB :]

        with pytest.raises(httpx.TransportError):
            first.patch(path, content=interrupted())
        assert held_by(second, path) >= 15 * MIB
        wait_until(
            lambda: second.patch(path, content=b"").status_code == 202,
            seconds=60,
            what="the end of the dead node's lease",
        )
        held = held_by(second, path)
        assert held >= 15 * MIB
        put = httpx.URL(path).copy_merge_params({"digest": digest_of(data)})
        answer = second.put(put, content=data[held:])
        assert answer.status_code == 201, answer.text
        address = second.get(f"/v2/dies/blobs/{digest_of(data)}").headers["location"]
        assert httpx.get(address).content == data
        first.close()
        second.close()


def test_the_health_check_asks_the_store(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres_url: str, tmp_path: Path
) -> None:
    settings = config(seaweedfs, proxy, postgres_url)
    check = {"enabled": True, "interval": "200ms", "threshold": 1}
    settings["health"] = {"storagedriver": check}
    with (
        start_registry(tmp_path / "registry", config=settings) as running,
        httpx.Client(base_url=running.url, timeout=60) as http,
    ):
        assert http.get("/v2/").status_code == 200
        proxy.faults = Faults(refuse=1.0)
        wait_until(lambda: http.get("/v2/_catalog").status_code == 503, seconds=30)
        proxy.faults = Faults()
        wait_until(lambda: http.get("/v2/_catalog").status_code == 200, seconds=30)


def test_stale_uploads_are_purged(
    seaweedfs: SeaweedFS, proxy: Proxy, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    """With their parts, also those of an upload that nobody knows."""
    purging = {"enabled": True, "age": "0s", "interval": "1h", "dryrun": False}
    settings = config(seaweedfs, proxy, postgres_url)
    with (
        start_registry(tmp_path / "registry", config=settings) as running,
        httpx.Client(base_url=running.url, timeout=60) as http,
    ):
        began = http.post("/v2/stale/blobs/uploads/")
        patched = http.patch(began.headers["location"], content=os.urandom(25 * MIB))
        assert patched.status_code == 202
    postgres.execute("DELETE FROM upload_sessions", postgres_url)
    settings["storage"]["maintenance"] = {"uploadpurging": purging}
    with start_registry(tmp_path / "again", config=settings) as running:
        wait_until(lambda: purged(running.log()), seconds=60, what="the purge")
    root = settings["storage"]["s3"]["rootdirectory"].strip("/")
    assert seaweedfs.listing("tests", f"{root}/") == [f"{root}/entrepot/index-id"]


def purged(log: str) -> bool:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return any(
        line["message"] == "stale uploads purged" and line.get("entrepot.count") == 1
        for line in lines
    )
