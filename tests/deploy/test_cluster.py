"""Three nodes behind HAProxy, PostgreSQL and SeaweedFS, of which one after the other dies while
clients push and pull: what was acknowledged is there, and nobody saw more than a retryable error.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from entrepot.app import opened
from entrepot.config import load
from entrepot.services.maintenance import purge_uploads
from tests.conformance.answers import location_of
from tests.conformance.pushing import finish, put_manifest, send_stream
from tests.deploy.proxies import Proxy, start_proxy
from tests.objectstores import SeaweedFS, start_seaweedfs
from tests.postgres import Postgres, start_postgres
from tests.servers import Registry, start_registry, wait_until
from tests.wire.images import Content, Image, digest_of, image

BUCKET = "cluster"
SECONDS = 30.0
"""How long the clients are at it."""

PUSHERS = 3
PULLERS = 2
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""What a proxy or a node says of a moment; 500 is only allowed to come from the store."""


class MomentaryError(Exception):
    """Something that a client tries again."""


class WrongError(Exception):
    """Something that no client may ever see."""


@dataclass
class Cluster:
    """Everything that runs."""

    nodes: list[Registry]
    proxy: Proxy
    postgres: Postgres
    store: SeaweedFS


@dataclass
class Record:
    """What the clients saw."""

    pushed: dict[str, Image] = field(default_factory=dict)
    """Tag -> the image that was acknowledged under it."""
    pulls: int = 0
    momentary: int = 0
    wrong: list[str] = field(default_factory=list)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        postgres = stack.enter_context(start_postgres())
        store = stack.enter_context(start_seaweedfs(tmp_path / "seaweedfs"))
        store.make_bucket(BUCKET)
        config = {
            "database": {"url": postgres.empty_database(), "connecttimeout": "2s"},
            "storage": {"s3": store.config(BUCKET, chunksize=5 * 1024 * 1024)},
            "http": {"trustedproxies": ["127.0.0.1"], "draintimeout": "2s"},
        }
        nodes = [
            stack.enter_context(start_registry(tmp_path / f"node{n}", config=config, workers=1))
            for n in range(3)
        ]
        hosts = [node.host for node in nodes]
        proxy = stack.enter_context(start_proxy("haproxy", tmp_path / "proxy", hosts))
        yield Cluster(nodes, proxy, postgres, store)


@pytest.mark.timeout(420)
def test_nodes_database_and_store_may_die(cluster: Cluster) -> None:
    record, over = Record(), threading.Event()
    clients = [
        *(threading.Thread(target=_push, args=(cluster, record, over, n)) for n in range(PUSHERS)),
        *(threading.Thread(target=_pull, args=(cluster, record, over)) for _ in range(PULLERS)),
    ]
    for client in clients:
        client.start()
    try:
        wait_until(lambda: len(record.pushed) >= 3, seconds=60, what="the first images")
        _make_trouble(cluster, random.Random(7))
        calm = len(record.pushed)
        wait_until(lambda: len(record.pushed) >= calm + 3, seconds=60, what="images afterwards")
    finally:
        over.set()
        for client in clients:
            client.join()
    assert record.wrong == []
    assert record.pulls > 20
    assert record.momentary > 0, "the trouble was noticed"
    for node in cluster.nodes:
        _verify_all(node, record)
    assert asyncio.run(_left_after_cleaning(cluster)) == []
    _collect(cluster)
    _verify_all(cluster.nodes[0], record)


def _verify_all(node: Registry, record: Record) -> None:
    """What was acknowledged is there."""
    with httpx.Client(base_url=node.url, timeout=30, follow_redirects=True) as http:
        for tag, made in record.pushed.items():
            _verify(http, tag, made)


def _collect(cluster: Cluster) -> None:
    """As if a day had passed: of the objects those stay that a manifest needs."""
    for node in cluster.nodes:
        node.stop()
    first = cluster.nodes[0]
    index = first.config["database"]["url"]
    for table in ("link_reviews", "manifest_reviews"):
        cluster.postgres.execute(f"UPDATE {table} SET review_after = 0", index)
    first.config["lifecycle"] = {"collection": {"grace": "2s"}, "trash": {"window": "0s"}}
    first.start()

    def surplus() -> set[str]:
        rows = cluster.postgres.execute("SELECT DISTINCT digest FROM manifest_blobs", index)
        needed = {digest[1:].hex() for (digest,) in rows}
        keys = cluster.store.listing(BUCKET, "docker/registry/v2/blobs/")
        found = {key.split("/")[-2] for key in keys}
        assert found >= needed, "nothing that is needed goes"
        return found - needed

    wait_until(lambda: not surplus(), seconds=90, what="the end of what nobody needs")


