"""Registries over storages that `registry:2` left, in this process and as servers."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from entrepot import app, moving
from entrepot.config import Config, load
from entrepot.db.imports import Finding, Import
from entrepot.health import HealthBoard
from tests.takeover.volume import Volume
from tests.unit.api.conftest import Answer, Site, running

HELD = "UPDATE imports SET lease_owner = 'somebody else', lease_expires_at = 9000000000000000"
FREED = "UPDATE imports SET lease_owner = NULL, lease_expires_at = NULL"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Site2(Site):
    """A registry in this process, asked in fewer words."""

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def names(self, path: str, key: str) -> list[str]:
        answer = await self.get(path)
        assert answer.status == 200, answer.body
        return list(json.loads(answer.body)[key])


class Old:
    """A storage of `registry:2`, and the registry that takes it over."""

    def __init__(self, root: Path) -> None:
        self.volume = Volume(root / "storage")
        self.root = self.volume.root
        self.config_path = root / "config.yml"
        self._metrics = root / "metrics"
        self._metrics.mkdir(parents=True)
        self.config_path.write_text(
            "version: 0.1\nlog: {accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.root}}}}}\n"
        )

    @property
    def config(self) -> Config:
        return load(self.config_path, {}).config

    def index(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the index."""
        path = self.root / "entrepot" / "index.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Site2]:
        """A registry that takes over only what it is asked for: somebody else has the lease and
        does nothing.
        """
        await asyncio.to_thread(app.prepare, self.config)
        self.index(HELD)
        async with self._running() as site:
            yield site

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Site2]:
        """A registry that has taken everything over."""
        await asyncio.to_thread(app.prepare, self.config)
        self.index(FREED)
        async with self._running() as site:
            await self.finished()
            yield site

    async def finished(self) -> None:
        """Wait for the end of the takeover."""
        async with asyncio.timeout(60):
            while self.index("SELECT 1 FROM imports WHERE finished_at IS NULL"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[Site2]:
        application = app.build(self.config, health=HealthBoard(), metrics=self._metrics)
        async with running(application) as site:
            yield Site2(site.application)

    # What imports say; in a thread, because they run an event loop of their own -----------------

    async def imports(self) -> list[Import]:
        return [entry for entry, _ in await asyncio.to_thread(moving.imports, self.config)]

    async def findings(self) -> dict[str, Finding]:
        """What the only import found, by place."""
        (entry,) = await self.imports()
        found = await asyncio.to_thread(moving.findings, self.config, entry)
        return {finding.place: finding for finding in found}

    def history(self, name: str, tag: str) -> list[tuple[str | None, int, str | None]]:
        """A tag's past, oldest first: digest, seconds, who did it."""
        rows = self.index(
            "SELECT lower(hex(substr(digest, 2))), changed_at, changed_by FROM tag_history "
            "JOIN repositories ON repositories.id = repository_id "
            f"WHERE repositories.name = '{name}' AND tag_history.name = '{tag}' "
            "ORDER BY tag_history.id"
        )
        return [(f"sha256:{r[0]}" if r[0] else None, r[1] // 1_000_000, r[2]) for r in rows]


@pytest.fixture
def old(tmp_path: Path) -> Old:
    return Old(tmp_path)
