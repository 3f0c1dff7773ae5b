"""Jobs that have no secret: the token that their own system gave them lets them in, by rules about
what it says (OpenID Connect tokens of GitHub Actions, GitLab, Kubernetes and others).

1. The token's issuer is one that is configured; its keys come from its own discovery document.
2. The signature is good, and the algorithm one with a public key: never a shared secret.
3. The audience is the one that is configured, so that a token for another service is of no use
   here; it has not expired, and its time has come.
4. A rule matches: every claim that it names is there and fits its pattern. The first counts.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from entrepot.core.access import Identity, Scope
from entrepot.core.tokens import (
    TokenRefusedError,
    TokenRules,
    check_claims,
    find_claim,
    read_claims,
)
from entrepot.identity.bearer import Standing
from entrepot.identity.jws import ALGORITHMS, read_token, verify
from entrepot.identity.key_sources import KeySource
from entrepot.identity.sources import Proof

METHOD: Final = "workload"

_ALGORITHMS: Final = frozenset(name for name in ALGORITHMS if not name.startswith("HS"))
_TOKEN: Final = re.compile(rb"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 255

_log = structlog.get_logger("entrepot.identity")

Robots = Callable[[str], Awaitable[Identity | None]]
"""Returns the robot of this whole name; None if there is none, or it has ended."""


class Rule(Struct, frozen=True):
    """Which jobs are trusted, with the rights of `robot`, or if that is empty with `scopes`."""

    claims: Mapping[str, re.Pattern[str]]
    robot: str
    scopes: tuple[Scope, ...]


class Issuer(Struct, frozen=True):
    """Somebody whose tokens are believed."""

    name: str
    rules: tuple[Rule, ...]
    tokens: TokenRules
    keys: KeySource


class _Stamp(Struct, frozen=True):
    robot: str
    until: float


class Workloads:
    """A source (see `identity.sources.Source`) whose passwords are tokens; names don't count."""

    method = METHOD

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        robots: Robots,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = issuers
        self._robots = robots
        self._clock = clock

    async def exchange(self, token: str) -> Identity:
        """Return who the holder of a token is here.

        Raises:
            TokenRefusedError: the token is no good, or no rule lets its holder in.
            UnreachableError: the issuer's keys can't be had just now.
        """
        return (await self._prove(token)).identity

    def account_of(self, name: bytes) -> bytes:
        """See `Source.account_of`: every name is one of its own."""
        return name

    async def verify(self, name: bytes, password: bytes) -> Proof | None:  # noqa: ARG002 - the contract
        """See `Source.verify`; what has not the form of a token is refused at once."""
        if not _TOKEN.fullmatch(password):
            return None
        try:
            return await self._prove(password.decode("ascii"))
        except TokenRefusedError as refusal:
            _log.info("token of a job refused", reason=str(refusal))
            return None

    async def renew(self, proof: Proof) -> Identity | None:
        """See `Source.renew`."""
        stamp = proof.stamp
        if not isinstance(stamp, _Stamp) or self._clock() > stamp.until:
            return None
        if not stamp.robot:
            return proof.identity
        robot = await self._robots(stamp.robot)
        return _acting(robot, proof.identity.credential) if robot else None

    def close(self) -> None:
        """See `Source.close`."""

    async def _prove(self, token: str) -> Proof:
        now = self._clock()
        unverified = read_token(token, algorithms=_ALGORITHMS)
        claims = read_claims(unverified.payload)
        refusal = TokenRefusedError("the issuer is not trusted")
        for issuer in (one for one in self._issuers if claims.iss in one.tokens.issuers):
            try:
                check_claims(claims, issuer.tokens, now=now)
                keys = await issuer.keys.keys(unverified.header)
                verify(unverified, keys.find(unverified.header, now=now))
            except TokenRefusedError as error:
                refusal = error
                continue
            identity, robot = await self._judge(issuer, claims.sub, unverified.payload)
            if identity is not None:
                return Proof(identity, _Stamp(robot, claims.exp + issuer.tokens.leeway))
            refusal = TokenRefusedError(f"no rule lets {claims.sub} in")
        raise refusal

    async def _judge(
        self, issuer: Issuer, subject: str, payload: bytes
    ) -> tuple[Identity | None, str]:
        said = msgspec.json.decode(payload)
        for rule in issuer.rules:
            if not all(_fits(said, name, wanted) for name, wanted in rule.claims.items()):
                continue
            name = f"{issuer.name}:{subject}"[:_LONGEST_NAME]
            if not name.isprintable():
                return None, ""
            if not rule.robot:
                return Identity(
                    name, METHOD, kind="robot", administrator=True, scopes=rule.scopes
                ), ""
            robot = await self._robots(rule.robot)
            if robot is None:
                _log.warning("a rule for jobs names a robot that there isn't", robot=rule.robot)
                return None, ""
            return _acting(robot, name), rule.robot
        return None, ""


class JobStanding:
    """The standing of those who are known by `others`, and of jobs that act as a robot: they go
    when it goes.
    """

    def __init__(self, others: Standing, *, robots: Robots) -> None:
        self._others = others
        self._robots = robots

    @property
    def revision(self) -> int:
        """See `Standing.revision`."""
        return self._others.revision

    async def renew(self, holder: Identity, *, since: float) -> Identity | None:
        """See `Standing.renew`."""
        if holder.method != METHOD:
            return await self._others.renew(holder, since=since)
        if holder.administrator:
            return holder  # by the rule's own rights, which the token holds
        robot = await self._robots(holder.name)
        return _acting(robot, holder.credential) if robot else None


def _acting(robot: Identity, workload: str) -> Identity:
    return msgspec.structs.replace(robot, method=METHOD, credential=workload)


def claim_pattern(text: str) -> re.Pattern[str]:
    """Return what a pattern for a claim matches: `*` is any characters, all else itself."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")), re.DOTALL)


def _fits(said: Any, name: str, wanted: re.Pattern[str]) -> bool:
    value = find_claim(said, name)
    values = value if isinstance(value, list) else [value]
    return any(wanted.fullmatch(text) for text in map(_text, values) if text is not None)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None
