"""The file by which the processes and threads that share an index take turns and count commits."""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_COUNT: Final = 8


class Turns:
    """One holder's view of the file: whoever writes on its own, such as a thread, has its own.

    Waiting for a turn wakes up as soon as it has come, where SQLite's own lock would have processes
    poll. The file holds the number of commits, and every holder has it in its memory.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _COUNT:
            os.ftruncate(self._file, _COUNT)
        self._memory = mmap.mmap(self._file, _COUNT)

    def commits(self) -> bytes:
        """Return the number of commits, as bytes that are only good for comparing."""
        return self._memory[:_COUNT]

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Wait for a turn to write; at its end there is one more commit."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.end()

    def try_begin(self) -> bool:
        """Begin a turn, which `end` ends, if nobody has one."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def end(self) -> None:
        """Count a commit and end the turn."""
        count = int.from_bytes(self._memory[:_COUNT], "little") + 1
        self._memory[:_COUNT] = (count % 2**64).to_bytes(_COUNT, "little")
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release the file."""
        self._memory.close()
        os.close(self._file)
