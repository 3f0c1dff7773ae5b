"""docs/storage-format.md against what real servers leave on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from entrepot.services.uploads import SMALL
from tests.conformance.pushing import push, send_stream, start_upload
from tests.servers import Registry, start_registry, wait_until
from tests.wire.images import image

PAGE = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text(encoding="utf-8")
PLACES = {
    "ALGORITHM": r"(?:sha256|sha512)",
    "AB/ABCD…": r"([0-9a-f]{2})/\1[0-9a-f]+",
    "UUID": r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with start_registry(tmp_path / "registry") as running:
        yield running


def layout() -> list[re.Pattern[str]]:
    """The paths at the top of the page, as patterns."""
    drawn = re.search(r"\n\n((?:    \S.*\n)+)", PAGE)
    assert drawn is not None
    patterns = [re.escape(line.split()[0]) for line in drawn[1].splitlines()]
    for name, pattern in PLACES.items():
        patterns = [one.replace(re.escape(name), pattern) for one in patterns]
    return [re.compile(pattern) for pattern in patterns]


def test_files_lie_where_it_is_said(registry: Registry) -> None:
    """Every file has a line, and every line a file, but for what health checks write."""
    with httpx.Client(base_url=registry.url) as http:
        push(http, "docs/layout", image("layout"), tag="1")
        push(http, "docs/layout", image("layout", algorithm="sha512"), tag="2")
        send_stream(http, start_upload(http, "docs/layout"), [b"unfinished"])
    lock = registry.root / "entrepot/upkeep.lock"
    wait_until(lock.exists, what="the upkeep, which begins a second after the workers")
    found = [path for path in registry.root.rglob("*") if path.is_file()]
    files = {path.relative_to(registry.root).as_posix() for path in found}
    lines = layout()
    assert {file for file in files if not any(line.fullmatch(file) for line in lines)} == set()
    unused = [line.pattern for line in lines if not any(line.fullmatch(file) for file in files)]
    assert unused == [r"\.entrepot\-health"]


def test_small_is_what_the_code_calls_small() -> None:
    assert f"A blob of up to {SMALL >> 20} MiB that comes in one request" in PAGE
