"""What is to be done in the background, and when."""

from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Struct

from entrepot.core.audit import Actor, event
from entrepot.core.cron import parse_cron
from entrepot.core.work import (
    LONGEST_JITTER,
    SECOND,
    Document,
    Schedule,
    WorkError,
    WorkUnknownError,
    check_schedule_name,
    next_time,
)
from entrepot.db.engine import Database, Transaction
from entrepot.db.schedules import (
    enable_schedule,
    find_schedule,
    list_schedules,
    remove_schedule,
    set_schedule,
)
from entrepot.services.audit import Notes, Trail

draw: Final = SystemRandom().random
"""Gives a number between 0 and 1, by chance."""

Kinds = Mapping[str, type[Struct]]
"""The kinds of background work, each with the form of its settings."""


class Schedules:
    """Every change is recorded with `by`, whoever makes it."""

    def __init__(
        self, index: Database, *, now: Callable[[], int], trail: Trail, kinds: Kinds
    ) -> None:
        self._index = index
        self._now = now
        self._trail = trail
        self._kinds = kinds

    async def list(self) -> Sequence[Schedule]:
        """Return every schedule by name."""
        return await list_schedules(self._index)

    async def find(self, name: str) -> Schedule:
        """Return a schedule. Raises WorkUnknownError."""
        found = await find_schedule(self._index, name)
        if found is None:
            raise _unknown(name)
        return found

    async def set(
        self,
        name: str,
        *,
        kind: str,
        cron: str,
        by: Actor | str,
        timezone: str = "UTC",
        jitter: float = 0,
        settings: Document | None = None,
        enabled: bool = True,
    ) -> Schedule:
        """Make a schedule, or change the one of this name; `jitter` is in seconds.

        Raises:
            WorkError, CronError: something of it can't be so.
        """
        check_schedule_name(name)
        known = check_settings(self._kinds, kind, settings or {})
        line = parse_cron(cron).line
        zone = find_zone(timezone)
        if not 0 <= jitter * SECOND <= LONGEST_JITTER:
            raise WorkError("the jitter is between 0 and 24 hours")
        now, wide = self._now(), round(jitter * SECOND)
        due = next_time(line, zone, after=now, jitter=wide, chance=draw())
        wanted = Schedule(
            name=name,
            kind=kind,
            cron=line,
            timezone=timezone,
            jitter=wide,
            settings=known,
            enabled=enabled,
            next_at=due,
            last_at=None,
            created_at=now,
            created_by=str(by),
        )

        async def work(transaction: Transaction, notes: Notes) -> None:
            await set_schedule(transaction, wanted)
            told: Document = {"kind": kind, "cron": line, "timezone": timezone, "settings": known}
            notes.add(event("schedule.set", target=name, **told, enabled=enabled))

        await self._trail.write(work, by=by)
        return await self.find(name)

    async def enable(self, name: str, *, enabled: bool, by: Actor | str) -> Schedule:
        """Let a schedule run, from its next time on, or not. Raises WorkUnknownError."""
        known = await self.find(name)
        zone, chance = find_zone(known.timezone), draw()
        due = next_time(known.cron, zone, after=self._now(), jitter=known.jitter, chance=chance)

        async def work(transaction: Transaction, notes: Notes) -> None:
            await enable_schedule(transaction, name, enabled=enabled, next_at=due)
            notes.add(event("schedule.enable" if enabled else "schedule.disable", target=name))

        await self._trail.write(work, by=by)
        return await self.find(name)

    async def remove(self, name: str, *, by: Actor | str) -> None:
        """Remove a schedule; what it has begun goes on. Raises WorkUnknownError."""

        async def work(transaction: Transaction, notes: Notes) -> None:
            if not await remove_schedule(transaction, name):
                raise _unknown(name)
            notes.add(event("schedule.remove", target=name))

        await self._trail.write(work, by=by)


def check_settings(kinds: Kinds, kind: str, settings: Document) -> Document:
    """Return the settings of a kind of work with all its defaults, or raise WorkError."""
    if kind not in kinds:
        raise WorkError(f"{kind!r} is no kind of work; there are {', '.join(sorted(kinds))}")
    try:
        known = msgspec.convert(settings, kinds[kind])
    except msgspec.ValidationError as error:
        raise WorkError(f"the settings of {kind}: {error}") from error
    found: Document = msgspec.to_builtins(known)
    return found


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone by its name, or raise WorkError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WorkError(
            f"{name!r} is no time zone: write a name of the IANA database, such as Europe/Berlin "
            "or UTC"
        ) from error


def _unknown(name: str) -> WorkUnknownError:
    return WorkUnknownError(f"there is no schedule {name}")
