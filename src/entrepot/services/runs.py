"""Asking for background work, and what came of it."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from entrepot.core.audit import Actor, event
from entrepot.core.work import Document, Run, WorkUnknownError
from entrepot.db.engine import Database, Transaction
from entrepot.db.jobs import add_job, find_lease_holder, find_waiting_run
from entrepot.db.runs import add_run, find_last_run, find_run, list_runs
from entrepot.services.audit import Notes, Trail
from entrepot.services.schedules import Kinds, check_settings

PRESENCE: Final = "upkeep"
"""The kind of the leases by which processes show that they do what is asked for."""

_AFTER_ALL: Final = 2**62


class Runs:
    """What is done in the background of one registry."""

    def __init__(
        self, index: Database, *, now: Callable[[], int], trail: Trail, kinds: Kinds
    ) -> None:
        self._index = index
        self._now = now
        self._trail = trail
        self._kinds = kinds

    async def request(self, kind: str, settings: Document, *, by: Actor | str) -> Run:
        """Ask for something to be done as soon as may be. If the same was asked for and is not done
        yet, that is returned.

        Raises:
            WorkError: there is no such kind, or its settings can't be so.
        """
        known = check_settings(self._kinds, kind, settings)
        key = msgspec.json.encode(known, order="deterministic").decode()
        now = self._now()

        async def work(transaction: Transaction, notes: Notes) -> int:
            waiting = await find_waiting_run(transaction, kind, key)
            if waiting is not None:
                return waiting
            run = await add_run(transaction, kind, cause=f"asked for by {by}", now=now)
            await add_job(transaction, kind, key, run=run, settings=known, run_after=now)
            notes.add(event("run.request", target=kind, run=run, settings=known))
            return run

        return await self.find(await self._trail.write(work, by=by))

    async def find(self, run: int) -> Run:
        """Return a run. Raises WorkUnknownError."""
        found = await find_run(self._index, run)
        if found is None:
            raise WorkUnknownError(f"there is no run {run}")
        return found

    async def last(self, kind: str) -> Run | None:
        """Return the last run of a kind that came to an end, or None."""
        return await find_last_run(self._index, kind)

    async def list(self, *, kind: str = "", before: int = _AFTER_ALL, limit: int) -> Sequence[Run]:
        """Return runs with an id below `before`, of one kind or all, the newest first."""
        return await list_runs(self._index, kind=kind, before=before, limit=limit)

    async def attendant(self) -> str | None:
        """Return a process of a server that does what is asked for, or None if none shows."""
        return await find_lease_holder(self._index, PRESENCE, now=self._now())
