"""Child processes: forked with everything in place, watched by a pipe, collected when they end."""

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from entrepot.server.accepting import Share
from entrepot.server.linux import become_child

Body = Callable[[int], int]
"""What a child does: takes the pipe's end it writes to, returns its exit status."""


@dataclass(slots=True, eq=False)
class Child:
    """A running child process."""

    pid: int
    pipe: int
    """Gives what the child wrote, and then (end of file) that it is gone."""

    share: Share | None = None
    """What it holds of the connections, if it is a worker."""

    ready: bool = False
    leaving: bool = False
    """Whether it has been told to end."""

    birth: float = field(default_factory=time.monotonic)

    def tell(self, number: signal.Signals) -> None:
        """Send a signal; a child that is gone already is no error."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def read(self) -> bytes:
        """What the child has written and was not read yet; doesn't wait."""
        pieces = []
        while select.select([self.pipe], [], [], 0)[0] and (piece := os.read(self.pipe, 65536)):
            pieces.append(piece)
        return b"".join(pieces)


def fork(body: Body, *, name: str, share: Share | None = None) -> Child:
    """Run `body` in a child process called `name`, which ends when this process does.

    The child has all signals blocked until `body` lets them in, and the handlers of this process
    replaced by the system's. Must be called by a process without threads.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)
        return Child(pid, reading, share)
    status = 70
    try:
        become_child(parent=parent, name=name)
        os.close(reading)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        status = body(writing)
    except BaseException:  # noqa: BLE001 - nothing may leave this process but its exit status
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def collect() -> list[tuple[int, int]]:
    """The process id and exit status (negative: the signal) of every child that has ended."""
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended
