"""Importing all that `registry:2` left in a storage, in small transactions, by one owner at a time.

An import can be interrupted anywhere and goes on at the repository where it was: what the index has
already is not read again. Whatever is broken is recorded as a finding, and the rest goes on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar
from uuid import uuid4

import structlog

from entrepot.core import layout as paths
from entrepot.core.audit import TAKEOVER, event
from entrepot.core.digest import ALGORITHMS, Digest
from entrepot.core.errors import (
    DigestInvalidError,
    NameInvalidError,
    TagInvalidError,
    UnavailableError,
)
from entrepot.core.names import RepositoryName, Tag
from entrepot.db import DatabaseError, Transaction
from entrepot.db import imports as db
from entrepot.db.doomed import is_deleting
from entrepot.db.imports import Finding
from entrepot.db.manifests import find_manifest_id
from entrepot.db.repositories import ensure_repository, find_repository
from entrepot.services.audit import Notes
from entrepot.services.layout import FoundTag, Layout, Past
from entrepot.services.stores import Stores
from entrepot.services.takeover import add_batch, add_tag, load
from entrepot.storage import StorageError
from entrepot.storage.tree import File
from entrepot.telemetry import Metrics

BATCH: Final = 200
"""Manifests, tags or links in one transaction."""

_LEASE: Final = 12_000_000
"""Microseconds for which an owner has an import, unless it renews that."""

_BEAT: Final = 3.0
"""Seconds between two looks: at one's own import to renew it, at somebody else's to take it."""

_PATIENCE: Final = 60.0
"""Seconds for which deletions that are under way are waited for."""

_NEVER: Final = 2**62
"""Since when objects were deleted: an import begins when that is over."""

_REPORT: Final = 10.0
"""Seconds between two lines of the log."""

T = TypeVar("T")

_log = structlog.get_logger("entrepot.import")


class Importer:
    """Takes everything below `layout` into the index, as import `number`. `counted` is told the
    manifests that were taken and that were found to be broken.
    """

    def __init__(
        self,
        stores: Stores,
        layout: Layout,
        number: int,
        *,
        counted: Callable[[int, int], None] = lambda _taken, _broken: None,
        patience: float = _PATIENCE,
    ) -> None:
        self._stores = stores
        self._layout = layout
        self._number = number
        self._counted = counted
        self._patience = patience
        self._owner = uuid4().hex
        self._reported = 0.0

    async def run(self) -> bool:
        """Do all that is left, unless somebody else is at it; return whether it is finished.

        Raises:
            DatabaseError, StorageError: it can't go on now; what is done is kept.
        """
        if not await self._claim():
            return False
        work = asyncio.ensure_future(self._run())
        try:
            while not (await asyncio.wait({work}, timeout=_BEAT))[0]:
                if not await self._claim():
                    return False  # this process slept for long, and another has it now
            await work
        finally:
            work.cancel()
            await asyncio.wait({work})
            await self._write(lambda t: db.release_import(t, self._number, owner=self._owner))
        return True

    async def _claim(self) -> bool:
        now = self._stores.now()
        number, owner = self._number, self._owner
        return await self._write(
            lambda t: db.claim_import(t, number, owner=owner, now=now, until=now + _LEASE)
        )

    async def _write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._stores.index.write(work)

    async def _run(self) -> None:
        began = await db.find_import(self._stores.index, self._number)
        if began is None or began.finished_at is not None:
            return
        _log.info("import goes on", source=began.source, phase=began.phase)
        await self._settle()
        if began.phase == db.LISTING:
            if began.in_place:
                await self._layout.tree.settle()  # its blobs are going to be called durable
            await self._list()
            following = db.VERIFYING if began.verify else db.INDEXING
            await self._write(lambda t: db.set_import_phase(t, self._number, following))
        if began.verify and began.phase != db.INDEXING:
            await self._verify(began.position)
            await self._write(lambda t: db.set_import_phase(t, self._number, db.INDEXING))
        self._layout.wrong = await db.list_damaged_blobs(self._stores.index, self._number)
        name = await db.find_next_repository(self._stores.index, self._number, last="")
        while name is not None:
            await self._take_repository(RepositoryName(name))
            name = await db.find_next_repository(self._stores.index, self._number, last=name)
        now = self._stores.now()

        async def work(transaction: Transaction, notes: Notes) -> None:
            await db.finish_import(transaction, self._number, now=now)
            notes.add(event("import.finish", target=f"import {self._number}"))

        await self._stores.trail.write(work, by=TAKEOVER)
        await self._log_end()

    async def _settle(self) -> None:
        """Wait until no object of the store is being deleted: none will be before the import is
        finished, so what is found from here on stays.
        """
        until = time.monotonic() + self._patience
        while await is_deleting(self._stores.index):
            if time.monotonic() > until:
                raise StorageError(
                    "objects of this storage are about to be deleted, which comes first: a server "
                    "that runs does it, or `registry garbage-collect`; see `entrepot gc status`"
                )
            await asyncio.sleep(_BEAT / 30)

    async def _log_end(self) -> None:
        ended = await db.find_import(self._stores.index, self._number)
        if ended is not None:
            _log.info(
                "import is finished",
                source=ended.source,
                repositories=ended.repositories,
                manifests=ended.indexed,
                findings=ended.findings,
                seconds=round((self._stores.now() - ended.started_at) / 1e6, 1),
            )

    async def _report(self) -> None:
        """Write a line of the log every now and then."""
        if time.monotonic() - self._reported < _REPORT:
            return
        self._reported = time.monotonic()
        progress = await db.count_progress(self._stores.index, self._number)
        _log.info("import is under way", **progress._asdict())

    # Before anything is taken -------------------------------------------------------------------

    async def _list(self) -> None:
        """Note all repositories, so that lists of them are complete from then on."""
        counted: list[tuple[str, int]] = []
        async for text in self._layout.repositories():
            try:
                name = RepositoryName.parse(text)
            except NameInvalidError:
                finding = Finding(text, "name", "this is no name of a repository")
                await self._add_findings([finding])
                continue
            counted.append((name, await self._layout.count_manifests(name)))
            if len(counted) == BATCH:
                await self._note(counted)
                counted = []
        await self._note(counted)

    async def _add_findings(self, findings: list[Finding]) -> None:
        await self._write(lambda t: db.add_findings(t, self._number, findings))

    async def _note(self, counted: Sequence[tuple[str, int]]) -> None:
        await self._write(lambda t: db.add_import_repositories(t, self._number, counted))

    async def _verify(self, position: str) -> None:
        """Read and hash every blob, a folder of them after the other."""
        for algorithm in ALGORITHMS:
            found: list[str] = []
            async for page in self._layout.tree.names(f"{paths.BLOBS}/{algorithm}"):
                found += page
            for folder in sorted(f"{algorithm}/{name}" for name in found):
                if folder > position:
                    await self._verify_folder(folder)

    async def _verify_folder(self, folder: str) -> None:
        findings = []
        async for page in self._layout.tree.files(f"{paths.BLOBS}/{folder}"):
            for file in page:
                finding = await self._verify_file(file)
                if finding is not None:
                    findings.append(finding)

        async def work(transaction: Transaction) -> None:
            await db.add_findings(transaction, self._number, findings)
            await db.set_import_phase(transaction, self._number, db.VERIFYING, position=folder)

        await self._write(work)

    async def _verify_file(self, file: File) -> Finding | None:
        if file.error is not None:
            return Finding(file.path, "unreadable", file.error)
        try:
            digest = paths.blob_digest(file.path)
        except DigestInvalidError:
            return None  # no blob: nothing looks at it
        if await self._layout.verify(digest):
            return None
        return Finding(digest, "damaged", f"its {file.size} bytes have another digest")

    # One repository -----------------------------------------------------------------------------

    async def _take_repository(self, name: RepositoryName) -> None:
        seen, indexed, findings = 0, 0, []
        try:
            async for files in _batches(self._layout.tree.files(paths.revisions_path(name))):
                seen, indexed = await self._take_manifests(name, files, seen, indexed)
                await self._report()
            await self._take_tags(name)
            async for files in _batches(self._layout.tree.files(paths.layers_path(name))):
                await self._take_layers(name, files)
        except StorageError as error:
            findings.append(Finding(name, "unreadable", str(error)))

        async def work(transaction: Transaction) -> None:
            await db.add_findings(transaction, self._number, findings)
            await db.note_progress(
                transaction, self._number, name, seen=seen, indexed=indexed, done=True
            )

        await self._write(work)

    async def _take_manifests(
        self, name: RepositoryName, files: list[File], seen: int, indexed: int
    ) -> tuple[int, int]:
        """Take some manifests; return how many of the repository were seen and are taken."""
        links, findings = await self._layout.links(files)
        known = await self._known(name, links)
        new = {digest: at for digest, at in links.items() if digest not in known}
        batch = await load(self._stores, self._layout, name, new)
        batch.findings += findings
        now = self._stores.now()
        seen += len(files)

        async def work(transaction: Transaction) -> tuple[int, int]:
            added = await add_batch(transaction, name, batch, now=now, deleted_since=_NEVER)
            taken = len(links.keys() & (known | added.indexed))
            await db.add_findings(transaction, self._number, added.findings)
            await db.note_progress(
                transaction, self._number, name, seen=seen, indexed=indexed + taken, done=False
            )
            return taken, len(added.findings)

        taken, broken = await self._write(work)
        self._counted(taken, broken)
        return seen, indexed + taken

    async def _known(self, name: RepositoryName, digests: dict[Digest, int]) -> set[Digest]:
        repository = await find_repository(self._stores.index, name)
        if repository is None:
            return set()
        index = self._stores.index
        return {d for d in digests if await find_manifest_id(index, repository, d) is not None}

    async def _take_tags(self, name: RepositoryName) -> None:
        folders: dict[Tag, list[File]] = {}
        findings: list[Finding] = []
        async for text, files in _by_tag(name, self._layout.tree.files(paths.tags_path(name))):
            try:
                folders[Tag.parse(text)] = files
            except TagInvalidError:
                findings.append(Finding(f"{name}:{text}", "name", "this is no name of a tag"))
            if len(folders) == BATCH:
                await self._add_tags(name, folders, findings)
                folders, findings = {}, []
        await self._add_tags(name, folders, findings)

    async def _add_tags(
        self, name: RepositoryName, folders: dict[Tag, list[File]], findings: list[Finding]
    ) -> None:
        found, broken = await self._layout.read_tags(name, folders)
        findings += broken

        async def work(transaction: Transaction) -> None:
            repository = await find_repository(transaction, name)
            lost = await _add_tags(transaction, repository, name, list(found.values()))
            await db.add_findings(transaction, self._number, [*findings, *lost])

        await self._write(work)

    async def _take_layers(self, name: RepositoryName, files: list[File]) -> None:
        """Link what the repository serves beside what its manifests need. A link whose blob is
        missing is what the cleaning of `registry:2` leaves behind, and no finding.
        """
        links, findings = await self._layout.links(files)
        sizes = await self._layout.sizes(links)
        now = self._stores.now()

        async def work(transaction: Transaction) -> None:
            await db.add_findings(transaction, self._number, findings)
            if sizes:
                home = await ensure_repository(transaction, name, now=now)
                deleted = await db.list_deletions(transaction, home.id)
                kept = [(digest, size) for digest, size in sizes.items() if digest not in deleted]
                await db.adopt_blobs(transaction, home, kept, now=now, deleted_since=_NEVER)

        await self._write(work)


async def _add_tags(
    transaction: Transaction,
    repository: int | None,
    name: RepositoryName,
    found: Sequence[FoundTag],
) -> list[Finding]:
    """Record tags and return those that can't be."""
    lost = []
    for tag in found:
        reason: str | None = f"it points at {tag.digest}, which is missing or broken"
        if repository is not None:
            reason = await add_tag(transaction, repository, tag)
        if reason is not None:
            lost.append(Finding(f"{name}:{tag.tag}", "missing", reason))
    return lost


async def _batches(pages: AsyncIterator[list[File]]) -> AsyncIterator[list[File]]:
    async for page in pages:
        for start in range(0, len(page), BATCH):
            yield page[start : start + BATCH]


async def _by_tag(
    name: RepositoryName, pages: AsyncIterator[list[File]]
) -> AsyncIterator[tuple[str, list[File]]]:
    """Yield each folder of a tag with all the files in it."""
    above = len(paths.tags_path(name)) + 1
    current = ""
    files: list[File] = []
    async for page in pages:
        for file in page:
            tag = file.path[above:].partition("/")[0]
            if tag != current and files:
                yield current, files
                files = []
            current = tag
            files.append(file)
    if files:
        yield current, files


async def begin_takeover(stores: Stores, layout: Layout, *, source: str) -> None:
    """Begin to take over the registry's own storage if the index is empty and `registry:2` left
    repositories there; those who serve do it.
    """
    if not await layout.exists():
        return
    now = stores.now()

    async def work(transaction: Transaction, notes: Notes) -> bool:
        began = bool(await db.begin_takeover(transaction, source, now=now))
        if began:
            notes.add(event("import.begin", target=source))
        return began

    if await stores.trail.write(work, by=TAKEOVER):
        _log.info("taking over the repositories of registry:2", source=source)


# A worker's part --------------------------------------------------------------------------------


async def find_past(stores: Stores, layout: Layout) -> Past | None:
    """Return the takeover that is under way, or None."""
    found = await db.find_takeover(stores.index)
    return None if found is None else Past(layout, found.id, listed=found.phase != db.LISTING)


async def take_part(stores: Stores, past: Past, metrics: Metrics) -> None:
    """Take part in a takeover until it is finished: do the work, or wait while another does it."""
    importer = Importer(stores, past.layout, past.number, counted=metrics.import_progress)
    watching = asyncio.ensure_future(_watch(stores, past))
    try:
        while past.active:
            try:
                if await importer.run():
                    break
            except (DatabaseError, StorageError, UnavailableError) as error:
                _log.error("import failed and will be tried again", error=str(error))
            await asyncio.wait({watching}, timeout=_BEAT)
    finally:
        past.active = False
        watching.cancel()


async def _watch(stores: Stores, past: Past) -> None:
    """Notice how far the takeover is, whoever does it."""
    while past.active:
        with suppress(DatabaseError):
            found = await db.find_import(stores.index, past.number)
            past.active = found is not None and found.finished_at is None
            past.listed = found is not None and found.phase != db.LISTING
        await asyncio.sleep(_BEAT / 4)
