"""Reading the audit log: page by page, or all of it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from entrepot.core.audit import Record
from entrepot.core.errors import EntrepotError
from entrepot.db.audit import Found, search_audit_events
from entrepot.db.engine import Database

_LAST: Final = (2**62, 2**62)
"""A mark after every event."""

_BATCH: Final = 1000


class AuditError(EntrepotError):
    """The audit log can't be read as it was asked for; the text says why."""


class Page(Struct, frozen=True):
    """Events, the newest first, and the mark to go on with; empty if there are no more."""

    found: Sequence[Found]
    rest: str


class AuditLog:
    """The audit log of one registry."""

    def __init__(self, index: Database) -> None:
        self._index = index

    async def search(
        self,
        wanted: Mapping[str, str],
        *,
        since: int,
        until: int,
        before: str | None = None,
        limit: int,
    ) -> Page:
        """Return a page of the events that are `wanted` (`search_audit_events`), from one time
        until another, after the mark of an earlier page.

        Raises:
            AuditError: that is no mark.
        """
        mark = _LAST if before is None else _parse(before)
        found = await search_audit_events(
            self._index, wanted, since=since, until=until, before=mark, limit=limit + 1
        )
        rest = ""
        if len(found) > limit:
            found.pop()
            rest = f"{found[-1].record.occurred_at}-{found[-1].id}"
        return Page(found, rest)

    async def every(
        self, wanted: Mapping[str, str], *, since: int, until: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Give all events that are wanted, the newest first, some at a time."""
        page = Page((), "")
        while True:
            page = await self.search(
                wanted, since=since, until=until, before=page.rest or None, limit=_BATCH
            )
            yield [found.record for found in page.found]
            if not page.rest:
                return


def _parse(mark: str) -> tuple[int, int]:
    moment, _, number = mark.partition("-")
    if not (moment.isdecimal() and number.isdecimal()) or max(len(moment), len(number)) > 18:
        raise AuditError(f"{mark[:64]!r} is not the mark of a page")
    return int(moment), int(number)
