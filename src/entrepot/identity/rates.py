"""How many requests one identity may send: a bucket of tokens for each, in each process."""

import math
import time
from collections.abc import Callable
from typing import Final

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import TooManyRequestsError
from entrepot.identity.authenticator import Authenticator

_MOST: Final = 16_384


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class RateLimited:
    """An authenticator that lets `rate` requests a second of each identity through, and `burst` at
    once after a pause. Nobody in particular is told apart by address.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        *,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authenticator = authenticator
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    @property
    def challenge(self) -> str | None:
        """See `Authenticator.challenge`."""
        return self._authenticator.challenge

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`."""
        identity = await self._authenticator.authenticate(authorization, origin)
        now = self._clock()
        bucket = self._bucket(identity.name or f"address {origin.address}", now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.tokens < 1:
            wait = math.ceil((1 - bucket.tokens) / self._rate)
            reason = "more requests than one identity may send"
            raise TooManyRequestsError({"reason": reason}, retry_after=wait)
        bucket.tokens -= 1
        return identity

    def _bucket(self, key: str, now: float) -> _Bucket:
        """Return the bucket of somebody; those who came longest ago are forgotten first, and no
        sooner than their buckets are full again if there is room.
        """
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        while len(self._buckets) >= _MOST:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = bucket
        return bucket
