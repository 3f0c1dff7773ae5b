"""Comparing the index with the store, both ways: blobs without an object or with one of another
size, and objects that the index does not know (docs/lifecycle.md, "Check").

Nothing is read but names and sizes. What may be under way is left alone: an object younger than the
grace period may get its row at any moment, and what is being deleted is no finding. To repair is to
set blobs apart as a scrub does, and to collect unknown objects as the collector does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
import structlog
from msgspec import Struct, field

from entrepot.core.digest import Digest
from entrepot.core.work import CheckSettings, Document
from entrepot.db.collection import is_importing
from entrepot.db.doomed import find_blob_state, find_size
from entrepot.db.scrubbing import StoredBlob, list_stored_blobs
from entrepot.db.sweeps import list_known, list_manifests_anywhere
from entrepot.services.collecting import Collector
from entrepot.services.scrubbing import MOST_FINDINGS, Scrubber
from entrepot.services.stores import Stores
from entrepot.services.sweeping import PREFIXES, FindOwnedSince, packed_range
from entrepot.services.work import Task
from entrepot.storage.store import StoredBlob as StoredObject

_PAGE: Final = 1000
_NOTE_EVERY: Final = 5.0
"""Seconds between two notes of how far it is."""

_log = structlog.get_logger("entrepot.check")


class Difference(Struct, frozen=True):
    """Something that does not agree, and what was done about it."""

    digest: str
    problem: str
    action: str


class Compared(Struct):
    """What came of it so far. `blobs` are rows, `objects` what the store has, with `size` in bytes;
    `missing` blobs have no object, `resized` one of another size. `unknown` objects have no row, of
    `unknown_size` bytes; `young` ones don't either, but may be on their way. Repairs: `set_apart`
    and, of these, `repaired` blobs; `removed` objects with `removed_size`. `judged` says whether
    unknown objects are garbage: not if the storage was not this index's own for a grace period, or
    something is being taken over. `left` is what is wrong still.
    """

    fix: bool = False
    blobs: int = 0
    objects: int = 0
    size: int = 0
    missing: int = 0
    resized: int = 0
    unknown: int = 0
    unknown_size: int = 0
    young: int = 0
    set_apart: int = 0
    repaired: int = 0
    removed: int = 0
    removed_size: int = 0
    judged: bool = True
    left: int = 0
    findings: list[Difference] = []


class _Cursor(Struct, frozen=True):
    """How many parts of the store were compared, and what came of it."""

    parts: int = 0
    report: Compared = field(default_factory=Compared)


class Comparer:
    """Compares the stores of one registry. `scrubber` sets apart what is missing, and does no
    passes; `collect` gives a new collector, `read_time` the time by which content goes.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        scrubber: Scrubber,
        collect: Callable[[], Collector],
        read_time: Callable[[], Awaitable[int]],
        find_owned_since: FindOwnedSince,
    ) -> None:
        self._stores = stores
        self._scrubber = scrubber
        self._collect = collect
        self._read_time = read_time
        self._find_owned_since = find_owned_since

    async def run(self, task: Task) -> Document:
        """Do a whole check, from where an earlier attempt was."""
        cursor = msgspec.convert(task.cursor, _Cursor)
        report = cursor.report
        report.fix = msgspec.convert(task.settings, CheckSettings).fix
        before = await self._read_time() - self._stores.keeping.grace
        owned = await self._find_owned_since()
        importing = await is_importing(self._stores.index)
        report.judged = owned is not None and owned <= before and not importing
        noted_at = asyncio.get_running_loop().time()
        for number, prefix in enumerate(PREFIXES[cursor.parts :], cursor.parts + 1):
            await self._compare(prefix, report, before)
            if asyncio.get_running_loop().time() - noted_at > _NOTE_EVERY:
                noted_at = asyncio.get_running_loop().time()
                reached = msgspec.to_builtins(_Cursor(number, report))
                await task.note(_document(report), cursor=reached)
        if report.fix and report.judged and report.unknown:
            await self._remove(report)
        report.left = report.missing + report.resized - report.repaired
        if report.judged:
            report.left += max(0, report.unknown - report.removed)
        return _document(report)

    async def _compare(self, prefix: str, report: Compared, before: int) -> None:
        """Compare one part of the store. What does not agree is looked at once more, for index and
        store were read one after the other.
        """
        index = self._stores.index
        first, last = packed_range(prefix)
        rows = {row.digest: row async for row in self._rows(first, last)}
        objects: dict[Digest, StoredObject] = {}
        async for page in self._stores.blobs.stored(prefix):
            objects |= {found.digest: found for found in page}
        report.blobs += len(rows)
        report.objects += len(objects)
        report.size += sum(found.size for found in objects.values())
        for digest, row in rows.items():
            found = objects.pop(digest, None)
            if found is None or found.size != row.size:
                await self._look(row, report)
        known = await list_known(index, first=first, last=last) if objects else set()
        unknown = objects.keys() - known
        if unknown:  # the files in which registry:2 kept manifests stay
            unknown -= await list_manifests_anywhere(index, first=first, last=last)
        for digest in sorted(unknown):
            await self._count(objects[digest], report, before)

    async def _rows(self, first: bytes, last: bytes) -> AsyncIterator[StoredBlob]:
        after = first[:2]
        while page := await list_stored_blobs(self._stores.index, after=after, limit=_PAGE):
            for row in page:
                if row.digest.packed > last:
                    return
                yield row
            after = page[-1].digest.packed

    async def _look(self, row: StoredBlob, report: Compared) -> None:
        """Look again at a blob whose object was not as it must be: it may have been removed, or
        sent again, meanwhile.
        """
        size = await self._stores.blobs.size(row.digest)
        if size == row.size or await find_size(self._stores.index, row.digest) != row.size:
            return
        action = ""
        if report.fix:
            mended = await self._scrubber.mend(row)
            if not (mended.missing or mended.damaged or mended.unreadable):
                return
            report.set_apart += mended.missing + mended.damaged
            report.repaired += mended.repaired
            if mended.repaired:
                action = "fetched from a peer"
            elif not mended.unreadable:
                action = "set apart until sent again"
        if size is None:
            report.missing += 1
            problem = "there is no object"
        else:
            report.resized += 1
            problem = f"the object has {size} bytes instead of {row.size}"
        _tell(report, Difference(str(row.digest), problem, action))

    async def _count(self, found: StoredObject, report: Compared, before: int) -> None:
        """Count an object that the index does not know."""
        state = await find_blob_state(self._stores.index, found.digest)
        if state.size is not None or state.doomed:
            return
        if found.placed_at >= before:
            report.young += 1
            return
        report.unknown += 1
        report.unknown_size += found.size
        if not (report.fix and report.judged):
            _tell(report, Difference(str(found.digest), "the index does not know this object", ""))

    async def _remove(self, report: Compared) -> None:
        """Collect the objects that the index does not know."""
        collector = self._collect()
        try:
            await collector.go_first()
            async for done in collector.sweep_all(["objects"]):
                for blob in done.blobs:
                    report.removed += 1
                    report.removed_size += blob.size
                    problem = "the index does not know this object"
                    _tell(report, Difference(str(blob.digest), problem, "deleted"))
        finally:
            await collector.let_go()


def _tell(report: Compared, difference: Difference) -> None:
    _log.warning("index and store differ", **msgspec.to_builtins(difference))
    if len(report.findings) < MOST_FINDINGS:
        report.findings.append(difference)


def _document(report: Compared) -> Document:
    document: Document = msgspec.to_builtins(report)
    return document
