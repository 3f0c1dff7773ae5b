"""How many requests one identity may send: a bucket of tokens for each, in memory that all
processes of one server share.

A bucket is the time at which it will be full again, so that there is one number to read and to
write, and nobody waits for anybody: of two processes that count the same identity in the very same
moment one may go unseen, and a request more gets through. A hash says where the bucket of an
identity may lie, in a place of a few. Where all are taken the one that is fullest is given up,
which loses nothing if it is full.
"""

import hashlib
import math
import mmap
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import TooManyRequestsError, UnauthorizedError
from entrepot.identity.authenticator import Authenticator

_PLACES: Final = 4096
_IN_PLACE: Final = 4
_WORD: Final = 8
_BYTES: Final = _PLACES * _IN_PLACE * 2 * _WORD


class Rates:
    """Buckets in the file `path`, 256 KiB: `rate` requests a second, and `burst` at once after a
    pause. `clock` is the same in all processes.
    """

    def __init__(
        self,
        path: Path,
        *,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _BYTES)
            memory = memoryview(mmap.mmap(file, _BYTES))
        finally:
            os.close(file)
        self._whose = memory.cast("Q")
        self._full_at = memory.cast("d")
        self._key = hashlib.sha256(bytes(path)).digest()  # strangers don't know its random name
        self._mark = lru_cache(maxsize=1024)(self._hash)
        self._step = 1 / rate
        self._depth = max(burst, 1.0) / rate
        self._clock = clock

    def take(self, who: str) -> float:
        """Take a request of somebody's; return 0, or after how many seconds there will be one."""
        whose, now = self._mark(who), self._clock()
        bucket = self._find(whose)
        full_at = self._full_at[bucket + 1] if self._whose[bucket] == whose else now
        full_at = max(full_at, now) + self._step
        wait = full_at - now - self._depth
        if wait > 1e-9:  # more than the rounding of sums
            return wait
        self._whose[bucket] = whose
        self._full_at[bucket + 1] = full_at
        return 0.0

    def _hash(self, who: str) -> int:
        name = who.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(name, digest_size=_WORD, key=self._key).digest())

    def _find(self, whose: int) -> int:
        """Return where a bucket is, or else may be made."""
        marks, first = self._whose, whose % _PLACES * _IN_PLACE * 2
        places = range(first, first + _IN_PLACE * 2, 2)
        for bucket in places:
            if marks[bucket] == whose:
                return bucket
        return min(places, key=lambda bucket: self._full_at[bucket + 1])


class RateLimited:
    """An authenticator that lets only so many requests of each identity through. Nobody in
    particular is told apart by address.
    """

    def __init__(self, authenticator: Authenticator, rates: Rates) -> None:
        self._authenticator = authenticator
        self._rates = rates

    @property
    def challenge(self) -> str | None:
        """See `Authenticator.challenge`."""
        return self._authenticator.challenge

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`."""
        try:
            identity = await self._authenticator.authenticate(authorization, origin)
        except UnauthorizedError:
            if authorization is None:  # nobody in particular, who may do something all the same
                self._take("", origin)
            raise
        self._take(identity.name, origin)
        return identity

    def recall(self, authorization: str | None) -> None:
        """See `Authenticator.recall`: every request counts."""

    def _take(self, name: str, origin: Origin) -> None:
        wait = self._rates.take(name or f"address {origin.address}")
        if wait:
            reason = "more requests than one identity may send"
            raise TooManyRequestsError({"reason": reason}, retry_after=math.ceil(wait))
