"""Reading the audit log: page by page, or all of it."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from entrepot.core.audit import Record
from entrepot.core.errors import EntrepotError
from entrepot.db.audit import Found, Mark, find_audit_mark, search_audit_events
from entrepot.db.engine import Database

_LAST: Final = (2**62, 2**62)
"""A mark after every event."""

_FIRST_ID: Final = -(2**62)

_SLICE: Final = 1000
_FEW: Final = 50
"""Events that are looked at and given in one go; other requests are answered in between."""


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
        after: str = "",
        limit: int,
    ) -> Page:
        """Return a page of the events that are `wanted` (`search_audit_events`), from one time
        until another, after the mark of an earlier page.

        Raises:
            AuditError: that is no mark.
        """
        mark = min(_parse(after) if after else _LAST, (until, _FIRST_ID))
        oldest = (since, _FIRST_ID)
        found: list[Found] = []
        while len(found) <= limit:
            end = await find_audit_mark(self._index, wanted, before=mark, since=since, skip=_SLICE)
            rest = limit + 1 - len(found)
            found += await search_audit_events(
                self._index, wanted, before=mark, down_to=end or oldest, limit=rest
            )
            if end is None:
                break
            mark = end
            await asyncio.sleep(0)
        if len(found) <= limit:
            return Page(found, "")
        last = found[limit - 1]
        return Page(found[:limit], f"{last.record.occurred_at}-{last.id}")

    async def every(
        self, wanted: Mapping[str, str], *, since: int, until: int
    ) -> AsyncIterator[Sequence[Record]]:
        """Give all events that are wanted, the newest first, some at a time."""
        page = Page((), "")
        while True:
            page = await self.search(
                wanted, since=since, until=until, after=page.rest, limit=_SLICE
            )
            for start in range(0, len(page.found), _FEW):
                yield [found.record for found in page.found[start : start + _FEW]]
                await asyncio.sleep(0)
            if not page.rest:
                return


def parse_checkpoint(text: str) -> tuple[int, str]:
    """Return the number and the hash of a checkpoint, written NUMBER:HASH.

    Raises:
        AuditError: it is not written so.
    """
    number, _, digest = text.partition(":")
    if not re.fullmatch(r"[0-9]{1,18}", number) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise AuditError(f"{text[:128]!r} is not NUMBER:HASH")
    return int(number), digest


def _parse(mark: str) -> Mark:
    moment, _, number = mark.partition("-")
    if not re.fullmatch(r"[0-9]{1,18}-[0-9]{1,18}", mark):
        raise AuditError(f"{mark[:64]!r} is not the mark of a page")
    return int(moment), int(number)
