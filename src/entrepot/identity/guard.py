"""Failed logins slow down and lock an account, and the address that they come from.

The failures are counted where every process sees them, so a lock holds for all of them at once.
Only passwords that have to be looked at are held up: who logged in before goes on working, or
anybody could shut somebody else out.
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from entrepot.core.errors import TooManyRequestsError
from entrepot.core.guarding import (
    FailureKind,
    Failures,
    Rule,
    account_subject,
    address_subject,
)
from entrepot.telemetry import Metrics

_log = structlog.get_logger("entrepot.identity")

Subject = tuple[FailureKind, str]


@dataclass(frozen=True, slots=True)
class Tally:
    """Where failures are counted: what is known of somebody, one more failure of some, and none of
    somebody any more.
    """

    find: Callable[[FailureKind, str], Awaitable[Failures | None]]
    add: Callable[[Sequence[tuple[Subject, Rule]]], Awaitable[list[Failures]]]
    clear: Callable[[FailureKind, str], Awaitable[None]]


class Guard:
    """Applies one rule to accounts and another one to addresses, of which many people may share
    one. `now` is in microseconds since 1970.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        account: Rule,
        address: Rule,
        now: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._tally = tally
        self._rules: Final[dict[FailureKind, Rule]] = {"account": account, "address": address}
        self._now = now
        self._metrics = metrics

    async def admit(self, name: bytes, address: str) -> None:
        """Raise TooManyRequestsError if no password for `name` (empty: for nobody in particular)
        or from `address` is looked at just now.
        """
        left = 0.0
        for kind, subject in _subjects(name, address):
            failures = await self._tally.find(kind, subject)
            if failures is not None:
                left = max(left, failures.seconds_left(self._now()))
        if left > 0:
            reason = "too many failed logins; wait before the next"
            raise TooManyRequestsError({"reason": reason}, retry_after=math.ceil(left))

    async def failed(self, name: bytes, address: str) -> None:
        """Note that a login failed."""
        blamed = [(subject, self._rules[subject[0]]) for subject in _subjects(name, address)]
        for failures in await self._tally.add(blamed) if blamed else ():
            left = failures.seconds_left(self._now())
            if left > 0:
                self._metrics.login_locked(failures.kind)
                shown = {"client.ip": failures.subject} if failures.kind == "address" else {}
                _log.warning(
                    "logins are locked after failures",
                    kind=failures.kind,
                    failures=failures.count,
                    seconds=round(left),
                    **shown,
                )

    async def succeeded(self, name: bytes) -> None:
        """Note that a login succeeded: the failures of the account before it are forgotten. Those
        from the address stay, or whoever has one account could go on guessing others.
        """
        for kind, subject in _subjects(name, ""):
            if await self._tally.find(kind, subject) is not None:
                await self._tally.clear(kind, subject)


def _subjects(name: bytes, address: str) -> list[Subject]:
    account = account_subject(name.decode("utf-8", "replace"))
    place = address_subject(address)
    found: list[Subject] = []
    if account:
        found.append(("account", account))
    if place:
        found.append(("address", place))
    return found
