"""Doing again what a store could not do just now."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Final, TypeVar

from entrepot.core.errors import UnreachableError
from entrepot.storage.errors import StorageError

T = TypeVar("T")

PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed a little later."""

_LONGEST_ASKED: Final = 30.0
"""Seconds that are waited at most because the store said so."""

_random: Final = SystemRandom()


class PassingError(StorageError, UnreachableError):
    """What may be over in a moment; `after` is how many seconds the store asks to wait."""

    def __init__(self, message: str, *, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


@dataclass(frozen=True, slots=True)
class Retries:
    """How often something is done again, and how long is waited before: a random part of `delay`
    seconds, which doubles with every time up to `longest`, but no less than the store asks for.
    """

    times: int = 7
    delay: float = 0.2
    longest: float = 8.0

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns; when it has failed too often, raise its `PassingError`."""
        for number in range(self.times):
            try:
                return await attempt()
            except PassingError as error:
                most = min(self.longest, self.delay * 2**number)
                asked = min(error.after, _LONGEST_ASKED)
            await asyncio.sleep(max(asked, _random.uniform(0, most)))
        return await attempt()


def asked_to_wait(header: str | None) -> float:
    """Return the seconds of a `Retry-After` header; 0 if there is none, or it is a date."""
    return float(header) if header is not None and header.isdecimal() else 0.0
