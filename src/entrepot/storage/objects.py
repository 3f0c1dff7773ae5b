"""What the registry needs of an object store. One suite of tests holds all drivers to it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing: its key, its bytes, when it was last written (seconds since 1970)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload that was begun and not completed, and when (seconds since 1970)."""

    key: str
    token: str
    begun: float


class ObjectClient(Protocol):
    """One bucket or container. Keys are whole.

    Every method repeats what may be repeated, with back-off, when the store is throttling (429, 503
    SlowDown), fails (500, 502, 504) or can't be reached, and then raises `StorageError` with what
    the store answered. A request is counted and timed by the `observe` that the driver is given.
    """

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return an object's bytes, or a part of them, or None if there is no such object."""

    async def size(self, key: str) -> int | None:
        """Return an object's bytes, or None if there is no such object."""

    async def put(self, key: str, data: bytes) -> None:
        """Write an object whole; what was there is replaced at once or not at all."""

    async def copy(self, source: str, target: str, *, size: int) -> None:
        """Copy an object of `size` bytes, of any size, inside the store."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, as many as there are; one that is not there is no error."""

    def entries(self, prefix: str, *, after: str = "") -> AsyncIterator[Entry]:
        """Yield the objects whose keys begin with `prefix` and are greater than `after`, in the
        order of their keys.
        """

    async def address(self, key: str, *, seconds: int, method: str = "GET") -> str | None:
        """Return a URL by which anyone may read the object for `seconds`, made without asking the
        store, or None if the credentials can't sign.
        """

    async def close(self) -> None:
        """Release connections."""


class MultipartClient(Protocol):
    """Objects written in parts, by any number of requests and processes."""

    least: int
    """Bytes that every part but the last must have."""

    most: int
    """Parts that an upload may have."""

    async def begin(self, key: str) -> str:
        """Begin an upload and return its token."""

    async def put_part(self, key: str, token: str, number: int, data: bytes) -> str:
        """Write part `number` (from 1; written again, it replaces itself) and return its mark.

        A mark stands for these very bytes: if somebody else writes the part again, completing with
        the old mark fails or gives the old bytes, and never takes the other's.
        """

    async def complete(self, key: str, token: str, marks: Sequence[str]) -> None:
        """Make the object of its parts, by their marks in order; what was there is replaced at
        once. May be repeated, also after it was done.
        """

    async def abort(self, key: str, token: str) -> None:
        """Drop an upload with its parts; one that is not there is no error."""

    def unfinished(self, prefix: str) -> AsyncIterator[Unfinished]:
        """Yield the uploads below `prefix` that were begun and not completed."""


class ConditionalClient(Protocol):
    """Objects that are written once."""

    async def create(self, key: str, data: bytes) -> None:
        """Write an object whole unless there is one: of several who do that at the same moment, one
        does. Which one, reading it tells.
        """


class ObjectDriver(ObjectClient, MultipartClient, ConditionalClient, Protocol):
    """All of it in one object."""
