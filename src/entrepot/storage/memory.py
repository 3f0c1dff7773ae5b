"""Blobs in memory, for trials and tests: they end with the process."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from entrepot.core.digest import Digest
from entrepot.storage.errors import UploadBusyError
from entrepot.storage.store import Hasher, StoredBlob


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    async def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def close(self) -> None:
        """Nothing is held."""


class _Upload:
    def __init__(self) -> None:
        self.data = bytearray()
        self.written = time.time()
        self.busy = False


class _Writer:
    hasher: Hasher | None = None

    def __init__(self, store: "MemoryStore", name: UUID) -> None:
        self._store = store
        self._name = name
        self._upload = store.uploads[name]
        self._began = self.size = len(self._upload.data)

    async def write(self, data: bytes) -> None:
        self._upload.data += data
        self.size += len(data)
        if self.hasher is not None:
            self.hasher.update(data)

    async def flush(self) -> None:
        """Nothing waits."""

    async def rollback(self) -> None:
        del self._upload.data[self._began :]
        self.size = self._began

    async def digest(self, algorithm: str) -> Digest:
        return Digest.of(bytes(self._upload.data), algorithm=algorithm)

    async def publish(self, digest: Digest) -> None:
        await self._store.put(digest, bytes(self._upload.data))
        await self.discard()

    async def discard(self) -> None:
        self._store.uploads.pop(self._name, None)


class MemoryStore:
    """A `BlobStore` and an `UploadStore`."""

    durable_at_once = False
    syncs = False

    def __init__(self, *, now: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        """`now` gives microseconds since 1970."""
        self._now = now
        self._blobs: dict[Digest, bytes] = {}
        self._placed: dict[Digest, int] = {}
        self.uploads: dict[UUID, _Upload] = {}

    async def open(self, digest: Digest) -> _Reader | None:
        data = self._blobs.get(digest)
        return None if data is None else _Reader(data)

    def path(self, digest: Digest) -> str | None:  # noqa: ARG002
        return None

    async def address(self, digest: Digest) -> str | None:  # noqa: ARG002
        return None

    async def size(self, digest: Digest) -> int | None:
        data = self._blobs.get(digest)
        return None if data is None else len(data)

    async def put(self, digest: Digest, data: bytes) -> None:
        self._blobs[digest] = data
        self._placed[digest] = self._now()

    async def put_new(self, digest: Digest, data: bytes) -> bool:
        if digest in self._blobs:
            return False
        await self.put(digest, data)
        return True

    async def sync(self, digests: Iterable[Digest]) -> None:
        """Memory is as durable as it will ever be."""

    async def verify(self, digest: Digest) -> bool:
        data = self._blobs.get(digest)
        return data is not None and Digest.of(data, algorithm=digest.algorithm) == digest

    async def delete(self, digests: Sequence[Digest]) -> Mapping[Digest, str]:
        for digest in digests:
            self._blobs.pop(digest, None)
            self._placed.pop(digest, None)
        return {}

    async def stored(self, prefix: str) -> AsyncIterator[list[StoredBlob]]:
        found = [digest for digest in self._blobs if digest.startswith(prefix)]
        yield [StoredBlob(d, len(self._blobs[d]), self._placed[d]) for d in found]

    async def held(self, upload: UUID) -> int | None:
        found = self.uploads.get(upload)
        return None if found is None else len(found.data)

    @asynccontextmanager
    async def append(self, upload: UUID) -> AsyncIterator[_Writer]:
        found = self.uploads.setdefault(upload, _Upload())
        if found.busy:
            raise UploadBusyError(f"upload {upload} is being written")
        found.busy = True
        try:
            yield _Writer(self, upload)
        finally:
            found.busy = False
            found.written = time.time()

    async def stale(self, *, before: float) -> Sequence[UUID]:
        return [upload for upload, found in self.uploads.items() if found.written < before]

    async def purge(self, upload: UUID) -> None:
        async with self.append(upload) as writer:
            await writer.discard()
