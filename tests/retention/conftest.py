"""A registry with policies, whose clock goes when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from entrepot.core.names import RepositoryName
from entrepot.core.retention import RETENTION
from entrepot.core.retention_policy import read_document
from entrepot.core.work import FORMS, Run
from entrepot.db.address import IndexAddress
from entrepot.db.opening import migrate_index, open_index
from entrepot.services import discovery
from entrepot.services.audit import Trail
from entrepot.services.namespaces import Namespaces
from entrepot.services.retaining import Retainer
from entrepot.services.retention import Plan, Planner, Policies, known_policies
from entrepot.services.runs import Runs
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.services.work import Does, Runner
from entrepot.storage.memory import MemoryStore
from tests.unit.services.conftest import SECOND, Clock, Site
from tests.wire.images import Image, image

DAY = 86_400 * SECOND


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Scene:
    """The registry, and what is asked of it."""

    site: Site
    policies: Policies
    namespaces: Namespaces
    runs: Runs

    @property
    def stores(self) -> Stores:
        return self.site.stores

    @property
    def clock(self) -> Clock:
        return self.site.clock

    async def push(self, name: str, *tags: str, made: Image | None = None) -> None:
        """Push images of their own, a day after each other, the last of them now."""
        for number, tag in enumerate(tags):
            if number:
                self.clock.now += DAY
            await self.site.push(name, tag, made or image(f"{name}-{tag}"))

    async def keep(self, namespace: str, *rules: dict[str, Any], **more: Any) -> None:
        """Give a namespace a policy."""
        document = read_document({"rules": list(rules), **more})
        await self.policies.set(namespace, document, by="test")

    async def tags(self, name: str) -> list[str]:
        """The tags of a repository."""
        page = await discovery.list_tags(self.stores, RepositoryName(name), last="", limit=None)
        return page.names

    async def plans(self, namespace: str = "", **options: Any) -> dict[str, Plan]:
        """What would become of every repository."""
        policies = await known_policies(self.stores.index)
        planner = Planner(self.stores, policies, now=self.clock.now, **options)
        return {plan.name: plan async for plan in planner.plans(namespace)}

    async def going(self, namespace: str = "") -> dict[str, list[str]]:
        """The tags that would go, of every repository that loses some."""
        plans = (await self.plans(namespace)).items()
        found = {name: [fate.tag for fate in plan.going] for name, plan in plans}
        return {name: tags for name, tags in found.items() if tags}

    def runner(self, does: Does | None = None) -> Runner:
        """A process that does what is asked for."""

        async def tell_time() -> int:
            return self.clock.now

        usual = Retainer(self.stores, tell_time=tell_time).run
        return Runner(
            self.stores.index,
            now=self.clock,
            trail=self.stores.trail,
            kinds={RETENTION: does or usual},
            node="test",
        )

    async def run(self, runner: Runner | None = None, **settings: Any) -> Run:
        """Ask for a run, and wait for its end."""
        asked = await self.runs.request(RETENTION, settings, by="test")
        await ended(runner or self.runner())
        return await self.runs.find(asked.id)


async def ended(runner: Runner) -> None:
    """Begin what is due, and wait for its end."""
    await runner.turn()
    await asyncio.gather(*runner._running.values())


@asynccontextmanager
async def open_scene(address: IndexAddress) -> AsyncIterator[Scene]:
    """A registry whose index is there."""
    index, store, clock = open_index(address), MemoryStore(), Clock()
    trail = Trail(index, now=clock)
    stores = Stores(index, store, store, clock, trail)
    yield Scene(
        Site(stores, Uploads(stores, key=b"key"), clock),
        Policies(index, now=clock, trail=trail),
        Namespaces(index, now=clock, trail=trail),
        Runs(index, now=clock, trail=trail, kinds=FORMS),
    )
    await index.close()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """With an index in SQLite."""
    address = IndexAddress(f"sqlite://{tmp_path / 'index.sqlite3'}")
    migrate_index(address)
    async with open_scene(address) as opened:
        yield opened


@pytest.fixture
async def each_scene(index_address: IndexAddress) -> AsyncIterator[Scene]:
    """In each engine in turn."""
    async with open_scene(index_address) as opened:
        yield opened
