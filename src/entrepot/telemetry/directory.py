"""The directory in which the processes of one server count, and the ones that others left."""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

_PREFIX = "entrepot-metrics-"
_SERVER = "server"


def new_directory() -> Path:
    """Make the directory in which the workers of this process will count; the caller removes it.

    In memory where the system has such a place, because the files are written all the time. The
    directory remembers this process as the server, whose use of the machine is reported with that
    of its workers, and is in use, which a lock tells, until this process and every one that it
    forks have ended. Directories that killed servers left behind are removed.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the system's place for this; the directory is private
    place = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    unlocked = directory / f"{_SERVER}.new"
    # Stays open on purpose: the end of the last process that has it gives up the lock.
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.write(descriptor, b"%d\n" % os.getpid())
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Only a file that is locked already may bear the name that others look at.
    unlocked.rename(directory / _SERVER)
    return directory


def read_server(directory: Path) -> int | None:
    """Return the process id that `new_directory` noted."""
    try:
        return int((directory / _SERVER).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _remove_if_left(directory: Path) -> None:
    """Remove a directory of ours that no process uses any more."""
    try:
        facts = directory.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
            return
        with (directory / _SERVER).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            server = read_server(directory)
            if server is not None and not Path(f"/proc/{server}").exists():
                shutil.rmtree(directory, ignore_errors=True)
    except OSError:
        return  # in use, or just being made or removed
