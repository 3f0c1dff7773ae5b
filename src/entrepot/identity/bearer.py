"""Bearer tokens (RFC 6750): checked once, and then remembered for as long as they live.

What it guards against, and how:

1. The cost of signatures: a token that was good is remembered by its text, so that a request costs
   a look into a dictionary. Of those that are remembered the oldest are forgotten, however many
   come; a token that is no good is never remembered.
2. Rights that were taken away: `standing.revision` grows with every change of who may log in. A
   token of an older revision counts only if `standing.renew` still knows its holder.
3. Finding out why: all refusals look alike to the caller. The log has the reason, not the token.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from msgspec import Struct

from entrepot.core.access import Identity, Origin, Scope
from entrepot.core.errors import InvalidTokenError, UnauthorizedError
from entrepot.core.tokens import LONGEST_TOKEN, METHOD, TokenRefusedError, bearer_of
from entrepot.identity.authenticator import Authenticator, Recalled
from entrepot.telemetry import Metrics

_MOST: Final = 4096

_log = structlog.get_logger("entrepot.identity")


class Good(Struct):
    """A token that counts: who it was issued to, what for, from when until when (seconds since
    1970), and as of which revision `holder` is.
    """

    holder: Identity
    limits: tuple[Scope, ...]
    issued: float
    until: float
    revision: int
    identity: Identity


class Standing(Protocol):
    """What changes while a token lives."""

    @property
    def revision(self) -> int:
        """A number that grows with every change of who may log in."""

    async def renew(self, holder: Identity, *, since: float) -> Identity | None:
        """Return a holder as they are now; None if they may not log in any more, or had to do so
        anew after `since` (seconds since 1970), as after a change of the password.
        """


class Unchanging:
    """The standing of those about whom nobody here knows anything."""

    revision = 0

    async def renew(self, holder: Identity, *, since: float) -> Identity | None:  # noqa: ARG002 - the contract
        """See `Standing.renew`."""
        return holder


class Bearer:
    """Authenticates by tokens that `check` judges; it raises `TokenRefusedError`, or another error
    where it can't tell. What else a caller brings, or that there is nothing, is for `others` to
    judge.
    """

    def __init__(
        self,
        check: Callable[[str], Awaitable[Good]],
        *,
        others: Authenticator,
        metrics: Metrics,
        standing: Standing,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.challenge = None
        self._check = check
        self._others = others
        self._count = metrics.authentication
        self._standing = standing
        self._clock = clock
        self._good: dict[str, Good] = {}

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`."""
        if authorization is None:
            return await self._others.authenticate(None, origin)
        good = self._good.get(authorization)
        if good is None:
            token = bearer_token(authorization)
            if token is None:
                return await self._others.authenticate(authorization, origin)
            good = await self._judge(authorization, token)
        elif self._clock() > good.until:
            del self._good[authorization]
            self._count(METHOD, "refused")
            raise InvalidTokenError
        if good.revision != self._standing.revision:
            await self._renew(authorization, good)
        self._count(METHOD, "remembered")
        return good.identity

    def recall(self, authorization: str | None) -> Recalled | None:
        """See `Authenticator.recall`."""
        good = self._good.get(authorization or "")
        if good is None:
            return self._others.recall(authorization)
        if good.revision != self._standing.revision or self._clock() > good.until:
            return None
        return Recalled(good.identity, good.until)

    async def _judge(self, authorization: str, token: str) -> Good:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            self._count(METHOD, "malformed")
            raise InvalidTokenError
        try:
            good = await self._check(token)
        except TokenRefusedError as refusal:
            _log.info("token refused", reason=str(refusal))
            self._count(METHOD, "refused")
            raise InvalidTokenError from refusal
        while len(self._good) >= _MOST:
            del self._good[next(iter(self._good))]
        self._good[authorization] = good
        return good

    async def _renew(self, authorization: str, good: Good) -> None:
        """Look at the holder of a token again, because something has changed since."""
        revision = self._standing.revision
        holder = await self._standing.renew(good.holder, since=good.issued)
        if holder is None:
            self._good.pop(authorization, None)
            self._count(METHOD, "refused")
            _log.info("token of somebody refused who may not log in any more")
            raise InvalidTokenError
        if holder != good.holder:
            good.holder, good.identity = holder, bearer_of(holder, good.limits)
        good.revision = revision


class NoOthers:
    """Where only tokens count: whatever else is brought is refused."""

    challenge = None

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002 - the contract
        """See `Authenticator.authenticate`."""
        raise UnauthorizedError

    def recall(self, authorization: str | None) -> None:
        """See `Authenticator.recall`."""


def bearer_token(authorization: str | None) -> str | None:
    """Return the token of a Bearer credential, or None for another one."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None
