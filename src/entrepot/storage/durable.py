"""System calls for durable files that Python has no words for.

Each falls back to what every POSIX system has, at a higher cost, where the call does not exist.
"""

import ctypes
import errno
import os
from collections.abc import Iterable
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_SYNC_FILE_RANGE_WRITE: Final = 2
_DEPTH: Final = 4
"""Directories between a blob's file and the store's root: digest, prefix, algorithm, blobs."""

_ORDERED: Final = frozenset({0xEF53, 0x58465342, 0x9123683E})
"""What statfs calls ext4, XFS and btrfs."""


def start_writeback(fd: int, *, start: int = 0, length: int = 0) -> None:
    """Ask the kernel to begin writing part of a file to disk, without waiting for it.

    That is sync_file_range of Linux; `length` 0 means to the end. Elsewhere nothing happens, and
    a later fsync takes longer.
    """
    call = getattr(_libc, "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def rename_new(source: str, target: str) -> bool:
    """Rename a file unless the target exists; return whether it was renamed (renameat2 of Linux).

    Where the system can't say so in one step, an existing target is reported as well if the
    file system knows no such rename: the caller then does what it does for existing targets.

    Raises:
        OSError: the rename failed for another reason.
    """
    call = getattr(_libc, "renameat2", None)
    if call is None:
        return False
    done = call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EEXIST, errno.EINVAL, errno.ENOSYS}:
        return False
    raise OSError(code, os.strerror(code), target)


def sync_file(path: str) -> None:
    """Make a file's bytes durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def names_follow(path: str) -> bool:
    """Whether the file system makes the name of a new file durable together with the file.

    ext4, XFS and btrfs do: their journals keep the order in which names and files were changed.
    POSIX promises nothing of the kind.
    """
    facts = (ctypes.c_long * 32)()
    call = getattr(_libc, "statfs", None)
    return call is not None and call(os.fsencode(path), facts) == 0 and facts[0] in _ORDERED


def sync_files(paths: Iterable[str]) -> None:
    """Make files durable together with their names.

    All are handed to the disk before the first is waited for, so that a journalling file system
    commits once for all of them; elsewhere their directories are synced as well.
    """
    files: dict[str, int] = {}
    try:
        for path in paths:
            files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            start_writeback(files[path])
        for fd in files.values():
            os.fsync(fd)
    finally:
        for fd in files.values():
            os.close(fd)
    for directory in {place for path in files for place in _places(path)}:
        if not names_follow(directory):
            sync_file(directory)


def _places(path: str) -> list[str]:
    """Return the directories that may have been made for a file, and the one that holds them."""
    places = []
    for _ in range(_DEPTH):
        path = os.path.dirname(path)
        places.append(path)
    return places
