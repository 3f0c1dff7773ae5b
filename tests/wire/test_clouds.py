"""A registry that keeps its blobs in Google's or Azure's store, seen from outside."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.emulators import Azurite, FakeGcs
from tests.faulty import Faults, Proxy, start_proxy
from tests.programs import environment, run
from tests.servers import (
    Config,
    Registry,
    RegistryStartError,
    free_port,
    start_registry,
    wait_until,
)
from tests.wire.images import digest_of, image
from tests.wire.test_s3 import FLOWS, MIB, asked, finished, post_patch_put, purged, push

pytestmark = pytest.mark.chosen_kind("stores of its own: Google's and Azure's")


@dataclass
class Cloud:
    """A store with a proxy in front, and how a registry is told of it."""

    driver: str
    store: FakeGcs | Azurite
    proxy: Proxy
    section: Config
    env: dict[str, str]

    def config(self, folder: Path, **storage: Any) -> Config:
        section = {"rootdirectory": f"/wire/{uuid4()}", **self.section}
        return {
            "storage": {self.driver: section, **storage},
            "database": {"url": f"sqlite:///{folder / 'index' / 'index.sqlite3'}"},
        }


@pytest.fixture(scope="module", params=["gcs", pytest.param("azure", marks=pytest.mark.clients)])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    if request.param == "gcs":
        gcs: FakeGcs = request.getfixturevalue("fake_gcs")
        with start_proxy(urlsplit(gcs.url).port or 0) as proxy:
            env = {"STORAGE_EMULATOR_HOST": proxy.url}
            yield Cloud("gcs", gcs, proxy, {"bucket": "tests"}, env)
        return
    azurite: Azurite = request.getfixturevalue("azurite")
    parts = urlsplit(azurite.url)
    with start_proxy(parts.port or 0) as proxy:
        section = azurite.config("tests", serviceurl=proxy.url + parts.path)
        yield Cloud("azure", azurite, proxy, section, {})


@pytest.fixture(scope="module")
def cloudy(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp(cloud.driver)
    settings = cloud.config(folder)
    with start_registry(folder / "registry", config=settings, env=cloud.env) as running:
        yield running


@pytest.fixture
def http(cloudy: Registry, cloud: Cloud) -> Iterator[httpx.Client]:
    cloud.proxy.faults = Faults()
    with httpx.Client(base_url=cloudy.url, timeout=60) as client:
        yield client
    cloud.proxy.faults = Faults()


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("size", [0, 3000, 3 * MIB])
def test_requests_per_blob(
    http: httpx.Client, cloud: Cloud, flow: Callable[..., httpx.Response], size: int
) -> None:
    """At most three for a blob of a small image, whatever way it comes; also when it is there."""
    data, name = os.urandom(size), f"count/{uuid4()}"
    for _ in range(2):
        cloud.proxy.requests.clear()
        assert flow(http, name, data).status_code == 201
        assert len(asked(cloud.proxy)) <= 3, cloud.proxy.requests


def test_an_image_comes_back(http: httpx.Client, cloud: Cloud) -> None:
    """By a redirect where somebody can sign; the manifest without asking the store."""
    pushed = image(f"{cloud.driver}-{uuid4()}", layer_count=3)
    assert push(http, "images", "one", pushed).status_code == 201
    cloud.proxy.requests.clear()
    assert http.get("/v2/images/manifests/one").content == pushed.manifest.data
    answer = http.get(f"/v2/images/blobs/{pushed.blobs[0].digest}")
    signed = cloud.driver == "azure"
    assert answer.status_code == (307 if signed else 200)
    if signed:
        assert asked(cloud.proxy) == []
    for blob in pushed.blobs:
        got = http.get(f"/v2/images/blobs/{blob.digest}", follow_redirects=True)
        assert got.content == blob.data


def test_libraries_are_quiet(http: httpx.Client, cloudy: Registry) -> None:
    """What they tell of each request is not for the log, nor are signatures."""
    assert post_patch_put(http, "quiet", b"content").status_code == 201
    assert "equest headers" not in cloudy.log()
    assert "Authorization" not in cloudy.log()


def test_a_large_blob_in_chunks(http: httpx.Client, cloud: Cloud) -> None:
    """Several requests, each of several parts, on either of two workers; none comes out wrong."""
    data = os.urandom(45 * MIB)
    patched = http.post("/v2/large/blobs/uploads/")
    for start, stop in [(0, 25 * MIB), (25 * MIB, 25 * MIB + 10), (25 * MIB + 10, 45 * MIB)]:
        with httpx.Client(base_url=http.base_url, timeout=60) as another:
            patched = another.patch(patched.headers["location"], content=data[start:stop])
        assert patched.status_code == 202
    assert http.put(finished(patched, digest_of(data))).status_code == 201
    got = http.get(f"/v2/large/blobs/{digest_of(data)}", follow_redirects=True)
    assert got.content == data
    part = http.get(
        f"/v2/large/blobs/{digest_of(data)}",
        headers={"range": f"bytes={20 * MIB}-{30 * MIB - 1}"},
        follow_redirects=True,
    )
    assert (part.status_code, part.content == data[20 * MIB : 30 * MIB]) == (206, True)


def test_without_redirects_blobs_are_streamed(cloud: Cloud, tmp_path: Path) -> None:
    data = os.urandom(12 * MIB)
    settings = cloud.config(tmp_path, redirect={"disable": True})
    with (
        start_registry(tmp_path / "registry", config=settings, env=cloud.env) as running,
        httpx.Client(base_url=running.url, timeout=60) as http,
    ):
        assert post_patch_put(http, "stream", data).status_code == 201
        answer = http.get(f"/v2/stream/blobs/{digest_of(data)}")
        assert (answer.status_code, answer.content == data) == (200, True)


def test_a_store_that_fails_at_random(http: httpx.Client, cloud: Cloud) -> None:
    """Pushes succeed or end in a clear error; what was acknowledged is there."""
    cloud.proxy.faults = Faults(1, drop=0.1, lose=0.1, cut=0.1, delay=0.1, refuse=0.15)
    before, done = cloud.proxy.broken, []
    for number in range(8):
        data = os.urandom(12 * MIB if number == 0 else 50_000)
        answer = post_patch_put(http, "faulty", data)
        if answer.status_code == 201:
            done.append(data)
        else:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) > 0
    assert cloud.proxy.broken > before
    assert len(done) >= 4
    cloud.proxy.faults = Faults()
    for data in done:
        got = http.get(f"/v2/faulty/blobs/{digest_of(data)}", follow_redirects=True)
        assert got.content == data


# Wrong settings ---------------------------------------------------------------------------------


def google_key(path: Path) -> str:
    path.write_text(json.dumps({"type": "service_account"}))
    return str(path)


def start_and_check(settings: Config, env: dict[str, str], folder: Path) -> list[str]:
    """What a start that fails and `config check` say."""
    settings["database"]["startuptimeout"] = "1s"
    with (
        pytest.raises(RegistryStartError) as caught,
        start_registry(folder / "registry", config=settings, env=env),
    ):
        pass
    path = folder / "check.yml"
    path.write_text(yaml.safe_dump({**settings, "version": "0.1"}))
    checked = run("config", "check", str(path), env=environment(**env))
    assert checked.returncode == 1
    return [str(caught.value), checked.stdout]


@pytest.mark.parametrize("wrong", ["bucket", "account", "endpoint"])
def test_wrong_settings_are_named(cloud: Cloud, tmp_path: Path, wrong: str) -> None:
    """By the start, which fails, and by `config check`; secrets are not."""
    settings, env = cloud.config(tmp_path), dict(cloud.env)
    section = settings["storage"][cloud.driver]
    nobody = f"http://127.0.0.1:{free_port()}"
    another_key = base64.b64encode(b"another").decode()
    if cloud.driver == "gcs":
        said = {
            "bucket": "storage.gcs.bucket: Google Cloud Storage answered 404",
            "account": "storage.gcs.keyfile: it is not a service account's key (JSON)",
            "endpoint": f"storage.gcs: {nobody} can't be reached",
        }[wrong]
        env |= {"STORAGE_EMULATOR_HOST": nobody} if wrong == "endpoint" else {}
        section |= {
            "bucket": {"bucket": "nothing-there"},
            "account": {"keyfile": google_key(tmp_path / "key.json")},
            "endpoint": {},
        }[wrong]
    else:
        said = {
            "bucket": "storage.azure.container: Azure answered 404 ContainerNotFound",
            "account": "storage.azure.accountkey: Azure answered 403 Auth",
            "endpoint": f"storage.azure: {nobody} can't be reached",
        }[wrong]
        section |= {
            "bucket": {"container": "nothing-there"},
            "account": {"accountkey": another_key},
            "endpoint": {"serviceurl": nobody},
        }[wrong]
    for text in start_and_check(settings, env, tmp_path):
        assert said in text
        assert another_key not in text
        assert section.get("accountkey", "no such key") not in text


def test_only_blobs_are_in_the_store(cloud: Cloud, tmp_path: Path) -> None:
    """At the names of registry:2; what an upload left behind goes with the purge."""
    data = os.urandom(15 * MIB)
    settings = cloud.config(tmp_path)
    with (
        start_registry(tmp_path / "registry", config=settings, env=cloud.env) as running,
        httpx.Client(base_url=running.url, timeout=60) as http,
    ):
        assert post_patch_put(http, "names", data).status_code == 201
        began = http.post("/v2/names/blobs/uploads/")
        assert http.patch(began.headers["location"], content=data + data).status_code == 202
    with sqlite3.connect(tmp_path / "index" / "index.sqlite3") as index:
        index.execute("DELETE FROM upload_sessions")
    purging = {"enabled": True, "age": "0s", "interval": "1h", "dryrun": False}
    settings["storage"]["maintenance"] = {"uploadpurging": purging}
    with start_registry(tmp_path / "again", config=settings, env=cloud.env) as running:
        wait_until(lambda: purged(running.log()), seconds=60, what="the purge")
    encoded = digest_of(data)[7:]
    root = settings["storage"][cloud.driver]["rootdirectory"].strip("/")
    key = f"{root}/docker/registry/v2/blobs/sha256/{encoded[:2]}/{encoded}/data"
    assert asyncio.run(listing(cloud, f"{root}/")) == [key, f"{root}/entrepot/index-id"]


async def listing(cloud: Cloud, prefix: str) -> list[str]:
    """The keys of objects, and of uploads that were not completed."""
    client = cloud.store.client("tests")
    keys = [entry.key async for entry in client.entries(prefix)]
    keys += [begun.key async for begun in client.unfinished(prefix)]
    await client.close()
    return keys
