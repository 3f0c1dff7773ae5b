"""Every blob store, fresh and empty, for the suite that holds them all to the contract."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import pytest

from entrepot.db.sqlite import SqliteDatabase
from entrepot.services.upload_sessions import IndexedSessions
from entrepot.storage import BlobStore, UploadStore
from entrepot.storage.filesystem import FilesystemStore
from entrepot.storage.memory import MemoryStore
from entrepot.storage.object_store import ObjectOptions, ObjectStore
from entrepot.storage.objects import ObjectDriver
from tests.emulators import Azurite, FakeGcs
from tests.objectstores import S3Server
from tests.sqlite import make_index

MIB = 1_048_576


class Store(BlobStore, UploadStore, Protocol):
    """A driver: both halves in one object."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@dataclass
class Bucket:
    """A place of its own in an object store, with the index of its uploads; `asked` are the
    requests that were sent there.
    """

    root: str
    client: ObjectDriver
    index: SqliteDatabase
    threads: ThreadPoolExecutor
    asked: list[str] = field(default_factory=list)

    def store(self, *, part_size: int = 5 * MIB) -> ObjectStore:
        """What one process has of it; of several, each has its own."""
        return ObjectStore(
            self.client,
            self.client,
            IndexedSessions(self.index, now=lambda: time.time_ns() // 1000),
            threads=self.threads,
            options=ObjectOptions(self.root, part_size),
        )

    async def keys(self) -> list[str]:
        """What lies in the store, without what all keys begin with."""
        return [
            entry.key.removeprefix(f"{self.root}/")
            async for entry in self.client.entries(f"{self.root}/")
        ]

    async def unfinished(self) -> list[str]:
        return [begun.key async for begun in self.client.unfinished(f"{self.root}/")]


Server = S3Server | FakeGcs | Azurite


@asynccontextmanager
async def open_bucket(
    server: Server, directory: Path, threads: ThreadPoolExecutor
) -> AsyncIterator[Bucket]:
    root, asked = f"storage/{uuid4()}", list[str]()
    path = directory / "index.sqlite3"
    make_index(path)
    index = SqliteDatabase(path)
    client: ObjectDriver = server.client("tests", observe=lambda action, _: asked.append(action))
    try:
        yield Bucket(root, client, index, threads, asked)
    finally:
        await client.close()
        await index.close()


OBJECT_STORES = {
    "SeaweedFS": "seaweedfs",
    "fake-gcs-server": "fake_gcs",
    "Azurite": "azurite",
    "Ceph": "ceph",
}
"""The fixtures that start them."""


@pytest.fixture(
    params=[
        *("SeaweedFS", "fake-gcs-server"),
        pytest.param("Azurite", marks=pytest.mark.clients),
        pytest.param("Ceph", marks=pytest.mark.ceph),
    ]
)
async def bucket(
    request: pytest.FixtureRequest, tmp_path: Path, threads: ThreadPoolExecutor
) -> AsyncIterator[Bucket]:
    """A place of its own in an object store."""
    server: Server = request.getfixturevalue(OBJECT_STORES[request.param])
    async with open_bucket(server, tmp_path, threads) as made:
        yield made


@pytest.fixture(
    params=[
        *("filesystem", "relaxed filesystem", "memory", "SeaweedFS", "fake-gcs-server"),
        pytest.param("Azurite", marks=pytest.mark.clients),
        pytest.param("Ceph", marks=pytest.mark.ceph),
    ]
)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, threads: ThreadPoolExecutor
) -> AsyncIterator[Store]:
    """An empty store of every driver."""
    if request.param == "memory":
        yield MemoryStore()
    elif request.param == "relaxed filesystem":
        yield FilesystemStore(tmp_path / "root", threads=threads, sync_files=None)
    elif request.param == "filesystem":
        yield FilesystemStore(tmp_path / "root", threads=threads)
    else:
        server: Server = request.getfixturevalue(OBJECT_STORES[request.param])
        async with open_bucket(server, tmp_path, threads) as made:
            yield made.store()
