"""A registry to import into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Registry, start_registry


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Registry]:
    with start_registry(tmp_path / "new") as running:
        yield running
