"""How much a namespace may hold, and what is said when it holds too much.

A quota is about a namespace and all that is below it. Bytes are those of blobs, each once, wherever
in the namespace it lies; manifests and tags count in every repository, and a repository as long as
it has a manifest. `soft` warns, `hard`
refuses; either may be missing. Times are microseconds since 1970-01-01 UTC.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal, get_args

from msgspec import Struct

from entrepot.core.decision import describe_namespace
from entrepot.core.errors import EntrepotError, QuotaExceededError

Resource = Literal["bytes", "repositories", "manifests", "tags"]
RESOURCES: Final[tuple[Resource, ...]] = get_args(Resource)

LARGEST: Final = 2**60
"""Of anything: bytes, or a number of things."""

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS: Final = {
    **{unit.lower(): 1024**power for power, unit in enumerate(_UNITS)},
    **{unit.lower()[0] + "b": 1000**power for power, unit in enumerate(_UNITS) if power},
    "": 1,
}
_SIZE: Final = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([a-zA-Z]{0,3})")

_MORE: Final = (
    "delete what is not needed (the bytes come back when that has left the trash: entrepot trash), "
    "or ask who administers the namespace above for a higher quota"
)


class QuotaError(EntrepotError):
    """A quota can't be as it was asked for; the text says why."""


class QuotaUnknownError(QuotaError):
    """There is no such quota."""


class Quota(Struct, frozen=True):
    """How much of a resource a namespace may hold. `exceeded_at` is since when it holds more than
    is allowed softly; `counted_at` since when all is counted that lay there before, None until
    then.
    """

    namespace_id: int
    namespace: str
    resource: Resource
    soft: int | None
    hard: int | None
    exceeded_at: int | None = None
    counted_at: int | None = None

    def amount(self, count: int) -> str:
        """Return an amount of the resource in words."""
        return show_size(count) if self.resource == "bytes" else f"{count} {self.resource}"

    def refusal(self, *, used: int, more: int) -> QuotaExceededError | None:
        """Return what is said if `more` doesn't fit, else None. What adds nothing always fits,
        unless it is an upload of which that is not known yet, into what is over its limit.
        """
        if self.hard is None or used + more <= self.hard:
            return None
        place = describe_namespace(self.namespace)
        reason = (
            f"the quota of {place} is {self.amount(self.hard)}, of which {self.amount(used)} are "
            f"used; this needs {self.amount(more)} more: {_MORE}"
        )
        named = self.namespace or "/"
        detail: Mapping[str, object] = {
            "reason": reason,
            "namespace": named,
            "resource": self.resource,
            "used": used,
            "limit": self.hard,
            "needed": more,
        }
        return QuotaExceededError(
            detail, message=f"quota exceeded: {reason}", quota=(named, self.resource)
        )

    def warning(self, *, used: int) -> str | None:
        """Return what is said of a namespace that holds more than is allowed softly, else None."""
        if self.soft is None or used <= self.soft:
            return None
        rest = f"; at {self.amount(self.hard)} pushes are refused" if self.hard is not None else ""
        return (
            f"{describe_namespace(self.namespace)} holds {self.amount(used)}, more than its quota "
            f"of {self.amount(self.soft)}{rest}"
        )


class Standing(Struct, frozen=True):
    """A quota and what is used of it."""

    quota: Quota
    used: int


def parse_resource(text: str) -> Resource:
    """Return a resource, or raise QuotaError."""
    for resource in RESOURCES:
        if text == resource:
            return resource
    raise QuotaError(f"{text[:64]!r} can't be limited: choose one of {', '.join(RESOURCES)}")


def check_limits(soft: int | None, hard: int | None) -> None:
    """Raise QuotaError if these are no limits of a quota."""
    if soft is None and hard is None:
        raise QuotaError("a quota has a soft limit, a hard limit, or both")
    for limit in (soft, hard):
        if limit is not None and not 0 <= limit <= LARGEST:
            raise QuotaError(f"{limit} is no limit: it lies between 0 and {LARGEST}")
    if soft is not None and hard is not None and soft > hard:
        raise QuotaError(
            f"the soft limit {soft} is above the hard one, {hard}: it would never warn"
        )


def parse_limit(resource: Resource, text: str) -> int:
    """Return a limit as people write it: `500GiB` of bytes, a number of everything else.

    Raises:
        QuotaError: it is not written so.
    """
    found = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(found[2].lower()) if found else None
    if found is None or factor is None or (resource != "bytes" and not text.isdigit()):
        hint = "such as 500GiB, 1.5TB or a number of bytes" if resource == "bytes" else "a number"
        raise QuotaError(f"{text[:64]!r} is no limit of {resource}: write {hint}")
    return int(Decimal(found[1]) * factor)


def show_size(count: int) -> str:
    """Return bytes as people read them: `1.5 GiB`."""
    size, place = float(count), 0
    while abs(size) >= 1023.95 and place + 1 < len(_UNITS):
        size, place = size / 1024, place + 1
    digits = 0 if place == 0 else 1
    return f"{size:.{digits}f}".removesuffix(".0") + f" {_UNITS[place]}"
