"""The end of a file that an upload writes to: through the page cache, or past it.

Which is faster changes with the machine. Where memory is short, or was given back to a virtual
machine's host, taking a page for the cache costs more than the disk does; where pages are at hand
the disk is what takes time. So both are measured, and the faster one is used
(docs/adr/0005-durability.md).
"""

import os
import time
from collections import deque
from statistics import median
from typing import Final

from entrepot.storage import durable
from entrepot.storage.direct import ALIGNMENT, DirectFile

LARGE: Final = 1_048_576
"""Bytes at once from which on it matters how they are written."""

_SLICE: Final = 65_536
"""Bytes in one write. Larger ones have the kernel take its page cache from larger runs of memory,
which where memory is short, or a guest's, costs ten times as much as the copying.
"""

_WRITEBACK: Final = 8 * 1_048_576
_WRITEBACK_MOST: Final = 128 * 1_048_576
_SLOW: Final = 100 * 1_048_576
"""The kernel is asked to begin writing an upload after so many bytes if they came slower than so
many a second, and after so many in any case: the last sync then has little to do, and a fast
upload does not share its processors with the disk.
"""

_SAMPLES: Final = 5
_TRY_EVERY: Final = 64


class Ways:
    """Which of the two ways to write is faster just now, by the median of the last few times; the
    other one is tried now and then. For any number of threads: a choice may be a little old.
    """

    def __init__(self) -> None:
        self.direct = True
        """Whether writing past the page cache is possible at all."""
        self._pace: dict[bool, deque[float]] = {
            direct: deque(maxlen=_SAMPLES) for direct in (True, False)
        }
        self._choices = 0

    def choose(self) -> bool:
        """Return whether to write past the page cache."""
        if not self.direct:
            return False
        past, through = self._pace[True], self._pace[False]
        if not past or not through:
            return not past
        self._choices += 1
        faster = median(past) <= median(through)
        return faster if self._choices % _TRY_EVERY else not faster

    def took(self, seconds: float, *, size: int, direct: bool) -> None:
        """Note how long it took to write so many bytes."""
        self._pace[direct].append(seconds / size)


class Appender:
    """Writes at the end of an open file; for threads that may wait. `write_back` is whether the
    bytes are going to be synced soon.
    """

    def __init__(self, fd: int, path: str, *, ways: Ways, write_back: bool) -> None:
        self._fd = fd
        self._path = path
        self._ways = ways
        self._write_back = write_back
        self._written = self._started = os.fstat(fd).st_size
        self._started_at = time.monotonic()
        self._direct: DirectFile | None = None

    @property
    def gathers(self) -> bool:
        """Whether some bytes may wait to be written."""
        return self._direct is not None

    def append(self, data: bytes) -> None:
        """Write bytes, or gather them to be written with those that follow.

        Raises:
            OSError: they can't be written.
        """
        if len(data) < LARGE:
            self._append(data)
            return
        began, direct = time.perf_counter(), self._ways.choose()
        rest = memoryview(data)
        if not direct:
            self._end_direct()
        elif self._direct is None:
            odd = -self._written % ALIGNMENT
            self._write(rest[:odd])
            rest = rest[odd:]
            self._begin_direct()
        self._append(rest)
        took = time.perf_counter() - began
        self._ways.took(took, size=len(data), direct=self._direct is not None)

    def finish(self) -> None:
        """Write what is gathered.

        Raises:
            OSError: it can't be written.
        """
        self._end_direct()

    def abandon(self, size: int | None = None) -> None:
        """Drop what is gathered, and go on at the end, which is at `size`."""
        if self._direct is not None:
            self._direct.close()
            self._direct = None
        if size is not None:
            os.ftruncate(self._fd, size)
            self._written = self._started = size

    def _append(self, data: bytes | memoryview) -> None:
        if self._direct is not None:
            self._direct.append(data)
        else:
            self._write(data)

    def _begin_direct(self) -> None:
        try:
            self._direct = DirectFile(self._path, position=self._written)
        except OSError:
            self._ways.direct = False

    def _end_direct(self) -> None:
        """Write what is still gathered, the last few bytes through the cache."""
        ending, self._direct = self._direct, None
        if ending is not None:
            try:
                rest = ending.finish()
            finally:
                self._written = ending.position
                ending.close()
            self._write(rest)

    def _write(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._fd, rest[:_SLICE], self._written)
            self._written += done
            rest = rest[done:]
        if self._write_back:
            self._start_writing_back()

    def _start_writing_back(self) -> None:
        length = self._written - self._started
        seconds = time.monotonic() - self._started_at
        if length >= _WRITEBACK_MOST or (length >= _WRITEBACK and length < seconds * _SLOW):
            durable.start_writeback(self._fd, start=self._started, length=length)
            self._started, self._started_at = self._written, time.monotonic()
