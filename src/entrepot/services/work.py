"""Doing background work: what schedules and people ask for, each by one process of the cluster.

A job is claimed by a lease, which is renewed while it is done. If its owner dies, the lease ends
and another process goes on where the last `Task.note` was. What fails is tried again, later each
time, and given up when it has failed `MOST_ATTEMPTS` times without any progress.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from entrepot.core.audit import Actor, event
from entrepot.core.errors import EntrepotError
from entrepot.core.work import (
    LEASE,
    MOST_ATTEMPTS,
    SECOND,
    Document,
    Job,
    Outcome,
    Schedule,
    next_time,
    wait_after,
)
from entrepot.db.engine import Database, Transaction
from entrepot.db.jobs import (
    add_job,
    claim_job,
    find_waiting_run,
    finish_job,
    forget_leases,
    hold_lease,
    is_owner,
    let_lease_go,
    list_due_kinds,
    note_cursor,
    renew_job,
    rest_job,
)
from entrepot.db.runs import add_run, begin_run, finish_run, forget_runs, note_run
from entrepot.db.schedules import find_schedule, list_due_schedules, move_schedule_on
from entrepot.services.audit import Notes, Trail
from entrepot.services.runs import PRESENCE
from entrepot.services.schedules import draw, find_zone

UPKEEP: Final = Actor(kind="registry", method="upkeep", reason="background work of the registry")
"""Who does what is done in the background."""

KEEP_RUNS: Final = 90 * 24 * 3600 * SECOND
"""After which a run that is over is forgotten."""

_PERIOD: Final = 2.0
"""Seconds between two looks at what is due."""

_SHOWN_FOR: Final = 30 * SECOND
"""For which a process shows that it is there; it does so again after a third of that."""

_TIDY_EVERY: Final = 3600 * SECOND
_MOST_DUE: Final = 100

_log = structlog.get_logger("entrepot.work")


class _LostError(EntrepotError):
    """Somebody else has the job now."""


class Task:
    """A job as it is seen by whoever does it."""

    def __init__(self, index: Database, job: Job, *, owner: str) -> None:
        self._index = index
        self._job = job
        self._owner = owner
        self.settings: Final = job.settings
        """What was asked for, in the form of the kind's settings."""
        self.cursor: Final = job.cursor
        """How far an earlier attempt was; empty at the beginning."""
        self.report: Document = {}
        """What was noted last."""
        self.attempts = job.attempts
        """Those since the last progress, with this one."""

    async def note(self, report: Document, *, cursor: Document | None = None) -> None:
        """Record what came of it so far and, with `cursor`, that it has come as far as that."""
        job, owner = self._job, self._owner

        async def work(transaction: Transaction) -> None:
            if cursor is None:
                mine = await is_owner(transaction, job.id, owner=owner)
            else:
                mine = await note_cursor(transaction, job, cursor, owner=owner)
            if not mine:
                raise _LostError("another process has this work now")
            await note_run(transaction, job.run, report)

        await self._index.write_lazily(work)
        self.report = report
        if cursor is not None:
            self.attempts = 1


Does = Callable[[Task], Awaitable[Document]]
"""Does a job, and returns what came of it. May be cancelled at any time and begun again by another
process, with the cursor that was noted last. Errors that may pass are raised as `EntrepotError`."""


