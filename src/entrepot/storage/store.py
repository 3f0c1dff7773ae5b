"""What every blob store promises. One suite of tests holds all drivers to it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol
from uuid import UUID

from entrepot.core.digest import Digest


class BlobReader(Protocol):
    """A blob that is open for reading."""

    size: int
    """Bytes in all."""

    async def read(self, start: int, length: int) -> bytes:
        """Return `length` bytes from position `start`, or fewer at the end.

        Raises:
            StorageError: the store failed.
        """

    def close(self) -> None:
        """Release the blob. Reading is over."""


class StoredBlob(NamedTuple):
    """An object of the store that is named like a blob: its bytes, and when it came to its place
    (microseconds since 1970).
    """

    digest: Digest
    size: int
    placed_at: int


class BlobStore(Protocol):
    """Complete blobs, by digest. Every method raises `StorageError` when the store fails."""

    durable_at_once: bool
    """Whether what was put or published survives a power cut without `sync`."""

    syncs: bool
    """Whether `sync` makes anything durable; if not, a power cut may take what it takes."""

    async def open(self, digest: Digest) -> BlobReader | None:
        """Open a blob for reading, or return None if the store has none by that digest."""

    def path(self, digest: Digest) -> str | None:
        """Return where a blob lies below the store's directory of blobs, for a server in front of
        the registry; None if it is no file.
        """

    async def address(self, digest: Digest) -> str | None:
        """Return a URL from which clients may fetch a blob themselves for a while, made without
        asking the store; None if they must fetch it here.
        """

    async def size(self, digest: Digest) -> int | None:
        """Return the bytes of a blob, or None if the store has none by that digest."""

    async def put(self, digest: Digest, data: bytes) -> None:
        """Store a small blob whose digest the caller has checked. Survives the death of the process
        when this returns, and a power cut once `sync` has returned.
        """

    async def put_new(self, digest: Digest, data: bytes) -> bool:
        """Do that if the store sees at once that it holds nothing of that name, and return whether
        it did: where it would have to ask, it does nothing.
        """

    async def sync(self, digests: Iterable[Digest]) -> None:
        """Make blobs that are in the store survive a power cut."""

    async def verify(self, digest: Digest) -> bool:
        """Return whether the store has the blob and its bytes have that digest."""

    async def delete(self, digests: Sequence[Digest]) -> Mapping[Digest, str]:
        """Remove blobs that the store has; return what went wrong with which of them. They may
        come back after a power cut.
        """

    def stored(self, prefix: str) -> AsyncIterator[list[StoredBlob]]:
        """Yield the blobs whose digests begin with `prefix`, an algorithm and two digits
        (`sha256:ab`), in pages and any order. What is not named like a blob is left out.
        """


class Hasher(Protocol):
    """A hash in the making, such as `hashlib.sha256()`."""

    def update(self, data: bytes, /) -> None:
        """Go on with more bytes."""


class UploadWriter(Protocol):
    """The end of an upload, locked against every other writer, in this process or another."""

    size: int
    """Bytes held so far, with what was written here."""

    hasher: Hasher | None
    """Updated with everything that is written while it is set, off the event loop."""

    async def write(self, data: bytes) -> None:
        """Append bytes. A failure may be raised by a later call."""

    async def flush(self) -> None:
        """Wait until everything written so far is hashed. It is held when the block ends."""

    async def rollback(self) -> None:
        """Take back what was written here, unless a `digest` or `publish` came too far for that."""

    async def digest(self, algorithm: str) -> Digest:
        """Return the digest of everything the upload holds, by reading it."""

    async def publish(self, digest: Digest) -> None:
        """Make what the upload holds the blob `digest`, which the caller has checked, and end the
        upload. Survives like `BlobStore.put`; a blob that was there stays whole at every moment.
        """

    async def discard(self) -> None:
        """Remove the upload with all it holds."""


class UploadStore(Protocol):
    """Blobs in the making, by upload. Every method raises `StorageError` when the store fails."""

    async def held(self, upload: UUID) -> int | None:
        """Return how many bytes an upload holds, or None if it does not exist."""

    def append(self, upload: UUID) -> AbstractAsyncContextManager[UploadWriter]:
        """Lock an upload and write to its end; it begins to exist if it did not.

        What was written stays when the block ends, however it ends, unless the store is full: then
        it is taken back to make room.

        Raises:
            UploadBusyError: another request is writing to it.
        """

    async def stale(self, *, before: float) -> Sequence[UUID]:
        """Return the uploads that were last written before a time (seconds since 1970)."""

    async def purge(self, upload: UUID) -> None:
        """Remove an upload and whatever else an interrupted writer left of it.

        Raises:
            UploadBusyError: a request is writing to it.
        """