def _make_trouble(cluster: Cluster, chance: random.Random) -> None:
    """Nodes are killed all the time, the database and the store once each."""
    began = time.monotonic()
    database, store = began + SECONDS / 3, began + 2 * SECONDS / 3
    while (now := time.monotonic()) < began + SECONDS:
        if now > database:
            database = float("inf")
            cluster.postgres.stop("immediate")
            threading.Event().wait(1.0)
            cluster.postgres.start()
        if now > store:
            store = float("inf")
            cluster.store.kill()
            threading.Event().wait(1.0)
            cluster.store.start()
        node = chance.choice(cluster.nodes)
        os.killpg(node.process.pid, signal.SIGKILL)
        node.kill()
        threading.Event().wait(chance.uniform(0.2, 1.0))
        node.start()
        threading.Event().wait(chance.uniform(0.5, 2.0))


# Clients ----------------------------------------------------------------------------------------


def _push(cluster: Cluster, record: Record, over: threading.Event, number: int) -> None:
    """Push one image after the other, each until it is acknowledged, or given up in the middle."""
    count, chance = 0, random.Random(number)
    while not over.is_set():
        tag = f"c{number}-{count}"
        made, count = image(f"cluster {tag}"), count + 1
        while not over.is_set():
            try:
                with cluster.proxy.client(timeout=30) as http:
                    _push_image(http, made, tag)
                record.pushed[tag] = made
                break
            except MomentaryError:
                record.momentary += 1
                if chance.random() < 0.5:
                    break
            except WrongError as error:
                record.wrong.append(f"push {tag}: {error}")
                return


def _push_image(http: httpx.Client, made: Image, tag: str) -> None:
    for blob in made.blobs:
        with _judged():
            _push_blob(http, blob)
    with _judged():
        _expect(put_manifest(http, "team/app", tag, made.manifest), 201)


def _push_blob(http: httpx.Client, blob: Content) -> None:
    location = location_of(_expect(http.post("/v2/team/app/blobs/uploads/"), 202))
    half = len(blob.data) // 2
    patched = send_stream(http, location, [blob.data[:half], blob.data[half:]])
    _expect(patched, 202)
    _expect(finish(http, location_of(patched), blob.digest), 201)


def _pull(cluster: Cluster, record: Record, over: threading.Event) -> None:
    """Pull what was acknowledged, again and again."""
    chance = random.Random(1)
    while not over.is_set():
        known = list(record.pushed.items())
        if not known:
            over.wait(0.05)
            continue
        tag, made = chance.choice(known)
        try:
            with _judged(), cluster.proxy.client(timeout=30) as http:
                http.follow_redirects = True
                _verify(http, tag, made)
            record.pulls += 1
        except MomentaryError:
            record.momentary += 1
        except WrongError as error:
            record.wrong.append(f"pull {tag}: {error}")
            return


def _verify(http: httpx.Client, tag: str, made: Image) -> None:
    for reference in (tag, made.digest):
        answer = _expect(http.get(f"/v2/team/app/manifests/{reference}"), 200)
        if answer.content != made.manifest.data:
            raise WrongError(f"another manifest: {answer.content!r}")
    for blob in made.blobs:
        answer = _expect(http.get(f"/v2/team/app/blobs/{blob.digest}"), 200)
        if digest_of(answer.content) != blob.digest:
            raise WrongError(f"another blob: {len(answer.content)} bytes")


def _expect(answer: httpx.Response, status: int) -> httpx.Response:
    if answer.status_code == status:
        return answer
    text = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}"
    from_store = "/docker/registry/" in answer.request.url.path
    if answer.status_code in _RETRYABLE and (answer.status_code != 500 or from_store):
        raise MomentaryError(text)
    raise WrongError(text)


@contextmanager
def _judged() -> Iterator[None]:
    """A connection that breaks is momentary."""
    try:
        yield
    except httpx.TransportError as error:
        raise MomentaryError(str(error)) from error


async def _left_after_cleaning(cluster: Cluster) -> list[str]:
    """What is left of uploads in the store when stale ones were purged."""
    config = load(cluster.nodes[0].config_path, {}).config
    async with opened(config) as (stores, _):
        await purge_uploads(stores, age=-60, dry_run=False)
    client = cluster.store.client(BUCKET)
    try:
        found = [entry.key async for entry in client.entries("entrepot/uploads/")]
        return found + [begun.key async for begun in client.unfinished("entrepot/uploads/")]
    finally:
        await client.close()
