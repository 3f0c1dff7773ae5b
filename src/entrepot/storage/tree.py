"""What taking over `registry:2`'s storage needs: files by their paths, wherever they lie.

Paths are relative to the root of the storage, with `/` between their parts. What is large comes in
pages, so that memory does not grow with the storage.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from entrepot.storage.errors import StorageError


class File(NamedTuple):
    """A file: its path, its bytes, when it was last written (microseconds since 1970). A folder
    that can't be read is listed like a file, with `error` saying why.
    """

    path: str
    size: int
    modified: int
    error: str | None = None


class Tree(Protocol):
    """Files below a root. Every method raises `StorageError` when the store as a whole fails."""

    def names(self, path: str) -> AsyncIterator[list[str]]:
        """Yield the names of the folders directly in a folder, in pages and in any order; nothing
        if there is no such folder.
        """

    def files(self, path: str) -> AsyncIterator[list[File]]:
        """Yield all files below a folder, in pages, in any order that keeps what is in one folder
        together; nothing if there is no such folder.
        """

    async def read_many(
        self, paths: Sequence[str], *, most: int
    ) -> list[bytes | StorageError | None]:
        """Return the content of small files: an error for one that can't be read or has more than
        `most` bytes, None for one that is not there.
        """

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """Return the bytes of files, None for one that is not there or can't be looked at."""

    def pieces(self, path: str) -> AsyncIterator[bytes]:
        """Yield the content of a file of any size. Raises `StorageError` if there is none."""

    async def write_many(self, files: Sequence[tuple[str, bytes, int]]) -> None:
        """Write small files whole: path, content, and when to say that it was written, where the
        store can say so. What was there is replaced.
        """

    async def settle(self) -> None:
        """Make everything that was written before, by whomever, survive a power cut."""

    async def delete_many(self, paths: Sequence[str]) -> None:
        """Remove files, and folders that have become empty. One that is not there is no error."""


class OwnTree(Tree, Protocol):
    """The storage of a registry, which others may take for theirs at the same moment."""

    async def create(self, path: str, data: bytes) -> None:
        """Write a small file whole, to survive a power cut, unless there is one: of several who do
        that at the same moment, one does. Which one, reading it tells.
        """
