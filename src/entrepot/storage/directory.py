"""Files below a directory, as an `OwnTree`."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Final, TypeVar

from entrepot.storage.durable import rename_new, sync_file
from entrepot.storage.errors import StorageError
from entrepot.storage.tree import File

T = TypeVar("T")

_PAGE: Final = 512
_PIECE: Final = 1_048_576


def _error(error: OSError) -> StorageError:
    return StorageError(f"{error.strerror}: {error.filename or 'an open file'}")


class DirectoryTree:
    """An `OwnTree` under `root`; `threads` do what may wait for the disk."""

    def __init__(self, root: Path, *, threads: Executor) -> None:
        self.root = os.fspath(root)
        """Where it is."""
        self._threads = threads

    def _run(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def names(self, path: str) -> AsyncIterator[list[str]]:
        async for page in self._pages(_names(f"{self.root}/{path}")):
            yield page

    async def files(self, path: str) -> AsyncIterator[list[File]]:
        async for page in self._pages(_files(self.root, path)):
            yield page

    async def _pages(self, entries: Iterator[T]) -> AsyncIterator[list[T]]:
        while page := await self._run(lambda: list(islice(entries, _PAGE))):
            yield page

    async def read_many(
        self, paths: Sequence[str], *, most: int
    ) -> list[bytes | StorageError | None]:
        return await self._run(lambda: [_read(f"{self.root}/{path}", most) for path in paths])

    async def sizes(self, paths: Sequence[str]) -> list[int | None]:
        return await self._run(lambda: [_size(f"{self.root}/{path}") for path in paths])

    async def pieces(self, path: str) -> AsyncIterator[bytes]:
        try:
            fd = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                while data := await self._run(partial(os.read, fd, _PIECE)):
                    yield data
            finally:
                os.close(fd)
        except OSError as error:
            raise _error(error) from error

    async def write_many(self, files: Sequence[tuple[str, bytes, int]]) -> None:
        await self._run(partial(_write_all, self.root, files))

    async def create(self, path: str, data: bytes) -> None:
        await self._run(partial(_create, f"{self.root}/{path}", data))

    async def settle(self) -> None:
        await self._run(os.sync)

    async def link(self, source: "DirectoryTree", path: str) -> bool:
        """Let a file of `source` lie here at the same path without copying it, by a hard link;
        return whether the file system could do that.
        """
        return await self._run(partial(_link, f"{source.root}/{path}", f"{self.root}/{path}"))

    async def delete_many(self, paths: Sequence[str]) -> None:
        await self._run(partial(_delete_all, self.root, paths))


def _link(source: str, target: str) -> bool:
    """Link beside and rename, so that a torn file is replaced by the whole one at once."""
    temporary = f"{target}.entrepot"
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.link(source, temporary)
        os.replace(temporary, target)
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # where both were the same file already, nothing was renamed
    except OSError:
        return False
    return True


def _names(path: str) -> Iterator[str]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _error(error) from error


def _files(root: str, path: str) -> Iterator[File]:
    """Walk depth first, holding one open folder for each level and no list of what is in it."""
    try:
        with os.scandir(f"{root}/{path}") as entries:
            for entry in entries:
                below = f"{path}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(root, below)
                    continue
                with suppress(FileNotFoundError):
                    facts = entry.stat()
                    yield File(below, facts.st_size, facts.st_mtime_ns // 1000)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield File(path, 0, 0, f"can't be read: {error.strerror}")


def _read(path: str, most: int) -> bytes | StorageError | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _error(error)
    try:
        size = os.fstat(fd).st_size
        if size > most:
            return StorageError(f"{path} has more than {most} bytes")
        return os.read(fd, size)
    except OSError as error:
        return _error(error)
    finally:
        os.close(fd)


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _write_all(root: str, files: Sequence[tuple[str, bytes, int]]) -> None:
    for path, data, modified in files:
        _write(f"{root}/{path}", data, modified)


def _write(path: str, data: bytes, modified: int) -> None:
    """Write beside and rename, so that nobody ever reads half of it."""
    temporary = f"{path}.entrepot"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.utime(file.fileno(), ns=(modified * 1000, modified * 1000))
        os.replace(temporary, path)
    except OSError as error:
        raise _error(error) from error


def _create(path: str, data: bytes) -> None:
    """Write beside, under a name that nobody else has, and rename to what no file is named, so that
    nobody ever reads half of it; that may happen where the file system knows no such rename.
    """
    folder, temporary = os.path.dirname(path), f"{path}.{token_hex(8)}"
    try:
        os.makedirs(folder, exist_ok=True)
        _write_new(temporary, data)
        if not rename_new(temporary, path):
            os.unlink(temporary)
            with suppress(FileExistsError):
                _write_new(path, data)
        sync_file(folder)
    except OSError as error:
        raise _error(error) from error


def _write_new(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _delete_all(root: str, paths: Sequence[str]) -> None:
    for path in paths:
        _delete(root, path)


def _delete(root: str, path: str) -> None:
    try:
        with suppress(FileNotFoundError):
            os.unlink(f"{root}/{path}")
    except OSError as error:
        raise _error(error) from error
    with suppress(OSError):  # ends at the first folder that is not empty
        while path := os.path.dirname(path):
            os.rmdir(f"{root}/{path}")
