"""Blobs as files where `registry:2` puts them; docs/storage-format.md describes the layout.

    ROOT/docker/registry/v2/blobs/sha256/ab/ab…/data    a blob
    ROOT/entrepot/uploads/UUID                          an upload

Bytes arrive in an upload's file, are complete and hashed before the file is renamed to a blob's
path, and are synced, all that a manifest needs together, when that manifest arrives.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar
from uuid import UUID, uuid4

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError
from entrepot.storage import durable
from entrepot.storage.appending import LARGE, Appender, Ways
from entrepot.storage.errors import StorageError, StorageFullError, UploadBusyError
from entrepot.storage.store import Hasher, StoredBlob

T = TypeVar("T")

_PAGE: Final = 512
"""Blobs of a folder that are looked at together."""

_SMALL_READ: Final = 65_536
"""Bytes up to which a read is tried at once; to try a larger one means to copy it twice."""

_SMALL: Final = 65_536
"""Bytes up to which a blob is left to the next sync, which comes soon."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}


def _converted(error: OSError) -> StorageError:
    """Return what the operating system says as one of the store's errors."""
    kind = StorageFullError if error.errno in _FULL else StorageError
    return kind(f"{error.strerror}: {error.filename or 'an open file'}")


class _StorageErrors:
    """Turn what the operating system says into the store's errors."""

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise _converted(error) from error


class _Reader:
    def __init__(self, store: "FilesystemStore", fd: int) -> None:
        self._store = store
        self._fd = fd
        self.size = os.fstat(fd).st_size

    async def read(self, start: int, length: int) -> bytes:
        """Read here what the page cache holds, which is faster than asking a thread; let a thread
        wait for the disk.
        """
        length = min(length, self.size - start)
        with _StorageErrors():
            if length <= _SMALL_READ:
                buffer = bytearray(length)
                if self._read_cached(buffer, start) == length:
                    return bytes(buffer)
            elif self._cached(start) and self._cached(start + length - 1):
                return os.pread(self._fd, length, start)
            return await self._store.run(partial(os.pread, self._fd, length, start))

    def _cached(self, position: int) -> bool:
        return self._read_cached(bytearray(1), position) == 1

    def _read_cached(self, buffer: bytearray, position: int) -> int:
        """Read what needs no waiting, and return how much that was."""
        try:
            return os.preadv(self._fd, [buffer], position, os.RWF_NOWAIT)
        except OSError:
            return 0

    def close(self) -> None:
        os.close(self._fd)


class _Writer:
    hasher: Hasher | None = None

    def __init__(self, store: "FilesystemStore", fd: int, path: str) -> None:
        self._store = store
        self._path = path
        self._began = self.size = os.fstat(fd).st_size
        self._file = Appender(fd, path, ways=store.ways, write_back=store.syncs)
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._pending: list[asyncio.Future[None]] = []

    async def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_size += len(data)
        self.size += len(data)
        if self._waiting_size >= LARGE:
            await self._submit()

    async def flush(self) -> None:
        if self._waiting:
            await self._submit()
        await self._settle()
        if self._file.gathers:
            with _StorageErrors():
                await self._store.run(self._file.finish)

    async def rollback(self) -> None:
        self._waiting, self._waiting_size = [], 0
        with suppress(StorageError):
            await self._settle()
        with _StorageErrors():
            self._file.abandon(self._began)
        self.size = self._began

    def abandon(self) -> None:
        """Give up what is only gathered."""
        self._file.abandon()

    async def digest(self, algorithm: str) -> Digest:
        await self.flush()
        with _StorageErrors():
            return await self._store.run(partial(_hash_file, self._path, algorithm))

    async def publish(self, digest: Digest) -> None:
        await self.flush()
        with _StorageErrors():
            await self._store.run(partial(self._store.move, self._path, digest))

    async def discard(self) -> None:
        with _StorageErrors(), suppress(FileNotFoundError):
            await self._store.run(partial(os.unlink, self._path))

    async def _submit(self) -> None:
        """Have a batch written and hashed, each by a thread: one waits for the disk meanwhile."""
        await self._settle()
        # In one piece: each call gives the interpreter's lock away, and waits to get it back.
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting, self._waiting_size = [], 0
        self._pending = [self._store.run(partial(self._file.append, data))]
        if self.hasher is not None:
            self._pending.append(self._store.run(partial(self.hasher.update, data)))

    async def _settle(self) -> None:
        if not self._pending:
            return
        await asyncio.wait(self._pending)  # a thread goes on although who waits is cancelled
        pending, self._pending = self._pending, []
        try:
            with _StorageErrors():
                for done in pending:
                    done.result()
        except StorageError:
            self._waiting, self._waiting_size = [], 0  # nothing may follow a gap
            raise


