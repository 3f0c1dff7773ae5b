"""Services over a real index and blobs in memory, with a clock that goes when it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, parse_reference
from entrepot.db.address import IndexAddress
from entrepot.db.opening import open_index
from entrepot.services.audit import Trail
from entrepot.services.push import ManifestRules, PushedManifest, put_manifest
from entrepot.services.stores import Stores
from entrepot.services.uploads import Part, Uploads
from entrepot.storage.memory import MemoryStore
from tests.wire.images import Image

START = 1_700_000_000_000_000
SECOND = 1_000_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """Microseconds since 1970."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


def part(*pieces: bytes) -> Part:
    """A body in these pieces, with its length."""
    return Part(body=stream(*pieces), position=None, length=sum(map(len, pieces)))


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@dataclass(frozen=True)
class Site:
    """Everything that services work on."""

    stores: Stores
    uploads: Uploads
    clock: Clock

    async def push_blob(self, name: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        state = self.uploads.begin(RepositoryName(name))
        await self.uploads.finish(state, part(data), digest)
        return digest

    async def put(
        self,
        name: str,
        reference: str,
        image: Image,
        *,
        rules: ManifestRules | None = None,
    ) -> Digest:
        """Put the manifest alone."""
        pushed = PushedManifest(
            name=RepositoryName(name),
            reference=parse_reference(reference),
            payload=image.manifest.data,
            content_type=image.manifest.media_type,
        )
        stored = await put_manifest(self.stores, pushed, rules=rules or ManifestRules())
        return stored.digest

    async def push(self, name: str, reference: str, image: Image) -> Digest:
        """Push an image with all that it needs."""
        for blob in image.blobs:
            await self.push_blob(name, blob.data)
        for child in image.children:
            await self.push(name, child.digest, child)
        return await self.put(name, reference, image)


@pytest.fixture
async def site(index_address: IndexAddress) -> AsyncIterator[Site]:
    """In each engine in turn."""
    index, store, clock = open_index(index_address), MemoryStore(), Clock()
    stores = Stores(index, store, store, clock, Trail(index, now=clock))
    yield Site(stores, Uploads(stores, key=b"key"), clock)
    await index.close()
