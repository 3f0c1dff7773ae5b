"""A real index in a file, and another process that works on the same one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from entrepot.db.sqlite import SqliteDatabase
from tests.sqlite import make_index


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty index with the newest schema."""
    file = tmp_path / "index.sqlite3"
    make_index(file)
    return file


@pytest.fixture
async def index(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    yield database
    await database.close()
