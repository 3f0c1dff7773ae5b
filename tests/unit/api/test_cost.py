"""What a pull of a manifest costs: 8 of our own frames, 1 SQL statement, no call of the store."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

import entrepot
from entrepot.api.asgi import Application
from entrepot.core.digest import Digest
from entrepot.db.blobs import find_linked_blob
from entrepot.db.sqlite import SqliteDatabase
from entrepot.storage import BlobStore, UploadStore
from tests.unit.api.conftest import Site, running
from tests.wire.images import (
    DOCKER_LIST,
    Content,
    config,
    docker_list,
    image,
    manifest,
    random_bytes,
)

OURS = str(Path(entrepot.__file__).parent)
IMAGE = image("cost")
MOST_FRAMES, STATEMENTS, STORE_CALLS = 8, 1, 0


class Counted:
    """A store that notes every use of its methods and does what the real one does."""

    def __init__(self, store: object, uses: list[str]) -> None:
        self._store = store
        self._uses = uses

    def __getattr__(self, name: str) -> Any:
        self._uses.append(name)
        return getattr(self._store, name)


class Costs:
    """Watches an application: the stack at every statement, and every use of the stores."""

    def __init__(self, application: Application) -> None:
        self.statements: list[str] = []
        self.frames: list[list[str]] = []
        self.store_calls: list[str] = []
        context = application._context
        index = context.stores.index
        assert isinstance(index, SqliteDatabase)
        index._connection.set_trace_callback(self._note)
        counted = replace(
            context.stores,
            blobs=cast("BlobStore", Counted(context.stores.blobs, self.store_calls)),
            uploads=cast("UploadStore", Counted(context.stores.uploads, self.store_calls)),
        )
        application._context = replace(context, stores=counted)

    def _note(self, sql: str) -> None:
        self.statements.append(sql)
        frame, ours = sys._getframe(), []
        while frame.f_back is not None:
            frame = frame.f_back
            if frame.f_code.co_filename.startswith(OURS):
                ours.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}")
        self.frames.append(ours)


async def push(site: Site, *, tag: str) -> None:
    for blob in IMAGE.blobs:
        digest = b"digest=" + blob.digest.encode()
        answer = await site.ask("POST", "/v2/a/blobs/uploads/", query=digest, body=blob.data)
        assert answer.status == 201, answer.body
    kind = (b"content-type", IMAGE.manifest.media_type.encode())
    path = f"/v2/a/manifests/{tag}"
    answer = await site.ask("PUT", path, headers=(kind,), body=IMAGE.manifest.data)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("reference", ["latest", IMAGE.digest], ids=["tag", "digest"])
def test_a_manifest(build: Callable[[str], Application], method: str, reference: str) -> None:
    application = build("")

    async def scenario() -> None:
        async with running(application) as site:
            await push(site, tag="latest")
            costs = Costs(application)
            answer = await site.ask(method, f"/v2/a/manifests/{reference}")
            assert answer.status == 200
            assert answer.headers[b"docker-content-digest"] == IMAGE.digest.encode()
            assert answer.body == (IMAGE.manifest.data if method == "GET" else b"")
            assert len(costs.statements) == STATEMENTS, costs.statements
            assert len(costs.frames[0]) <= MOST_FRAMES, costs.frames
            assert costs.frames[0][-1].startswith("asgi.py"), "the whole way was seen"
            assert len(costs.store_calls) == STORE_CALLS, costs.store_calls

    asyncio.run(scenario())


def test_a_manifest_that_was_read_before(build: Callable[[str], Application]) -> None:
    """One statement after a write, and none more as long as nobody writes."""
    application = build("")

    async def scenario() -> None:
        async with running(application) as site:
            index = application._context.stores.index
            assert isinstance(index, SqliteDatabase)
            costs = Costs(application)
            await push(site, tag="latest")
            assert (await site.ask("GET", "/v2/a/manifests/latest")).status == 200
            commits, writes = b"", 0
            while commits != index._turns.commits():  # the upkeep may have written in between
                writes += 1
                await push(site, tag=f"other{writes}")
                costs.statements.clear()
                commits = index._turns.commits()
                for _ in range(5):
                    assert (await site.ask("GET", "/v2/a/manifests/latest")).status == 200
            assert len(costs.statements) == 1

    asyncio.run(scenario())


def test_a_blob(build: Callable[[str], Application]) -> None:
    """One statement, and the store is opened once, when it has said that it sends nobody elsewhere;
    to know that it is there, not at all.
    """
    application = build("")

    async def scenario() -> None:
        async with running(application) as site:
            await push(site, tag="latest")
            path = f"/v2/a/blobs/{IMAGE.blobs[0].digest}"
            stores = application._context.stores
            index = stores.index
            assert isinstance(index, SqliteDatabase)
            commits = b""
            while commits != index._turns.commits():  # the upkeep may have written in between
                commits = index._turns.commits()
                index._known.clear()
                for method, calls in (("HEAD", list[str]()), ("GET", ["address", "open"])):
                    application._context = replace(application._context, stores=stores)
                    costs = Costs(application)
                    assert (await site.ask(method, path)).status == 200
                    if commits == index._turns.commits():
                        assert len(costs.statements) == (1 if method == "HEAD" else 0)
                    assert costs.store_calls == calls

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "size, told, looks", [(2048, 2048, 0), (100_000, 100_000, 1), (100_000, 10, 1)]
)
def test_a_push_of_a_manifest(
    build: Callable[[str], Application], size: int, told: int, looks: int
) -> None:
    """What a small image needs is looked at in the transaction alone, and kept in the index. What
    is larger, whatever its manifest says of that, is synced first.
    """
    application = build("")
    layer = Content("application/vnd.oci.image.layer.v1.tar", random_bytes(size, "pushed"))
    made = manifest(config([], author="cost"), [layer])
    document = json.loads(made.data)
    document["layers"][0]["size"] = told
    kind = (b"content-type", made.media_type.encode())

    async def scenario() -> None:
        async with running(application) as site:
            for blob in (config([], author="cost"), layer):
                query = b"digest=" + blob.digest.encode()
                path = "/v2/a/blobs/uploads/"
                assert (await site.ask("POST", path, query=query, body=blob.data)).status == 201
            costs = Costs(application)
            body = json.dumps(document).encode()
            answer = await site.ask("PUT", "/v2/a/manifests/v1", headers=(kind,), body=body)
            assert answer.status == 201, answer.body
            assert costs.store_calls.count("sync") == looks
            assert any("blob_bytes" in sql for sql in costs.statements) == bool(looks)
            digest = Digest.parse(layer.digest)
            found = await find_linked_blob(application._context.stores.index, 1, digest)
            assert found == (size, True)

    asyncio.run(scenario())


def test_the_rewriting_of_a_list_costs_one_statement_more(
    build: Callable[[str], Application],
) -> None:
    application = build("validation: {manifests: {indexes: {platforms: none}}}")

    async def scenario() -> None:
        async with running(application) as site:
            made = docker_list("cost")
            kind = (b"content-type", DOCKER_LIST.encode())
            path = "/v2/a/manifests/both"
            pushed = await site.ask("PUT", path, headers=(kind,), body=made.manifest.data)
            assert pushed.status == 201
            costs = Costs(application)
            accept = (b"accept", made.children[0].manifest.media_type.encode())
            answer = await site.ask("GET", path, headers=(accept,))
            assert answer.body == made.manifest.data, "the child is not here"
            assert len(costs.statements) == 2

    asyncio.run(scenario())
