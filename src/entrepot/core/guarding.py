"""How failed logins slow down whoever goes on trying: decisions without clock and index.

Before the failure number `attempts` nothing is locked. That one and each further one double the
time for which no password is looked at any more, from `delay` up to `longest`. After `memory`
without a failure all is forgotten.
"""

import ipaddress
from typing import Final, Literal

from msgspec import Struct

FailureKind = Literal["account", "address"]

MICROSECONDS: Final = 1_000_000
_LONGEST_NAME: Final = 128
_MOST_DOUBLINGS: Final = 40
_NETWORK_BITS: Final = 64


class Rule(Struct, frozen=True):
    """How patient the registry is. Times are seconds."""

    attempts: int
    delay: float
    longest: float
    memory: float


class Failures(Struct, frozen=True):
    """Failed logins of one account, or from one address. Times are microseconds since 1970."""

    kind: FailureKind
    subject: str
    count: int
    failed_at: int
    locked_until: int

    def seconds_left(self, now: int) -> float:
        """Return for how long no password is looked at; 0 if one is."""
        return max(0, self.locked_until - now) / MICROSECONDS


def after_failure(
    rule: Rule, known: Failures | None, *, kind: FailureKind, subject: str, now: int
) -> Failures:
    """Return what is known after one more failure at `now`."""
    forgotten = known is None or now - known.failed_at > rule.memory * MICROSECONDS
    count = 1 if known is None or forgotten else known.count + 1
    beyond = count - rule.attempts
    wait = 0.0
    if beyond >= 0:
        wait = min(rule.longest, rule.delay * 2.0 ** min(beyond, _MOST_DOUBLINGS))
    return Failures(kind, subject, count, now, now + int(wait * MICROSECONDS))


def account_subject(name: str) -> str:
    """Return under what the failures of an account are counted; nothing if it can be none."""
    return name if name.isprintable() and len(name) <= _LONGEST_NAME else ""


def address_subject(address: str) -> str:
    """Return under what the failures from an address are counted: itself, or with IPv6 the network
    of 64 bits in which whoever has one address has them all.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS), strict=False))
