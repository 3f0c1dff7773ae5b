"""Counting what lies in namespaces with quotas: once when the first quota is set, and now and then
to find out whether the sums are right.

Pushes and deletions go on meanwhile and count what they change. It goes in small transactions with
pauses, and may be interrupted anywhere.
"""

import asyncio
import base64
from typing import Final

import msgspec
import structlog

from entrepot.core.audit import event
from entrepot.core.quotas import Quota, Resource
from entrepot.core.work import RECOUNT, SECOND, Document
from entrepot.db.engine import Transaction
from entrepot.db.jobs import add_job, find_waiting_run
from entrepot.db.quotas import list_quotas, note_counted
from entrepot.db.recounts import (
    Place,
    add_missing,
    correct_sums,
    find_drift,
    gather,
    is_counting,
    list_forgotten,
    list_scattered,
    remove_stale,
)
from entrepot.db.runs import add_run
from entrepot.db.settings import find_setting, replace_setting
from entrepot.services.audit import Notes
from entrepot.services.quotas import forget_counted
from entrepot.services.stores import Stores
from entrepot.services.work import UPKEEP, Task

BATCH: Final = 500
"""Blobs that are looked at in one transaction."""

PAUSE: Final = 0.02
"""Seconds between two transactions."""

MOST_SHARDS: Final = 64
"""Parts that a sum may be in before they are brought together."""

EVERY: Final = 24 * 3600 * SECOND
"""Microseconds between two recounts of everything."""

RECOUNTED_AT: Final = "quotas.recounted_at"
"""The setting that says when everything was last recounted."""

_ALL: Final = "all"

_log = structlog.get_logger("entrepot.quotas")


class _Cursor(msgspec.Struct, frozen=True):
    """How far a recount is: in which namespace (those before it, by id, are done), whether what is
    counted was looked at, and where. Digests are packed, in base64.
    """

    namespace: int = 0
    checked: bool = False
    repository: str = ""
    digest: str = ""


class Recounter:
    """Recounts what a job names: one namespace, or all that have quotas."""

    def __init__(self, stores: Stores, *, batch: int = BATCH, pause: float = PAUSE) -> None:
        self._stores = stores
        self._batch = batch
        self._pause = pause

    async def run(self, task: Task) -> Document:
        """Do a job, and return which namespaces were counted and what was corrected."""
        cursor = msgspec.convert(task.cursor, _Cursor)
        wanted = task.settings.get("namespace")
        report: Document = {"namespaces": 0, "corrected": {}, **task.report}
        for number, quota in sorted((await self._wanted(wanted)).items()):
            if number < cursor.namespace:
                continue
            if number > cursor.namespace:
                cursor = _Cursor(number)
            corrected = await self._recount(task, quota, cursor, report)
            report["namespaces"] += 1
            if corrected:
                report["corrected"][quota.namespace or "/"] = corrected
            await task.note(report, cursor=msgspec.to_builtins(_Cursor(number + 1)))
        for number in await list_forgotten(self._stores.index):
            await forget_counted(self._stores.index, number)
        if wanted is None:
            done = str(self._stores.now())
            await self._stores.index.write_lazily(
                lambda transaction: replace_setting(transaction, RECOUNTED_AT, value=done)
            )
        return report

    async def _wanted(self, name: str | None) -> dict[int, Quota]:
        found = await list_quotas(self._stores.index)
        return {q.namespace_id: q for q in found if name is None or q.namespace == name}

    async def _recount(
        self, task: Task, quota: Quota, cursor: _Cursor, report: Document
    ) -> dict[Resource, int]:
        """Recount one namespace from where an attempt was; return what was wrong in what had been
        counted before.
        """
        number, changed = quota.namespace_id, 0
        while not cursor.checked:
            after = base64.b64decode(cursor.digest)
            rest, gone = await self._remove_stale(number, after)
            changed -= gone
            cursor = _at(number, Place("", rest or b""), checked=rest is None)
            await self._note(task, report, cursor)
        place: Place | None = Place(cursor.repository, base64.b64decode(cursor.digest))
        while place is not None:
            place, came = await self._add_missing(quota, place)
            changed += came
            if place is not None:
                await self._note(task, report, _at(number, place, checked=True))
        return await self._correct(quota, changed)

    async def _note(self, task: Task, report: Document, cursor: _Cursor) -> None:
        await task.note(report, cursor=msgspec.to_builtins(cursor))
        await asyncio.sleep(self._pause)

    async def _remove_stale(self, number: int, after: bytes) -> tuple[bytes | None, int]:
        async def work(transaction: Transaction) -> tuple[bytes | None, int]:
            if not await is_counting(transaction, number):
                return None, 0
            return await remove_stale(transaction, number, after=after, limit=self._batch)

        return await self._stores.index.write_lazily(work)

    async def _add_missing(self, quota: Quota, after: Place) -> tuple[Place | None, int]:
        number, name = quota.namespace_id, quota.namespace

        async def work(transaction: Transaction) -> tuple[Place | None, int]:
            if not await is_counting(transaction, number):
                return None, 0
            return await add_missing(transaction, number, name, after=after, limit=self._batch)

        return await self._stores.index.write_lazily(work)

    async def _correct(self, quota: Quota, changed: int) -> dict[Resource, int]:
        """Put the sums right, and say so if they were wrong after they had been right once."""
        number, name, now = quota.namespace_id, quota.namespace, self._stores.now()
        fresh = quota.counted_at is None
        if not fresh and not changed and not await find_drift(self._stores.index, number, name):
            return {}

        async def work(transaction: Transaction, notes: Notes) -> dict[Resource, int]:
            if not await is_counting(transaction, number):
                return {}
            drift = await correct_sums(transaction, number, name)
            if fresh:
                await note_counted(transaction, number, now=now)
                return {}
            drift["bytes"] = drift.get("bytes", 0) + changed
            found = {what: more for what, more in drift.items() if more}
            if found:
                notes.add(event("quota.correct", target=name or "/", more=found))
            return found

        found = await self._stores.trail.write(work, by=UPKEEP)
        if found:
            _log.warning("what is used of a quota was counted wrong", namespace=name, more=found)
        return found


def _at(number: int, place: Place, *, checked: bool) -> _Cursor:
    return _Cursor(number, checked, place.repository, base64.b64encode(place.digest).decode())


async def gather_shards(stores: Stores) -> None:
    """Bring together the parts of sums that lie in many."""
    for namespace, resource in await list_scattered(stores.index, most=MOST_SHARDS):

        async def work(
            transaction: Transaction, namespace: int = namespace, resource: Resource = resource
        ) -> None:
            await gather(transaction, namespace, resource)

        await stores.index.write_lazily(work)


async def request_recount(stores: Stores) -> None:
    """Ask for a recount of everything, if there are quotas and the last one was long ago."""
    now = stores.now()
    last = await find_setting(stores.index, RECOUNTED_AT)
    if last is not None and now - int(last) < EVERY:
        return
    if not await list_quotas(stores.index):
        return

    async def work(transaction: Transaction) -> None:
        if await find_waiting_run(transaction, RECOUNT, _ALL) is None:
            run = await add_run(transaction, RECOUNT, cause="once a day", now=now)
            await add_job(transaction, RECOUNT, _ALL, run=run, settings={}, run_after=now)

    await stores.index.write_lazily(work)
