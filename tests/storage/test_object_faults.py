"""Stores that fail now and then: what may be repeated is, and the rest is told in their words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from entrepot.storage import StorageError
from entrepot.storage.objects import ObjectDriver
from tests.emulators import Azurite, FakeGcs
from tests.storage.conftest import Server
from tests.storage.faults import DROP, LOSE, Proxy, start_proxy

pytestmark = pytest.mark.anyio

PARTS = [b"a" * 5 * 1_048_576, b"b"]


@pytest.fixture(
    params=["seaweedfs", "fake_gcs", pytest.param("azurite", marks=pytest.mark.clients)]
)
def server(request: pytest.FixtureRequest) -> Server:
    running: Server = request.getfixturevalue(request.param)
    return running


@asynccontextmanager
async def through_proxy(
    server: Server, asked: list[str] | None = None
) -> AsyncIterator[tuple[ObjectDriver, Proxy]]:
    """A client whose requests all go through a proxy."""

    def observe(action: str, seconds: float) -> None:
        assert seconds >= 0
        if asked is not None:
            asked.append(action)

    target = server.url if isinstance(server, FakeGcs | Azurite) else server.endpoint
    parts = urlsplit(target)
    async with start_proxy(f"{parts.scheme}://{parts.netloc}") as proxy:
        client: ObjectDriver
        if isinstance(server, FakeGcs | Azurite):
            client = replace(server, url=proxy.url + parts.path).client("tests", observe=observe)
        else:
            client = server.client("tests", observe=observe, regionendpoint=proxy.url)
        try:
            yield client, proxy
        finally:
            await client.close()


@pytest.mark.parametrize("faults", [[503], [429, 500], [DROP], [DROP, 503], [502, 504], [408]])
async def test_what_passes_is_repeated(server: Server, faults: list[int]) -> None:
    asked: list[str] = []
    async with through_proxy(server, asked) as (client, proxy):
        proxy.faults[:] = faults
        await client.put("faults/key", b"data")
        assert proxy.seen == len(faults) + 1
        if DROP not in faults:  # the HTTP library sees to some of these itself
            assert asked == ["PutContent"] * proxy.seen
        proxy.faults[:] = faults
        assert await client.read("faults/key") == b"data"
        proxy.faults[:] = faults
        assert await client.size("faults/key") == 4
        proxy.faults[:] = faults
        assert [entry.key async for entry in client.entries("faults/")] == ["faults/key"]
        proxy.faults[:] = faults
        await client.copy("faults/key", "faults/copy", size=4)
        proxy.faults[:] = faults
        await client.delete(["faults/key"])
        proxy.faults[:] = faults
        await client.delete(["faults/copy", "faults/nothing"])
        assert [entry.key async for entry in client.entries("faults/")] == []


@pytest.mark.parametrize("when", ["parts", "complete"])
async def test_parts_survive_lost_answers(server: Server, when: str) -> None:
    """What the store did, and nobody heard of, is done again without harm."""
    async with through_proxy(server) as (client, proxy):
        token = await client.begin("faults/data")
        marks = []
        for number, part in enumerate(PARTS, 1):
            if when == "parts":
                proxy.faults[:] = [LOSE]
            marks.append(await client.put_part("faults/data", token, number, part))
        if when == "complete":
            proxy.faults[:] = [LOSE]
        await client.complete("faults/data", token, marks)
        assert await client.read("faults/data") == b"".join(PARTS)
        assert [one async for one in client.unfinished("faults/")] == []
        await client.delete(["faults/data"])


async def test_what_does_not_pass_is_told(server: Server) -> None:
    """With what the store answered; it is not asked for ever."""
    async with through_proxy(server) as (client, proxy):
        proxy.faults[:] = [503] * 100
        with pytest.raises(StorageError, match="503"):
            await client.put("faults/key", b"data")
        assert 1 < proxy.seen < 12


async def test_a_store_that_is_away(server: Server) -> None:
    async with through_proxy(server) as (client, proxy):
        proxy.faults[:] = [DROP] * 100
        with pytest.raises(StorageError, match="can't be reached") as told:
            await client.read("faults/key")
        assert "127.0.0.1" in str(told.value)