class Runner:
    """Does what is due, in this process. `counted` is told each end with its time."""

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        trail: Trail,
        kinds: Mapping[str, Does],
        node: str,
        counted: Callable[[str, Outcome, int], None] = lambda _kind, _outcome, _now: None,
        lease: int = LEASE,
    ) -> None:
        self._index = index
        self._now = now
        self._trail = trail
        self._kinds = kinds
        self._node = node
        self._counted = counted
        self._lease = lease
        self._owner = f"{node} {uuid4().hex}"
        self._running: dict[str, asyncio.Task[None]] = {}
        self._shown_at = self._tidied_at = -(2**62)

    async def run(self) -> None:
        """Go on until cancelled. What fails is logged and tried again."""
        try:
            while True:
                try:
                    await self.look()
                except EntrepotError as error:
                    _log.error("background work will be tried again", error=str(error))
                await asyncio.sleep(_PERIOD)
        finally:
            await self.stop()

    async def look(self) -> None:
        """Show that work is done here, begin what is due, and forget what is old."""
        await self._show()
        await self.turn()
        await self._tidy()

    async def turn(self) -> None:
        """Begin everything that is due now."""
        now = self._now()
        for due in await list_due_schedules(self._index, now=now, limit=_MOST_DUE):
            await self._fire(due, now=now)
        for kind in await list_due_kinds(self._index, now=now):
            if kind in self._kinds:
                await self.take(kind)

    async def take(self, kind: str) -> None:
        """Begin what is due of one kind, unless somebody is at work of that kind."""
        if kind in self._running:
            return
        job = await self._claim(kind)
        if job is not None:
            self._running[kind] = asyncio.create_task(self._attend(job))

    async def stop(self) -> None:
        """End what is being done here; others may go on with it at once."""
        running = list(self._running.values())
        for each in running:
            each.cancel()
        if running:
            await asyncio.wait(running)
        with suppress(EntrepotError):
            await self._index.write(
                lambda t: let_lease_go(t, PRESENCE, self._node, owner=self._owner)
            )

    # Schedules ----------------------------------------------------------------------------------

    async def _fire(self, due: Schedule, *, now: int) -> None:
        """Make the job of a schedule whose time has come, unless another process has done so, or
        what it began last time is still under way.
        """
        chance = draw()
        try:
            zone = find_zone(due.timezone)
            following = next_time(due.cron, zone, after=now, jitter=due.jitter, chance=chance)
        except EntrepotError as error:
            _log.error("a schedule can't be followed", schedule=due.name, error=str(error))
            following = now + _TIDY_EVERY
        key = f"schedule {due.name}"

        async def work(transaction: Transaction) -> bool | None:
            known = await find_schedule(transaction, due.name)
            if known != due:
                return None
            await move_schedule_on(transaction, due.name, now=now, next_at=following)
            if await find_waiting_run(transaction, due.kind, key) is not None:
                return False
            run = await add_run(transaction, due.kind, cause=key, now=now)
            await add_job(transaction, due.kind, key, run=run, settings=due.settings, run_after=now)
            return True

        if await self._index.write(work) is False:
            _log.warning("skipped: the last run is still under way", schedule=due.name)

    # Jobs ---------------------------------------------------------------------------------------

    async def _claim(self, kind: str) -> Job | None:
        now = self._now()

        async def work(transaction: Transaction) -> Job | None:
            job = await claim_job(
                transaction, kind, owner=self._owner, now=now, until=now + self._lease
            )
            if job is not None:
                await begin_run(transaction, job.run, node=self._node, now=now)
            return job

        return await self._index.write(work)

    async def _attend(self, job: Job) -> None:
        """Do a job and record how it ended, whatever happens."""
        try:
            await self._do(job)
        except EntrepotError as error:
            # Its lease ends, and it is tried again.
            _log.error("the index can't be told of work", kind=job.kind, error=str(error))
        finally:
            del self._running[job.kind]

    async def _do(self, job: Job) -> None:
        task = Task(self._index, job, owner=self._owner)
        if job.attempts > MOST_ATTEMPTS:
            await self._end(job, {"error": "every process that tried it died"}, outcome="failure")
            return
        work = asyncio.ensure_future(self._kinds[job.kind](task))
        try:
            await self._keep(job, work)
            await self._end(job, work.result(), outcome="success")
        except _LostError:
            _log.warning("another process goes on with this", kind=job.kind, run=job.run)
        except asyncio.CancelledError:
            await _ended(work)
            await self._rest(job, task, error=None)
            raise
        except EntrepotError as error:
            await self._fail(job, task, error=str(error))
        except Exception as error:  # noqa: BLE001 - one fault must not end all other work
            _log.exception("background work failed", kind=job.kind, run=job.run)
            await self._fail(job, task, error=f"a fault of the registry: {error!r}")
        finally:
            await _ended(work)

    async def _keep(self, job: Job, work: "asyncio.Future[Document]") -> None:
        """Renew the lease until the work is done. Raises _LostError if that did not succeed."""
        until = self._now() + self._lease
        while not (await asyncio.wait({work}, timeout=self._lease / SECOND / 4))[0]:
            now = self._now()
            try:
                mine = await self._renew(job, until=now + self._lease)
            except EntrepotError:
                if now >= until:
                    raise
                continue  # the lease is not over, and the index may answer next time
            if not mine:
                raise _LostError("another process has this work now")
            until = now + self._lease

    async def _renew(self, job: Job, *, until: int) -> bool:
        async def work(transaction: Transaction) -> bool:
            return await renew_job(transaction, job.id, owner=self._owner, until=until)

        return await self._index.write_lazily(work)

    async def _fail(self, job: Job, task: Task, *, error: str) -> None:
        if task.attempts >= MOST_ATTEMPTS:
            await self._end(job, {**task.report, "error": error}, outcome="failure")
        else:
            await self._rest(job, task, error=error)

    async def _rest(self, job: Job, task: Task, *, error: str | None) -> None:
        """Let it wait: for a while after an error, or for whoever goes on with it."""
        again = self._now() + (0 if error is None else wait_after(task.attempts))
        report = task.report if error is None else {**task.report, "error": error}

        async def work(transaction: Transaction) -> bool:
            if not await rest_job(
                transaction, job.id, owner=self._owner, run_after=again, error=error
            ):
                return False
            await note_run(transaction, job.run, report, outcome="waiting")
            return True

        if await self._index.write(work) and error is not None:
            _log.warning("will be tried again", kind=job.kind, run=job.run, error=error)

    async def _end(self, job: Job, report: Document, *, outcome: Outcome) -> None:
        now = self._now()
        sums = {key: value for key, value in report.items() if not isinstance(value, list | dict)}

        async def work(transaction: Transaction, notes: Notes) -> bool:
            if not await finish_job(transaction, job.id, owner=self._owner):
                return False
            await finish_run(transaction, job.run, report, outcome=outcome, now=now)
            told = event("run.finish", target=job.kind, run=job.run, report=sums)
            good = outcome == "success"
            notes.add(told if good else msgspec.structs.replace(told, outcome="failure"))
            return True

        if await self._trail.write(work, by=UPKEEP):
            self._counted(job.kind, outcome, now)
            tell = _log.info if outcome == "success" else _log.error
            tell("background work ended", kind=job.kind, run=job.run, outcome=outcome, report=sums)

    # Presence -----------------------------------------------------------------------------------

    async def _show(self) -> None:
        """Show that what is asked for is done here."""
        now = self._now()
        if now - self._shown_at < _SHOWN_FOR / 3 and now >= self._shown_at:
            return
        self._shown_at = now

        async def work(transaction: Transaction) -> None:
            until = now + _SHOWN_FOR
            await hold_lease(
                transaction, PRESENCE, self._node, owner=self._owner, now=now, until=until
            )

        await self._index.write_lazily(work)

    async def _tidy(self) -> None:
        now = self._now()
        if now - self._tidied_at < _TIDY_EVERY:
            return
        self._tidied_at = now

        async def work(transaction: Transaction) -> None:
            await forget_runs(transaction, before=now - KEEP_RUNS)
            await forget_leases(transaction, PRESENCE, before=now - _TIDY_EVERY)

        await self._index.write_lazily(work)


async def _ended(work: "asyncio.Future[Document]") -> None:
    """Cancel what is being done, and wait for its end."""
    work.cancel()
    await asyncio.wait({work})
    if not work.cancelled():
        work.exception()
