"""Numbers of one process that other processes may read while it counts.

A file of fixed size, mapped into memory, holds the values; counting is an addition to the mapping,
with no system call, and is seen at once by whoever reads the file, also after `kill -9`. Its
parts, in the machine's byte order:

    0   8 bytes  magic
    8   u64      bytes used, this header included
    16  u64      process id of the writer
    24  u64      what the writer is: 0 a worker, 1 the upkeep
    32  records  u32 length of the key, u32 number of values, key (JSON, an array of texts), padded
                 with spaces to a multiple of 8 bytes, values (float64)

A writer holds a lock (flock) on its file for as long as it lives. A new process takes over the
file of one that is gone and counts on from there: totals never go back when workers are replaced,
and there are never more files than there were workers at one time.
"""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import structlog

Key = tuple[str, ...]
"""Name of the metric, then the values of its labels."""

Role = Literal["worker", "upkeep"]
"""What a process is."""

SUFFIX = ".metrics"

_SIZE = 256 * 1024
_MAGIC = b"ENTMETR1"
_HEADER = struct.Struct("=8sQQQ")
_LENGTHS = struct.Struct("=II")
_SPARE_VALUES = 64
_ROLES: tuple[Role, ...] = ("worker", "upkeep")
_MOST_FILES = 4096

_log = structlog.get_logger("entrepot.metrics")


class Snapshot(msgspec.Struct, frozen=True):
    """What one process has counted so far."""

    pid: int
    alive: bool
    role: Role
    values: dict[Key, tuple[float, ...]]


class Series:
    """The values of this process: `values[place]` is what `place(key)` stands for.

    Where the directory can't be written to, the values are kept in memory only and the log says
    so: metrics are no reason not to serve.
    """

    def __init__(self, directory: Path, *, of: Role = "worker") -> None:
        self._role = of
        self._guard = threading.Lock()
        self._places: dict[Key, int] = {}
        self._descriptor: int | None = None
        try:
            self._descriptor, self._bytes = _take_file(directory)
        except OSError as error:
            _log.warning(
                "metrics of this process are not shared with the others",
                directory=str(directory),
                error=error,
            )
            self._bytes = memoryview(bytearray(_SIZE))
        self._spare = _SIZE // 8 - _SPARE_VALUES
        self._used = _HEADER.size
        for key, start, _ in _records(self._bytes):
            self._places[key] = start
        self._used = max(_HEADER.size, _HEADER.unpack_from(self._bytes)[1])
        _HEADER.pack_into(self._bytes, 0, _MAGIC, self._used, os.getpid(), _ROLES.index(of))
        self.values: memoryview[float] = self._bytes.cast("d")

    @property
    def shared(self) -> bool:
        """Whether other processes can read the values."""
        return self._descriptor is not None

    def place(self, key: Key, *, length: int = 1) -> int:
        """Return where the first of the `length` values of `key` stands.

        When the file is full (its size is many times what bounded labels need), every further
        key gets the same place, which nobody reads.
        """
        if (known := self._places.get(key)) is not None:
            return known
        with self._guard:
            if (known := self._places.get(key)) is not None:
                return known  # another thread was faster
            name = msgspec.json.encode(key)
            name += b" " * (-len(name) % 8)
            start = self._used + _LENGTHS.size + len(name)
            end = start + 8 * length
            if end > 8 * self._spare:
                return self._spare
            _LENGTHS.pack_into(self._bytes, self._used, len(name), length)
            self._bytes[self._used + _LENGTHS.size : start] = name
            # Only now is the record there for readers.
            struct.pack_into("=Q", self._bytes, 8, end)
            self._used = end
            self._places[key] = start // 8
            return start // 8

    def known(self) -> list[Key]:
        """Return every key that has a place."""
        with self._guard:
            return list(self._places)

    def snapshot(self) -> Snapshot:
        """Return what this process has counted, without looking at its file."""
        values = _values(bytes(self._bytes))
        return Snapshot(os.getpid(), alive=True, role=self._role, values=values)

    def close(self) -> None:
        """Leave the file to a successor. Counting goes on in memory that nobody reads."""
        descriptor, self._descriptor = self._descriptor, None
        self._bytes = memoryview(bytearray(self._bytes))
        self.values = self._bytes.cast("d")
        if descriptor is not None:
            # The mapping holds a duplicate of the descriptor, so closing alone unlocks nothing.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def read(directory: Path) -> list[Snapshot]:
    """Return what the processes that count in `directory` have counted, gone ones included."""
    snapshots = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            data = os.pread(descriptor, _SIZE, 0)
            if len(data) != _SIZE or not data.startswith(_MAGIC):
                continue
            _, _, pid, role = _HEADER.unpack_from(data)
            snapshots.append(
                Snapshot(
                    pid=pid,
                    alive=not _lock(descriptor, fcntl.LOCK_SH),
                    role=_ROLES[role],
                    values=_values(data),
                )
            )
        finally:
            os.close(descriptor)
    return snapshots


def _take_file(directory: Path) -> tuple[int, memoryview]:
    """Lock the first file that no living process owns, and map it."""
    for number in range(_MOST_FILES):
        path = directory / f"{number}{SUFFIX}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _lock(descriptor, fcntl.LOCK_EX):
                if os.pread(descriptor, len(_MAGIC), 0) != _MAGIC:
                    os.ftruncate(descriptor, 0)
                # Blocks, not a hole: on a full disk a hole kills the process that writes to it.
                os.posix_fallocate(descriptor, 0, _SIZE)
                return descriptor, memoryview(mmap.mmap(descriptor, _SIZE))
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise FileExistsError(f"{_MOST_FILES} processes count in {directory} already")


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _records(data: bytes | memoryview) -> Iterator[tuple[Key, int, int]]:
    """Yield each key with the index of its first value and their number."""
    magic, used, _, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        return
    position = _HEADER.size
    while position < min(used, _SIZE):
        size, length = _LENGTHS.unpack_from(data, position)
        name = position + _LENGTHS.size
        key = msgspec.json.decode(data[name : name + size], type=Key)
        yield key, (name + size) // 8, length
        position = name + size + 8 * length


def _values(data: bytes) -> dict[Key, tuple[float, ...]]:
    return {
        key: struct.unpack_from(f"={length}d", data, 8 * start)
        for key, start, length in _records(data)
    }