class _Timed:
    def __init__(self, observe: Callable[[str, float], None], action: str) -> None:
        self._observe = observe
        self._action = action
        self._began = time.perf_counter()

    def __enter__(self) -> None:
        """The clock runs from the beginning."""

    def __exit__(self, *_: object) -> None:
        self._observe(self._action, time.perf_counter() - self._began)


class FilesystemStore:
    """A `BlobStore` and an `UploadStore` under one directory.

    `threads` does what may wait for the disk. With `sync_files` None nothing is ever synced:
    a power cut may then lose what was acknowledged (`durability: relaxed`). `observe` is told the
    name and the seconds of each call.
    """

    durable_at_once = False

    def __init__(
        self,
        root: Path,
        *,
        threads: Executor,
        sync_files: Callable[[Iterable[str]], None] | None = durable.sync_files,
        observe: Callable[[str, float], None] = lambda _action, _seconds: None,
    ) -> None:
        self._blobs = os.fspath(root / "docker" / "registry" / "v2" / "blobs")
        self._uploads = os.fspath(root / "entrepot" / "uploads")
        self._threads = threads
        self._sync_files = sync_files
        self._observe = observe
        self.syncs = sync_files is not None
        self.ways = Ways()
        with _StorageErrors():
            os.makedirs(self._blobs, exist_ok=True)
            os.makedirs(self._uploads, exist_ok=True)

    def _timed(self, action: str) -> "_Timed":
        """Report how long a call took, under `registry:2`'s name for it."""
        return _Timed(self._observe, action)

    def run(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _path(self, digest: Digest) -> str:
        return f"{self._blobs}/{self.path(digest)}"

    def _upload_path(self, upload: UUID) -> str:
        return f"{self._uploads}/{upload}"

    # Blobs --------------------------------------------------------------------------------------

    async def open(self, digest: Digest) -> _Reader | None:
        with self._timed("Reader"), _StorageErrors():
            try:
                fd = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        return _Reader(self, fd)

    def path(self, digest: Digest) -> str | None:
        encoded = digest.hex
        return f"{digest.algorithm}/{encoded[:2]}/{encoded}/data"

    async def address(self, digest: Digest) -> str | None:  # noqa: ARG002
        return None

    async def size(self, digest: Digest) -> int | None:
        with self._timed("Stat"):
            return _size(self._path(digest))

    async def put(self, digest: Digest, data: bytes) -> None:
        with self._timed("PutContent"), _StorageErrors():
            self._put(digest, data)

    async def put_new(self, digest: Digest, data: bytes) -> bool:
        folder = os.path.dirname(self._path(digest))
        with self._timed("PutContent"), _StorageErrors():
            if not _make_directory(folder):
                return False
            try:
                self._put(digest, data)
            except BaseException:
                with suppress(OSError):
                    os.rmdir(folder)
                raise
        return True

    def _put(self, digest: Digest, data: bytes) -> None:
        temporary = self._upload_path(uuid4())
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), temporary)
                if self.syncs and len(data) > _SMALL:
                    durable.start_writeback(fd)
            finally:
                os.close(fd)
            self.move(temporary, digest)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def move(self, source: str, digest: Digest) -> None:
        """Rename a complete file to a blob's path; for a thread that may wait.

        A file that is there may be what the index calls durable, so only a durable file may take
        its place.
        """
        target = self._path(digest)
        for _ in range(2):
            try:
                self._move(source, target)
            except FileNotFoundError:  # also if a blob is deleted just now, with its folder
                _make_directory(os.path.dirname(target))
            else:
                return
        self._move(source, target)

    def _move(self, source: str, target: str) -> None:
        done = durable.rename_new(source, target)
        if not done:
            if self.syncs:
                durable.sync_file(source)
            os.rename(source, target)

    async def sync(self, digests: Iterable[Digest]) -> None:
        if self._sync_files is None:
            return
        paths = [self._path(digest) for digest in digests]
        if paths:
            with self._timed("Sync"), _StorageErrors():
                await self.run(partial(self._sync_files, paths))

    async def verify(self, digest: Digest) -> bool:
        with _StorageErrors():
            try:
                work = partial(_hash_file, self._path(digest), digest.algorithm)
                return await self.run(work) == digest
            except FileNotFoundError:
                return False

    async def delete(self, digests: Sequence[Digest]) -> Mapping[Digest, str]:
        with self._timed("Delete"):
            return await self.run(partial(self._delete, digests))

    def _delete(self, digests: Sequence[Digest]) -> dict[Digest, str]:
        failures = {}
        for digest in digests:
            path = self._path(digest)
            try:
                with suppress(FileNotFoundError):
                    os.unlink(path)
            except OSError as error:
                failures[digest] = str(_converted(error))
                continue
            with suppress(OSError):
                os.rmdir(os.path.dirname(path))
        return failures

    async def stored(self, prefix: str) -> AsyncIterator[list[StoredBlob]]:
        algorithm, _, digits = prefix.partition(":")
        found = _stored(f"{self._blobs}/{algorithm}/{digits}", algorithm)
        with _StorageErrors():
            while page := await self.run(lambda: list(islice(found, _PAGE))):
                yield page

    # Uploads ------------------------------------------------------------------------------------

    async def held(self, upload: UUID) -> int | None:
        return _size(self._upload_path(upload))

    @asynccontextmanager
    async def append(self, upload: UUID) -> AsyncIterator[_Writer]:
        path = self._upload_path(upload)
        with _StorageErrors():
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(fd, path)
            writer = _Writer(self, fd, path)
            try:
                yield writer
                await writer.flush()
            except StorageFullError:
                await writer.rollback()
                raise
            except BaseException:
                with suppress(StorageError):
                    await writer.flush()
                raise
            finally:
                writer.abandon()
        finally:
            os.close(fd)

    async def stale(self, *, before: float) -> Sequence[UUID]:
        with _StorageErrors():
            return await self.run(partial(self._stale, before))

    async def purge(self, upload: UUID) -> None:
        async with self.append(upload) as writer:
            await writer.discard()

    def _stale(self, before: float) -> list[UUID]:
        found = []
        with os.scandir(self._uploads) as entries:
            for entry in entries:
                with suppress(ValueError, FileNotFoundError):
                    if entry.stat().st_mtime < before:
                        found.append(UUID(entry.name))
        return found


def _make_directory(path: str) -> bool:
    """Make a directory with those that it is in; return whether it was not there before."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
    return True


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _converted(error) from error


def _stored(folder: str, algorithm: str) -> Iterator[StoredBlob]:
    """Look at each blob of a folder. A file comes to its place by being renamed, which changes its
    status but not its content: `st_ctime` says when that was.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(DigestInvalidError, FileNotFoundError, NotADirectoryError):
                    digest = Digest.parse(f"{algorithm}:{entry.name}")
                    facts = os.stat(f"{entry.path}/data")
                    yield StoredBlob(digest, facts.st_size, facts.st_ctime_ns // 1000)
    except FileNotFoundError:
        return


def _lock(fd: int, path: str) -> None:
    """Lock an upload's file, unless it is locked, or is no longer the upload's file."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UploadBusyError(f"{path} is being written") from None
    try:
        current = os.stat(path).st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        current = False
    if not current:
        raise UploadBusyError(f"{path} has just ended")


def _hash_file(path: str, algorithm: str) -> Digest:
    with open(path, "rb", buffering=0) as file:
        return Digest(f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}")
