"""What a process asks of the Linux kernel and the C library, beyond Python's own functions.

Everything here is about speed, memory or tidiness, and does nothing where it isn't available.
"""

import contextlib
import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MIB = 1 << 20

OPEN_FILES = 65_536
"""Open files that a process may have at most, where the system's own limit allows it."""


def become_child(*, parent: int, name: str) -> None:
    """Make this process end at once when its parent ends, however that ends, and name it.

    Must be called first thing after the fork: if `parent` is gone already, the process ends here.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of 1 MiB pieces instead of giving it back to the kernel each time.

    Halves the CPU time of large pulls. musl has no such settings.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 64 * _MIB)
        libc.mallopt(_M_TRIM_THRESHOLD, 128 * _MIB)
        libc.mallopt(_M_ARENA_MAX, 2)  # what is kept, is kept for each arena


def raise_open_files() -> int:
    """Raise the limit of open files as far as allowed, up to OPEN_FILES; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft
