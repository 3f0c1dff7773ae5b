"""Reading everything that is stored, and comparing it with its digest (docs/lifecycle.md, "Scrub").

An object that has other bytes than its digest says, or is not there, is set apart
(`blobs.quarantined_at`): who pulls it gets an error instead of wrong bytes, and clients that ask
whether it is there are told to send it again, which heals it. Where peers are configured it is
fetched from one of them, and takes its place only if it has the right digest.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final, Literal, Protocol

import msgspec
import structlog
from msgspec import Struct, field

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.work import Document, ScrubSettings
from entrepot.db import Transaction
from entrepot.db.scrubbing import (
    StoredBlob,
    StoredPayload,
    list_holders,
    list_stored_blobs,
    list_stored_payloads,
    measure_blobs,
    quarantine_blob,
    release_blob,
)
from entrepot.services.audit import Notes
from entrepot.services.repairing import Repairs
from entrepot.services.stores import Stores
from entrepot.services.work import Task
from entrepot.storage import StorageError

SCRUBBER: Final = Actor(
    kind="registry", method="scrub", reason="its bytes were compared with its digest"
)
"""Who sets damaged blobs apart, and takes that back."""

WINDOW: Final = 1 << 20
"""Bytes that are read at once."""

MOST_FINDINGS: Final = 100
"""What a report lists; all are counted, logged and recorded."""

_PAGE: Final = 200
_NOTE_EVERY: Final = 5.0
"""Seconds between two notes of how far it is."""

_MOST_UNREADABLE: Final = 5
"""Objects in a row that can't be read before that is taken for a failure of the store itself."""

_NAMED: Final = 5

Condition = Literal["whole", "damaged", "missing", "unreadable"]
Observe = Callable[[Condition | Literal["repaired"], int], None]
"""Told what came of an object, and how many bytes were read."""

_log = structlog.get_logger("entrepot.scrub")


class Finding(Struct, frozen=True, omit_defaults=True):
    """Something that is damaged: a blob, or a manifest of a repository."""

    digest: str
    problem: str
    repositories: list[str]
    """Some of those that have it."""
    repaired: str = ""
    """From where."""


class Scrubbed(Struct):
    """What came of it so far. `left` and `left_bytes` are a guess at what is still to be read."""

    blobs: int = 0
    manifests: int = 0
    read: int = 0
    damaged: int = 0
    missing: int = 0
    unreadable: int = 0
    repaired: int = 0
    released: int = 0
    left: int = 0
    left_bytes: int = 0
    findings: list[Finding] = []


class _Place(Struct, frozen=True):
    """How far it is: the last blob (hexadecimal), the last manifest, and what came of it."""

    blob: str = ""
    manifest: int = 0
    blobs_done: bool = False
    report: Scrubbed = field(default_factory=Scrubbed)


class _Note(Protocol):
    """Notes how far it is."""

    async def __call__(self, report: Document, *, cursor: Document | None = None) -> None: ...


async def _unnoted(report: Document, *, cursor: Document | None = None) -> None:
    """Nobody goes on with a single blob."""


class Scrubber:
    """Scrubs the stores of one registry, at most `rate` bytes in a second unless a run asks for
    another; 0 is without a limit.
    """

    def __init__(
        self, stores: Stores, *, rate: int, repairs: Repairs, observe: Observe = lambda _c, _n: None
    ) -> None:
        self._stores = stores
        self._rate = rate
        self._repairs = repairs
        self._observe = observe

    async def run(self, task: Task) -> Document:
        """Do a whole pass, from where an earlier attempt was."""
        settings = msgspec.convert(task.settings, ScrubSettings)
        rate = self._rate if settings.rate is None else settings.rate
        async with self._repairs:
            return await self._begin(task.cursor, task.note, rate).run()

    async def mend(self, blob: StoredBlob) -> Scrubbed:
        """Look at one blob as a pass does: if it is damaged or missing, set it apart and fetch it
        from a peer. Not while this scrubber does a pass.
        """
        found = self._begin({}, _unnoted, self._rate)
        async with self._repairs:
            await found.scrub_blob(blob)
        return found.report

    def _begin(self, cursor: Document, note: "_Note", rate: int) -> "_Pass":
        return _Pass(
            self._stores, cursor, note, rate=rate, repairs=self._repairs, observe=self._observe
        )


class _Pass:
    def __init__(
        self,
        stores: Stores,
        cursor: Document,
        note: _Note,
        *,
        rate: int,
        repairs: Repairs,
        observe: Observe,
    ) -> None:
        self._stores = stores
        self._note = note
        self._repairs = repairs
        self._observe = observe
        self._pace = _Pace(rate)
        self._place = msgspec.convert(cursor, _Place)
        self.report = self._place.report
        self._noted_at = asyncio.get_running_loop().time()
        self._unreadable = 0

    async def run(self) -> Document:
        if not self._place.blobs_done:
            await self._scrub_blobs()
        await self._scrub_manifests()
        self.report.left = self.report.left_bytes = 0
        return self._document()

    def _document(self) -> Document:
        document: Document = msgspec.to_builtins(self.report)
        return document

    async def _advance(self, place: _Place, *, at_once: bool = False) -> None:
        """Go on behind something that was looked at, and note that now and then."""
        self._place = place
        now = asyncio.get_running_loop().time()
        if at_once or now - self._noted_at >= _NOTE_EVERY:
            self._noted_at = now
            cursor = msgspec.to_builtins(msgspec.structs.replace(place, report=self.report))
            await self._note(self._document(), cursor=cursor)

    # Blobs --------------------------------------------------------------------------------------

    async def _scrub_blobs(self) -> None:
        index = self._stores.index
        after = bytes.fromhex(self._place.blob)
        self.report.left, self.report.left_bytes = await measure_blobs(index, after=after)
        while page := await list_stored_blobs(index, after=after, limit=_PAGE):
            for blob in page:
                await self.scrub_blob(blob)
                after = blob.digest.packed
                self.report.blobs += 1
                self.report.left = max(0, self.report.left - 1)
                self.report.left_bytes = max(0, self.report.left_bytes - blob.size)
                await self._advance(msgspec.structs.replace(self._place, blob=after.hex()))
        await self._advance(msgspec.structs.replace(self._place, blobs_done=True), at_once=True)

    async def scrub_blob(self, blob: StoredBlob) -> None:
        condition, problem = await self._look(blob)
        if condition == "whole":
            if blob.quarantined_at is not None:
                await self._release(blob.digest, "it has the right bytes again")
            return
        if condition == "unreadable":
            self._unreadable += 1
            if self._unreadable >= _MOST_UNREADABLE:
                raise StorageError(f"the store can't be read: {problem}")
        elif not await self._set_apart(blob, problem):
            return
        await self._repair(blob, condition, problem)

    async def _look(self, blob: StoredBlob) -> tuple[Condition, str]:
        """Read a blob; say what is wrong with it."""
        condition: Condition = "damaged"
        read = 0
        try:
            reader = await self._stores.blobs.open(blob.digest)
            if reader is None:
                condition, problem = "missing", "there is no object"
            else:
                try:
                    hasher = hashlib.new(blob.digest.algorithm)
                    while read < reader.size:
                        data = await reader.read(read, WINDOW)
                        await asyncio.to_thread(hasher.update, data)
                        read += len(data)
                        await self._pace.take(len(data))
                        if not data:
                            raise StorageError("it became shorter while it was read")
                finally:
                    reader.close()
                problem = _compare(blob, read, hasher.hexdigest())
                condition = "damaged" if problem else "whole"
            self._unreadable = 0
        except StorageError as error:
            condition, problem = "unreadable", str(error)
        self.report.read += read
        self._observe(condition, read)
        return condition, problem

    async def _set_apart(self, blob: StoredBlob, problem: str) -> bool:
        """Quarantine a blob, and look again: it may have been pushed anew, or removed, meanwhile.
        Return whether it is damaged indeed.
        """
        now, digest = self._stores.now(), blob.digest

        async def work(transaction: Transaction, notes: Notes) -> bool:
            new = await quarantine_blob(transaction, digest, now=now)
            if new:
                notes.add(event("blob.quarantine", digest=digest, reason=problem, size=blob.size))
            return new

        new = await self._stores.trail.write(work, by=SCRUBBER)
        if not new and blob.quarantined_at is None:
            return False  # it is gone
        condition, _ = await self._look(blob)
        if condition == "whole":
            await self._release(digest, "it was sent again meanwhile")
            return False
        return True

    async def _release(self, digest: Digest, reason: str) -> None:
        async def work(transaction: Transaction, notes: Notes) -> bool:
            released = await release_blob(transaction, digest)
            if released:
                notes.add(event("blob.release", digest=digest, reason=reason))
            return released

        self.report.released += await self._stores.trail.write(work, by=SCRUBBER)

    async def _repair(self, blob: StoredBlob, condition: Condition, problem: str) -> None:
        """Fetch a damaged blob from a peer, and report it."""
        setattr(self.report, condition, getattr(self.report, condition) + 1)
        holders = await list_holders(self._stores.index, blob.digest, limit=self._repairs.most)
        source = await self._repairs.fetch_blob(blob.digest, blob.size, holders, by=SCRUBBER)
        if source:
            self.report.repaired += 1
            self._observe("repaired", 0)
        self._tell(Finding(str(blob.digest), problem, [*map(str, holders[:_NAMED])], source))

    def _tell(self, finding: Finding) -> None:
        tell = _log.warning if finding.repaired else _log.error
        tell("damaged content", **msgspec.to_builtins(finding))
        if len(self.report.findings) < MOST_FINDINGS:
            self.report.findings.append(finding)

    # Manifests ----------------------------------------------------------------------------------

    async def _scrub_manifests(self) -> None:
        """Compare the manifests in the index with their digests."""
        index, after = self._stores.index, self._place.manifest
        while page := await list_stored_payloads(index, after=after, limit=_PAGE):
            for manifest in page:
                if Digest.of(manifest.payload, algorithm=manifest.digest.algorithm) != (
                    manifest.digest
                ):
                    await self._repair_manifest(manifest)
            after = page[-1].id
            self.report.manifests += len(page)
            await self._advance(msgspec.structs.replace(self._place, manifest=after))

    async def _repair_manifest(self, manifest: StoredPayload) -> None:
        self.report.damaged += 1
        source = await self._repairs.fetch_manifest(manifest, by=SCRUBBER)
        self.report.repaired += bool(source)
        problem = "the manifest in the index has other bytes than its digest says"
        self._tell(Finding(str(manifest.digest), problem, [str(manifest.name)], source))


class _Pace:
    """Makes reading as slow as it shall be: `rate` bytes in a second, 0 for as fast as may be."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        if not self._rate:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + count / self._rate
        await asyncio.sleep(self._free_at - now)


def _compare(blob: StoredBlob, size: int, found: str) -> str:
    """Say what is wrong with an object; nothing if it is as it must be."""
    if size != blob.size:
        return f"the object has {size} bytes instead of {blob.size}"
    if found != blob.digest.hex:
        return f"the object has the digest {blob.digest.algorithm}:{found}"
    return ""
