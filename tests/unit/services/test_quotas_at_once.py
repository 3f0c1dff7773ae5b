"""Many pushes at the same time into a namespace with a quota: they don't wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import asyncpg
import pytest

from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.audit import Trail
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.storage.memory import MemoryStore
from tests.postgres import Postgres
from tests.unit.services.conftest import Clock, Site
from tests.unit.services.test_quotas import MANY, limit, there, used, work
from tests.wire import images

pytestmark = pytest.mark.anyio

PUSHES = 60
WORKERS = 2
ROLLBACKS = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
WAITS = """
    SELECT pid, xact_start FROM pg_stat_activity
    WHERE wait_event IN ('transactionid', 'tuple') AND datname = current_database()
"""


class Course(NamedTuple):
    """How the pushes went: transactions that were undone, and those that were seen to wait for the
    end of another one that had changed the same row.
    """

    undone: int
    waited: int


async def push_at_once(url: str, *, quota: bool) -> Course:
    sites = [open_site(url) for _ in range(WORKERS)]
    if quota:
        for resource in ("bytes", "tags"):
            await limit(sites[0], "/", resource, MANY)
        await work(sites[0])
    shared = images.image("shared")
    await sites[0].push("first", "1", shared)

    async def push(number: int) -> None:
        site = sites[number % WORKERS]
        await site.push(f"r{number}", "own", images.image(f"own {number}"))
        await site.push(f"r{number}", "shared", shared)

    waited: set[tuple[int, datetime]] = set()
    watcher = await asyncpg.connect(url)
    before = (await watcher.fetch(ROLLBACKS))[0][0]
    async with asyncio.TaskGroup() as group:
        pushes = [group.create_task(push(number)) for number in range(PUSHES)]
        while not all(each.done() for each in pushes):
            waited.update(tuple(row) for row in await watcher.fetch(WAITS))
    if quota:
        assert await used(sites[0], "") == await there(sites[0], "")
    for site in sites:
        await site.stores.index.close()
    undone = (await watcher.fetch(ROLLBACKS))[0][0] - before
    await watcher.close()
    return Course(undone, len(waited))


def open_site(url: str) -> Site:
    """As a worker of its own would have it."""
    index = open_index(IndexAddress(url, connections=16, connect_timeout=60))
    store, clock = MemoryStore(), Clock()
    stores = Stores(index, store, store, clock, Trail(index, now=clock))
    return Site(stores, Uploads(stores, key=b"key"), clock)


@pytest.fixture
def another_url(postgres: Postgres) -> Iterator[str]:
    url = postgres.database()
    yield url
    postgres.drop(url)


async def test_pushes_into_a_quota_do_not_wait_for_each_other(
    postgres_url: str, another_url: str
) -> None:
    """No more transactions wait for rows of others, or are run again, than without a quota;
    what is used is exact. That some are run again is the price of running as if one came after the
    other, and in a small index they often read the same pages; writers take turns (an advisory
    lock) from the third time on.
    """
    free = await push_at_once(postgres_url, quota=False)
    held = await push_at_once(another_url, quota=True)
    assert held.waited <= free.waited + PUSHES
    assert held.undone <= 1.5 * free.undone + PUSHES
