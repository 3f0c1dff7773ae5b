"""A registry with users, and an index with rights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from tests.access.worlds import ON, Open, Rights, open_estate


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def estate(tmp_path: Path) -> Open:
    """Opens a registry with the users that it is given."""
    return partial(open_estate, tmp_path)


@pytest.fixture
async def rights(index_address: IndexAddress) -> AsyncIterator[Rights]:
    """In each engine in turn."""
    index = open_index(index_address)
    yield Rights(index, ON)
    await index.close()
