"""Names and passwords, as Basic credentials: from whichever source knows them.

What it guards against, and how:

1. Guessing: failed logins are slowed down and locked by the guard, together for all names that may
   be the same account. A wrong credential always costs a slow hash in each source, only so many
   wait, and only few of them for the same account. A right one is remembered for ten minutes, so
   that it costs one slow hash and not one for each request.
2. Finding out names: a source takes the same time for names that it doesn't know; all sources are
   asked; a locked name is answered after the time that a check usually takes; refusals look alike.
3. Reading memory: of remembered credentials only a keyed hash is kept (`identity.remembered`).
4. A user who is disabled, removed or gets another password: what is remembered counts only as long
   as its source says so.
5. A source that is away: who is not known to another one gets 503, and nobody gets in.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

import msgspec
import structlog

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import (
    EntrepotError,
    ProtocolError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from entrepot.identity.authenticator import Recalled
from entrepot.identity.basic import basic_challenge, parse_basic
from entrepot.identity.guard import Guard
from entrepot.identity.remembered import Remembered
from entrepot.identity.secrets import Secrets
from entrepot.identity.sources import Proof, Source
from entrepot.telemetry import Metrics

_LONGEST_HEADER: Final = 8192
_MOST_CHECKS: Final = 64
_MOST_CHECKS_OF_ONE_NAME: Final = 8
_WEIGHT: Final = 0.2
"""How much the last check counts in the time that a check usually takes."""

_log = structlog.get_logger("entrepot.identity")


class _Check(msgspec.Struct, frozen=True):
    account: bytes
    task: asyncio.Task[Identity | None]


class Passwords:
    """Authenticates by name and password. `sources` are asked in their order; `secrets` knows the
    secrets that the registry made itself, which are passwords for any name.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        realm: str,
        metrics: Metrics,
        guard: Guard | None = None,
        secrets: Secrets | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.challenge = basic_challenge(realm)
        self._sources = sources
        self._secrets = secrets
        self._guard = guard
        self._metrics = metrics
        self._method = sources[0].method if len(sources) == 1 else "basic"
        self._remembered = Remembered(clock)
        self._checks: dict[bytes, _Check] = {}
        self._usual = 0.0

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`."""
        if not authorization:
            self._refuse("absent")
        if not authorization.isascii() or len(authorization) > _LONGEST_HEADER:
            self._refuse("malformed")
        mark = self._remembered.mark(authorization)
        known = self._remembered.find(mark)
        if known is not None:
            identity = await known.source.renew(known.proof)
            if identity is not None:
                self._metrics.authentication(identity.method, "remembered")
                self._remembered.keep_for_a_moment(mark, identity)
                return identity
            self._remembered.forget(mark)
        credential = parse_basic(authorization)
        if credential is None:
            self._refuse("malformed")
        name, password = credential
        if self._secrets is not None and self._secrets.has_form(password):
            return await self._by_secret(self._secrets, mark, password, origin)
        return await self._verify(mark, name, password, origin)

    def recall(self, authorization: str | None) -> Recalled | None:
        """See `Authenticator.recall`."""
        if not authorization or not authorization.isascii():
            return None
        identity = self._remembered.recall(self._remembered.mark(authorization))
        return Recalled(identity) if identity is not None else None

    def close(self) -> None:
        """End the threads of the sources. Checks that wait are given up."""
        for source in self._sources:
            source.close()

    async def _by_secret(
        self, secrets: Secrets, mark: bytes, password: bytes, origin: Origin
    ) -> Identity:
        """Such a secret can't be guessed, so a right one is let in even from a locked address."""
        proof = await secrets.verify(b"", password)
        if proof is None:
            if self._guard is not None:
                await self._guard.admit(b"", origin.address)
                await self._guard.failed(b"", origin.address)
            _log.info("authentication by an unknown or ended secret refused")
            self._metrics.authentication(secrets.method, "refused")
            raise UnauthorizedError
        self._remembered.keep(mark, secrets, proof)
        self._metrics.authentication(proof.identity.method, "verified")
        return proof.identity

    async def _verify(self, mark: bytes, name: bytes, password: bytes, origin: Origin) -> Identity:
        """Check a credential that is not remembered, together with all who bring the same."""
        account = self._account_of(name)
        await self._admit(account, origin)
        check = self._checks.get(mark)
        if check is None:
            same = sum(1 for other in self._checks.values() if other.account == account)
            if len(self._checks) >= _MOST_CHECKS or same >= _MOST_CHECKS_OF_ONE_NAME:
                self._metrics.authentication(self._method, "busy")
                raise TooManyRequestsError(retry_after=1)
            task = asyncio.create_task(self._check(mark, name, password, origin))
            check = self._checks[mark] = _Check(account, task)
            task.add_done_callback(lambda _: self._checks.pop(mark, None))
        # One who goes away must not take the answer from the others.
        identity = await asyncio.shield(check.task)
        if identity is None:
            self._refuse("refused")
        self._metrics.authentication(identity.method, "verified")
        return identity

    def _account_of(self, name: bytes) -> bytes:
        """Return by what the failures of a name are counted: what every source takes for the same
        account is one, or each way to type a name would have attempts of its own.
        """
        for source in self._sources:
            name = source.account_of(name)
        return name

    async def _admit(self, account: bytes, origin: Origin) -> None:
        if self._guard is None:
            return
        try:
            await self._guard.admit(account, origin.address)
        except TooManyRequestsError:
            self._metrics.authentication(self._method, "locked")
            await asyncio.sleep(self._usual)
            raise

    async def _check(
        self, mark: bytes, name: bytes, password: bytes, origin: Origin
    ) -> Identity | None:
        began = time.perf_counter()
        source, proof, away = await self._ask(name, password)
        account = self._account_of(name)
        if source is not None and proof is not None:
            self._remembered.keep(mark, source, proof)
            # Where another source takes more names for the same, this is one of several people.
            if self._guard is not None and source.account_of(name) == account:
                await self._guard.succeeded(account)
            return proof.identity
        if self._guard is not None:
            # Whoever can't be told from a stranger just now is not to blame for it.
            await self._guard.failed(b"" if away else account, origin.address)
        if away:
            self._metrics.authentication(self._method, "unavailable")
            raise UnavailableError({"reason": "a source of identities is away"})
        took = time.perf_counter() - began
        self._usual += (_WEIGHT if self._usual else 1.0) * (took - self._usual)
        return None

    async def _ask(self, name: bytes, password: bytes) -> tuple[Source | None, Proof | None, bool]:
        """Return the first source that says yes with its proof, and whether one could not say."""
        away = False
        for source in self._sources:
            try:
                proof = await source.verify(name, password)
            except ProtocolError:
                raise
            except EntrepotError as error:
                away = True
                _log.error("a source of identities is away", method=source.method, error=error)
                continue
            if proof is not None:
                return source, proof, away
        return None, None, away

    def _refuse(self, outcome: str) -> NoReturn:
        self._metrics.authentication(self._method, outcome)
        raise UnauthorizedError
