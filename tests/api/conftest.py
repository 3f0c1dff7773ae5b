"""A registry with users, as in tests/access."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.access.worlds import Open, open_estate


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def estate(tmp_path: Path) -> Open:
    """Opens a registry with the users that it is given."""
    return partial(open_estate, tmp_path)
