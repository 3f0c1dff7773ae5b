"""Asking again what another registry could not answer just now."""

import asyncio
import time
from email.utils import parsedate_to_datetime
from secrets import SystemRandom
from typing import Final

from entrepot.upstream.errors import UpstreamUnreachableError

PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed a little later."""

_LONGEST: Final = 30.0
_LONGEST_ASKED: Final = 120.0
_random: Final = SystemRandom()


class Patience:
    """How often one thing is tried: `attempts` times, with `pause` seconds before the second time,
    twice as many before the next, and so on, and no less than the registry asks for.
    """

    def __init__(self, attempts: int, pause: float) -> None:
        self._attempts = attempts
        self._pause = pause
        self._failures = 0

    def renew(self) -> None:
        """Begin to count anew, because something was achieved."""
        self._failures = 0

    async def wait(self, problem: str, *, asked: float = 0.0) -> None:
        """Wait before the next attempt, or raise `UpstreamUnreachableError` with the problem."""
        self._failures += 1
        if self._failures >= self._attempts:
            raise UpstreamUnreachableError(f"{problem} (tried {self._failures} times)")
        most = min(_LONGEST, self._pause * 2 ** (self._failures - 1))
        await asyncio.sleep(max(min(asked, _LONGEST_ASKED), _random.uniform(most / 2, most)))


def asked_to_wait(header: str | None) -> float:
    """Return the seconds of a `Retry-After` header, given as such or as a date; 0 for nonsense."""
    if header is None or len(header) > 64:
        return 0.0
    if header.isascii() and header.isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
