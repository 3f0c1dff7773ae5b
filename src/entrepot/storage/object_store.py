"""Blobs as objects where `registry:2` puts them; docs/storage-format.md describes the layout.

    ROOT/docker/registry/v2/blobs/sha256/ab/ab…/data    a blob
    ROOT/entrepot/uploads/UUID/…                        what an upload holds

Drivers are `ObjectClient`s; everything that is the same for all of them is here and in
`object_uploads`.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError
from entrepot.core.layout import blob_digest
from entrepot.storage.errors import StorageError, StorageFullError, UploadBusyError
from entrepot.storage.object_uploads import ObjectWriter, Place
from entrepot.storage.objects import MultipartClient, ObjectClient
from entrepot.storage.sessions import UploadSessions
from entrepot.storage.store import StoredBlob

T = TypeVar("T")

WINDOW: Final = 8 * 1_048_576
"""Bytes that are asked for at once by who reads on and on."""

_PAGE: Final = 512
"""Blobs of a listing that are looked at together."""

REDIRECT_SECONDS: Final = 20 * 60
"""How long a client may use the address to which it was sent."""


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """`root` is the prefix of all keys, `part_size` the bytes of one part of an upload; with
    `redirect` clients fetch blobs from the store themselves.
    """

    root: str = ""
    part_size: int = 10 * 1_048_576
    redirect: bool = True

    @property
    def prefix(self) -> str:
        """What every key begins with: nothing, or something that ends in a slash."""
        root = self.root.strip("/")
        return f"{root}/" if root else ""


class _Reader:
    """Asks for what is wanted, and for more at once when it is read on from where it ended."""

    def __init__(self, client: ObjectClient, key: str, size: int) -> None:
        self._client = client
        self._key = key
        self.size = size
        self._ahead = b""
        self._start = 0
        self._next = -1

    async def read(self, start: int, length: int) -> bytes:
        length = min(length, self.size - start)
        if length <= 0:
            return b""
        end = self._start + len(self._ahead)
        if not self._start <= start < end:
            wanted = max(length, WINDOW) if start == self._next else length
            self._ahead, self._start = await self._fetch(start, wanted), start
        offset = start - self._start
        data = self._ahead[offset : offset + length]
        self._next = start + len(data)
        return data

    async def _fetch(self, start: int, length: int) -> bytes:
        length = min(length, self.size - start)
        data = await self._client.read(self._key, start=start, length=length)
        if data is None or len(data) != length:
            raise StorageError(f"{self._key} became shorter while it was read")
        return data

    def close(self) -> None:
        self._ahead = b""


class ObjectStore:
    """A `BlobStore` and an `UploadStore` in a bucket.

    `client` and `parts` are the driver's two halves. `threads` hashes.
    """

    durable_at_once = True
    syncs = False

    def __init__(
        self,
        client: ObjectClient,
        parts: MultipartClient,
        sessions: UploadSessions,
        *,
        threads: Executor,
        options: ObjectOptions,
    ) -> None:
        self._client = client
        self._parts = parts
        self._sessions = sessions
        self._threads = threads
        self._options = options
        self._root = len(options.prefix)
        self._blobs = f"{options.prefix}docker/registry/v2/blobs/"
        self._uploads = f"{options.prefix}entrepot/uploads/"
        self._writing: set[UUID] = set()

    def run(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def key(self, digest: Digest) -> str:
        """Return the key of a blob."""
        encoded = digest.hex
        return f"{self._blobs}{digest.algorithm}/{encoded[:2]}/{encoded}/data"

    # Blobs --------------------------------------------------------------------------------------

    async def open(self, digest: Digest) -> _Reader | None:
        key = self.key(digest)
        size = await self._client.size(key)
        return None if size is None else _Reader(self._client, key, size)

    def path(self, digest: Digest) -> str | None:  # noqa: ARG002
        return None

    async def address(self, digest: Digest) -> str | None:
        if not self._options.redirect:
            return None
        return await self._client.address(self.key(digest), seconds=REDIRECT_SECONDS)

    async def size(self, digest: Digest) -> int | None:
        return await self._client.size(self.key(digest))

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._client.put(self.key(digest), data)

    async def put_new(self, digest: Digest, data: bytes) -> bool:  # noqa: ARG002
        return False

    async def sync(self, digests: Iterable[Digest]) -> None:
        """What the store acknowledged is as durable as it will ever be."""

    async def verify(self, digest: Digest) -> bool:
        reader = await self.open(digest)
        if reader is None:
            return False
        running = hashlib.new(digest.algorithm)
        for start in range(0, reader.size, WINDOW):
            data = await reader.read(start, WINDOW)
            await self.run(lambda data=data: running.update(data))  # type: ignore[misc]
        return running.hexdigest() == digest.hex

    async def delete(self, digests: Sequence[Digest]) -> Mapping[Digest, str]:
        with suppress(StorageError):
            await self._client.delete([self.key(digest) for digest in digests])
            return {}
        failures = {}
        for digest in digests:  # which of them it was is known only one by one
            try:
                await self._client.delete([self.key(digest)])
            except StorageError as error:
                failures[digest] = str(error)
        return failures

    async def stored(self, prefix: str) -> AsyncIterator[list[StoredBlob]]:
        algorithm, _, digits = prefix.partition(":")
        page: list[StoredBlob] = []
        async for entry in self._client.entries(f"{self._blobs}{algorithm}/{digits}/"):
            with suppress(DigestInvalidError):
                digest = blob_digest(entry.key[self._root :])
                page.append(StoredBlob(digest, entry.size, int(entry.modified * 1_000_000)))
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    # Uploads ------------------------------------------------------------------------------------

    async def held(self, upload: UUID) -> int | None:
        session = await self._sessions.find(upload)
        return None if session is None else session.size

    @asynccontextmanager
    async def append(self, upload: UUID) -> AsyncIterator[ObjectWriter]:
        if upload in self._writing:
            raise UploadBusyError(f"upload {upload} is being written")
        self._writing.add(upload)
        try:
            session = await self._sessions.find(upload)
            if session is not None and session.busy_until > time.time():
                raise UploadBusyError(f"upload {upload} is being written by another process")
            writer = ObjectWriter(self._place(upload), session)
            try:
                yield writer
                await writer.close()
            except StorageFullError:
                with suppress(StorageError):
                    await writer.rollback()
                    await writer.close()
                raise
            except BaseException:
                with suppress(StorageError):
                    await writer.close()
                raise
            finally:
                writer.end()
        finally:
            self._writing.discard(upload)

    def _place(self, upload: UUID) -> Place:
        return Place(
            upload=upload,
            client=self._client,
            parts=self._parts,
            sessions=self._sessions,
            run=self.run,
            blob_key=self.key,
            prefix=self._folder(upload),
            part_size=max(self._options.part_size, self._parts.least),
        )

    def _folder(self, upload: UUID) -> str:
        return f"{self._uploads}{upload}/"

    async def stale(self, *, before: float) -> Sequence[UUID]:
        """Those that are written down, and what lies in the store although nobody knows it."""
        found = list(await self._sessions.stale(before=before))
        touched: dict[UUID, float] = {}
        async for entry in self._client.entries(self._uploads):
            self._touch(touched, entry.key, entry.modified)
        async for begun in self._parts.unfinished(self._uploads):
            self._touch(touched, begun.key, begun.begun)
        for upload, last in touched.items():
            if last < before and await self._sessions.find(upload) is None:
                found.append(upload)
        return found

    def _touch(self, touched: dict[UUID, float], key: str, when: float) -> None:
        with suppress(ValueError):
            upload = UUID(key.removeprefix(self._uploads).partition("/")[0])
            touched[upload] = max(touched.get(upload, 0.0), when)

    async def purge(self, upload: UUID) -> None:
        session = await self._sessions.find(upload)
        if upload in self._writing or (session and session.busy_until > time.time()):
            raise UploadBusyError(f"upload {upload} is being written")
        if session and not await self._sessions.remove(upload, mark=session.mark):
            raise UploadBusyError(f"upload {upload} is being written")
        folder = self._folder(upload)
        async for begun in self._parts.unfinished(folder):
            await self._parts.abort(begun.key, begun.token)
        await self._client.delete([entry.key async for entry in self._client.entries(folder)])
