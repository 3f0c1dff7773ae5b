"""A registry whose clocks are told how late it is."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.db.address import IndexAddress
from entrepot.db.migrate import migrate
from entrepot.db.opening import open_index
from tests.collection.sites import Site, opened


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty index, to be copied."""
    path = tmp_path_factory.mktemp("template") / "index.sqlite3"
    migrate(path)
    return path


@pytest.fixture
async def site(template: Path, tmp_path: Path) -> AsyncIterator[Site]:
    path = shutil.copy(template, tmp_path / "index.sqlite3")
    async with opened(open_index(IndexAddress(f"sqlite://{path}"), durable=False), tmp_path) as it:
        yield it


@pytest.fixture
async def engine_site(index_address: IndexAddress, tmp_path: Path) -> AsyncIterator[Site]:
    """In each engine in turn."""
    async with opened(open_index(index_address), tmp_path) as it:
        yield it
