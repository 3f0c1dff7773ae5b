"""A registry over a real index and blobs in memory, whose clocks go when they are told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.keeping import Keeping
from entrepot.core.names import RepositoryName, Tag, parse_reference
from entrepot.core.timekeeping import Reading
from entrepot.db import Database, Transaction
from entrepot.services import delete, pull
from entrepot.services.audit import Trail
from entrepot.services.collecting import Collector, Pace
from entrepot.services.push import ManifestRules, PushedManifest, put_manifest
from entrepot.services.stores import Stores
from entrepot.services.uploads import Part, Uploads
from entrepot.storage import BlobStore
from entrepot.storage.memory import MemoryStore
from entrepot.telemetry import Metrics
from tests.wire.images import Image

SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
START = 1_700_000_000 * SECOND
GRACE, TRASH = 1000 * SECOND, 3000 * SECOND
KEEPING = Keeping(grace=GRACE, trash=TRASH)
A, B = RepositoryName("a"), RepositoryName("b")


@dataclass
class Clocks:
    """One that can be set, and one that goes evenly."""

    wall: int = START
    ran: int = 5 * SECOND
    boot: str = "one"

    def __call__(self) -> int:
        return self.wall

    def read(self) -> Reading:
        return Reading(self.wall, self.ran, self.boot)

    def go(self, microseconds: int) -> None:
        """Let time pass."""
        self.wall += microseconds
        self.ran += microseconds


def part(data: bytes) -> Part:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    return Part(body=stream(), position=None, length=len(data))


async def always() -> int | None:
    """Since when the store has been the index's."""
    return 0


@dataclass
class Site:
    """Everything that services work on, and a collector."""

    index: Database
    metrics: Path
    clocks: Clocks = field(default_factory=Clocks)
    keeping: Keeping = KEEPING
    memory: MemoryStore = field(default_factory=MemoryStore)
    find_owned_since: Callable[[], Awaitable[int | None]] = always

    def __post_init__(self) -> None:
        self.memory = MemoryStore(now=self.clocks)
        self.stores = self.stores_on(self.index, self.memory)
        self.uploads = Uploads(self.stores, key=b"key", pauses=(0,) * 8)
        self.collector = self.collect_as("one")

    def stores_on(self, index: Database, blobs: BlobStore) -> Stores:
        trail = Trail(index, now=self.clocks)
        return Stores(index, blobs, self.memory, self.clocks, trail, keeping=self.keeping)

    def collect_as(
        self, owner: str, *, stores: Stores | None = None, batch: int = 100, busy: float = 0.0
    ) -> Collector:
        return Collector(
            stores or self.stores,
            owner=owner,
            read_clocks=self.clocks.read,
            find_owned_since=self.find_owned_since,
            metrics=Metrics(self.metrics),
            pace=Pace(batch=batch),
            busyness=lambda: busy,
        )

    # What clients do ----------------------------------------------------------------------------

    async def push_blob(self, name: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        await self.uploads.finish(self.uploads.begin(RepositoryName(name)), part(data), digest)
        return digest

    async def put(self, name: str, reference: str, image: Image) -> Digest:
        pushed = PushedManifest(
            name=RepositoryName(name),
            reference=parse_reference(reference),
            payload=image.manifest.data,
            content_type=image.manifest.media_type,
        )
        return (await put_manifest(self.stores, pushed, rules=ManifestRules()))[0]

    async def push(self, name: str, reference: str, image: Image) -> Digest:
        """Push an image with all that it needs."""
        for blob in image.blobs:
            await self.push_blob(name, blob.data)
        for child in image.children:
            await self.push(name, child.digest, child)
        return await self.put(name, reference, image)

    async def untag(self, name: str, tag: str) -> None:
        await delete.delete_reference(self.stores, RepositoryName(name), Tag(tag), by=NOBODY)

    async def delete(self, name: str, digest: str) -> None:
        await delete.delete_reference(self.stores, RepositoryName(name), Digest(digest), by=NOBODY)

    async def pull(self, name: str, reference: str) -> bytes:
        """A manifest as a client gets it."""
        wanted = parse_reference(reference)
        found = await pull.resolve(self.stores, RepositoryName(name), wanted, accept=None, pulls=1)
        return found.payload

    async def fetch(self, name: str, digest: str) -> bytes:
        """A blob as a client gets it."""
        reader = await pull.open_blob(self.stores, RepositoryName(name), Digest(digest))
        data = await reader.read(0, reader.size)
        reader.close()
        return data

    # What there is ------------------------------------------------------------------------------

    async def manifests(self) -> set[str]:
        rows = await self.index.fetch_all("SELECT digest FROM manifests", {})
        return {Digest.unpack(row[0]) for row in rows}

    async def links(self) -> set[tuple[int, str]]:
        rows = await self.index.fetch_all("SELECT repository_id, digest FROM repository_blobs", {})
        return {(row[0], Digest.unpack(row[1])) for row in rows}

    async def blobs(self) -> set[str]:
        """By the index."""
        rows = await self.index.fetch_all("SELECT digest FROM blobs", {})
        return {Digest.unpack(row[0]) for row in rows}

    async def objects(self) -> set[str]:
        """By the store."""
        pages = [page async for page in self.memory.stored("sha")]
        return {blob.digest for page in pages for blob in page}

    async def count(self, table: str) -> int:
        return int((await self.index.fetch_all(f"SELECT COUNT(*) FROM {table}", {}))[0][0])

    async def change(self, sql: str, **values: object) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute(sql, values)

        await self.index.write(work)

    # What the collector does --------------------------------------------------------------------

    async def collect(self) -> None:
        """Until there is nothing to do at this time."""
        while await self.collector.step():
            pass

    async def collect_for(self, microseconds: int, *, pieces: int = 8) -> None:
        """While time passes."""
        for _ in range(pieces):
            self.clocks.go(microseconds // pieces)
            await self.collect()


@asynccontextmanager
async def opened(index: Database, metrics: Path) -> AsyncIterator[Site]:
    try:
        yield Site(index, metrics)
    finally:
        await index.close()
