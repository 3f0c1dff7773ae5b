"""Every blob store, fresh and empty, for the suite that holds them all to the contract."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest

from entrepot.storage import BlobStore, UploadStore
from entrepot.storage.filesystem import FilesystemStore
from entrepot.storage.memory import MemoryStore


class Store(BlobStore, UploadStore, Protocol):
    """A driver: both halves in one object."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture(params=["filesystem", "relaxed filesystem", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, threads: ThreadPoolExecutor) -> Store:
    """An empty store of every driver."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "relaxed filesystem":
        return FilesystemStore(tmp_path / "root", threads=threads, sync_files=None)
    return FilesystemStore(tmp_path / "root", threads=threads)
