"""Connections taken from the socket on which all workers listen, evenly.

Whoever is woken first would take all that wait; with a socket for each worker (SO_REUSEPORT) the
kernel spreads them by chance: of four connections, two workers have two each in three cases of
eight. So a worker that holds more than another leaves new ones to it for a moment.
"""

import asyncio
import mmap
import socket
from collections.abc import Callable
from typing import Final

import structlog

_AT_ONCE: Final = 64
_BREATH: Final = 0.1
_COURTESY: Final = 0.025
_LOOK: Final = 0.002
"""Seconds for which connections are left to a worker that holds less, and may be busy or stopped,
and between two looks whether they are still there.
"""

_TOLERATED: Final = 8
"""One connection more in so many is no difference."""

_NOBODY: Final = 1 << 62

_log = structlog.get_logger("entrepot.server")


class Share:
    """What one of some workers holds of their connections."""

    def __init__(self, held: memoryview, place: int) -> None:
        self._held = held
        self._place = place
        self.forget()

    def forget(self) -> None:
        """Say that nobody takes connections here: none are left to it."""
        self._held[self._place] = _NOBODY

    def tell(self, connections: int) -> None:
        """Say how many the worker holds now."""
        self._held[self._place] = connections

    def less(self) -> int | None:
        """How many another worker holds, if that is less."""
        least = int(min(self._held))
        return least if self._held[self._place] > least + least // _TOLERATED else None


def make_shares(workers: int) -> tuple[Share, ...]:
    """A share for each of some workers, in memory that they have in common once forked."""
    held = memoryview(mmap.mmap(-1, 8 * workers)).cast("q")
    return tuple(Share(held, place) for place in range(workers))


class Acceptor:
    """Takes connections for a worker while it holds less than `most`.

    `held` tells how many that are, `take` is given each new one. Becomes the listener's owner.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        share: Share,
        most: int,
        held: Callable[[], int],
        take: Callable[[socket.socket], object],
    ) -> None:
        self._listener = listener
        self._share = share
        self._most = most
        self._held = held
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._accepting = False
        self._left: tuple[int, float] | None = None
        """What the worker holds to which connections are left, and since when."""

    def go_on(self) -> None:
        """Take connections if there is room; to be called when there may be."""
        if not self._is_full() and not self._accepting:
            self._accepting = True
            self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Leave new connections to others for ever."""
        self._most = 0
        self._rest()

    def close(self) -> None:
        """Stop, and give up the socket: once nobody has it, connections are refused."""
        self.stop()
        self._listener.close()

    def _is_full(self) -> bool:
        held = self._held()
        self._share.tell(held)
        return held >= self._most

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._is_full():
                self._rest()
                return
            if self._leaves():
                self._rest()
                self._loop.call_later(_LOOK, self._look)
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                self._left = None
                return
            except OSError as error:  # no descriptor is left: those that are open end some time
                _log.error("a connection can't be accepted", reason=str(error))
                self._rest()
                self._loop.call_later(_BREATH, self.go_on)
                return
            accepted.setblocking(False)  # noqa: FBT003
            self._take(accepted)

    def _leaves(self) -> bool:
        """Whether another worker holds less, and has not had the time to take what waits."""
        less = self._share.less()
        if less is None:
            self._left = None
            return False
        now = self._loop.time()
        if self._left is None or self._left[0] != less:
            self._left = less, now
        return now - self._left[1] < _COURTESY

    def _look(self) -> None:
        self.go_on()
        self._accept()

    def _rest(self) -> None:
        if self._accepting:
            self._accepting = False
            self._loop.remove_reader(self._listener)
