"""Writing large uploads past the page cache (O_DIRECT of Linux).

Bytes that are going to disk anyway need not displace what others are reading, take no memory from a
container's limit, and leave nothing to wait for when the manifest comes.
"""

import mmap
import os
from typing import Final

ALIGNMENT: Final = 4096
"""Positions, lengths and addresses must be multiples of the disk's block; no disk has larger ones.
"""

_SIZE: Final = 1_048_576
_SPARE: Final = 16

_spare: list[mmap.mmap] = []


class DirectFile:
    """The end of a file, written directly. Bytes gather in a buffer until it is full."""

    def __init__(self, path: str, *, position: int) -> None:
        """Open a file that exists; `position` is its end, and aligned.

        Raises:
            OSError: the file system knows no direct writing.
        """
        self._fd = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        self._buffer = _spare.pop() if _spare else mmap.mmap(-1, _SIZE)
        self._used = 0
        self.position = position
        """How far the file is written; what is gathered comes behind."""

    def append(self, data: bytes | memoryview) -> None:
        """Gather bytes, and write whenever the buffer is full."""
        rest = memoryview(data)
        while rest:
            taken = min(len(rest), _SIZE - self._used)
            self._buffer[self._used : self._used + taken] = rest[:taken]
            self._used += taken
            rest = rest[taken:]
            if self._used == _SIZE:
                self._write(_SIZE)
                self._used = 0

    def finish(self) -> bytes:
        """Write what is gathered but for the last few bytes, which are returned: they fill no block
        and must be written the usual way, at `position`.
        """
        whole = self._used - self._used % ALIGNMENT
        self._write(whole)
        rest = self._buffer[whole : self._used]
        self._used = 0
        return rest

    def _write(self, length: int) -> None:
        with memoryview(self._buffer) as view:
            done = 0
            while done < length:
                done += os.pwrite(self._fd, view[done:length], self.position + done)
        self.position += length

    def close(self) -> None:
        """Release the file and the buffer."""
        os.close(self._fd)
        if len(_spare) < _SPARE:
            _spare.append(self._buffer)
