"""The trash: what is in it, bringing it back, and emptying it.

What is too much for one transaction is brought back, or goes, in several. Each leaves the index
whole; whoever is interrupted asks for the same again.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from entrepot.core.audit import Actor, event
from entrepot.core.protections import Hold, find_holding
from entrepot.core.undo import Trashed, UndoConflictError, UndoUnknownError
from entrepot.db import Reader, Transaction
from entrepot.db.holds import list_live_holds
from entrepot.db.tags import find_tag
from entrepot.db.trash_contents import (
    find_trashed,
    let_go,
    list_expired,
    list_namespace_trash,
    list_operation_repositories,
    list_operation_trash,
    list_repository_trash,
    list_trashed_repositories,
)
from entrepot.services.audit import Notes
from entrepot.services.restoring import Restoring
from entrepot.services.stores import Stores

BATCH: Final = 200
"""Rows of the trash in one transaction."""

NEWEST: Final = 2**62
"""Above every id."""

NOTHING_SUCH: Final = "there is nothing like that in the trash"


_WINDOW: Final = Actor(kind="registry", method="trash", reason="the window of the trash is over")
"""Who lets things go without being asked."""


class Selection(NamedTuple):
    """What is asked for in the trash: some ids, else what one deletion threw away, else what is of
    one repository, else what is of a namespace and all below it.
    """

    ids: Sequence[int] = ()
    operation: str = ""
    repository: str = ""
    namespace: str = ""


class Restored(NamedTuple):
    """How much came back, and which tags did not because they are there again."""

    manifests: int
    tags: int
    left: Sequence[str] = ()


class Emptied(NamedTuple):
    """How much went for good, and how much a hold keeps."""

    gone: int
    held: int


async def list_trash(
    reader: Reader, wanted: Selection, *, before: int = NEWEST, limit: int
) -> list[Trashed]:
    """Return what is in the trash, the last deletion first, before an id."""
    if wanted.ids:
        numbers = sorted((each for each in set(wanted.ids) if each < before), reverse=True)
        rows = [await find_trashed(reader, number) for number in numbers[:limit]]
        return [row for row in rows if row is not None]
    if wanted.operation:
        return await list_operation_trash(reader, wanted.operation, before=before, limit=limit)
    if wanted.repository:
        return await list_repository_trash(reader, wanted.repository, before=before, limit=limit)
    return await list_namespace_trash(reader, wanted.namespace, before=before, limit=limit)


async def list_places(reader: Reader, wanted: Selection) -> list[str]:
    """Return the repositories of which something is selected.

    Raises:
        UndoUnknownError: there is nothing like that in the trash.
    """
    if wanted.repository:
        found = [wanted.repository]
    elif wanted.operation:
        found = await list_operation_repositories(reader, wanted.operation)
    elif wanted.ids:
        rows = [await find_trashed(reader, number) for number in wanted.ids]
        found = sorted({row.repository for row in rows if row is not None})
    else:
        found = await list_trashed_repositories(reader, wanted.namespace)
    if not found:
        raise UndoUnknownError(NOTHING_SUCH)
    return found


async def restore(stores: Stores, wanted: Selection, *, by: Actor, force: bool = False) -> Restored:
    """Bring back what is selected, with what belongs to it. Of a tag that was deleted several times
    the last deletion counts. With `force` tags that point at something else by now are moved back.

    Raises:
        UndoConflictError: some do, or are protected. Nothing is changed then, unless there was so
            much that it had begun.
        UndoUnknownError: nothing like that is in the trash.
        UndoError: something that is needed is gone for good.
    """
    if not force:
        await _check_conflicts(stores, wanted)
    parts: list[Restored] = []
    before, seen = NEWEST, set[tuple[str, str]]()
    while rows := await list_trash(stores.index, wanted, before=before, limit=BATCH):
        numbers = [row.id for row in rows if not _is_older(row, seen)]
        parts.append(
            await _restore_rows(stores, numbers, by=by, force=force, along=bool(wanted.ids))
        )
        before = rows[-1].id
    if not parts:
        raise UndoUnknownError(NOTHING_SUCH)
    left = tuple(sorted({tag for part in parts for tag in part.left}))
    return Restored(sum(part.manifests for part in parts), sum(part.tags for part in parts), left)


def _is_older(row: Trashed, seen: set[tuple[str, str]]) -> bool:
    """Whether a later deletion of the same tag was seen, which is noted."""
    if row.kind != "tag":
        return False
    key = (row.repository, row.tag)
    older = key in seen
    seen.add(key)
    return older


async def _restore_rows(
    stores: Stores, numbers: Sequence[int], *, by: Actor, force: bool, along: bool
) -> Restored:
    now = stores.now()

    async def work(transaction: Transaction, notes: Notes) -> Restored:
        restoring = Restoring(stores, transaction, notes, by, now, force, along)
        for number in numbers:
            await restoring.restore(number)
        return Restored(restoring.manifests, restoring.tags, restoring.left)

    return await stores.trail.write(work, by=by)


async def _check_conflicts(stores: Stores, wanted: Selection) -> None:
    """Make sure, before anything is changed, that no tag points at something else."""
    before, seen, found = NEWEST, set[tuple[str, str]](), list[str]()
    while rows := await list_trash(stores.index, wanted, before=before, limit=BATCH):
        for row in rows:
            if row.kind == "tag" and not _is_older(row, seen):
                current = await find_tag(stores.index, row.repository_id, row.tag)
                if current is not None and current[1] != row.digest:
                    found.append(f"{row.repository}:{row.tag}")
        before = rows[-1].id
    if found:
        shown = ", ".join(found[:10]) + (" and others" if len(found) > 10 else "")
        raise UndoConflictError(
            f"{len(found)} tags are there again and point at something else: {shown}; --force "
            "moves them back"
        )


# For good ---------------------------------------------------------------------------------------


async def empty_trash(stores: Stores, wanted: Selection, *, by: Actor) -> Emptied:
    """Let what is selected go for good, but for what a hold keeps."""
    parts: list[Emptied] = []
    before = NEWEST
    while rows := await list_trash(stores.index, wanted, before=before, limit=BATCH):
        parts.append(await _let_rows_go(stores, rows, by=by))
        before = rows[-1].id
    if not parts:
        raise UndoUnknownError(NOTHING_SUCH)
    return Emptied(sum(part.gone for part in parts), sum(part.held for part in parts))


async def _let_rows_go(stores: Stores, rows: Sequence[Trashed], *, by: Actor) -> Emptied:
    now = stores.now()

    async def work(transaction: Transaction, notes: Notes) -> Emptied:
        free = []
        for repository, group in groupby(rows, lambda row: row.repository_id):
            holds = await list_live_holds(transaction, repository, now=now)
            free += [row for row in group if _find_hold(holds, row) is None]
        await _let_go(stores, transaction, [row.id for row in free], now=now)
        for name, count in Counter(row.repository for row in free).items():
            notes.add(event("trash.empty", repository=name, count=count))
        return Emptied(len(free), len(rows) - len(free))

    return await stores.trail.write(work, by=by)


async def _let_go(
    stores: Stores, transaction: Transaction, numbers: Sequence[int], *, now: int
) -> None:
    keeping = stores.keeping
    await let_go(transaction, numbers, grace=keeping.grace, earliest=now + keeping.told)


def _find_hold(holds: Sequence[Hold], row: Trashed) -> Hold | None:
    digests = [row.digest] if row.subject is None else [row.digest, row.subject]
    return find_holding(holds, digests=digests, tags=[row.tag] if row.tag else [])


async def expire_trash(stores: Stores, *, now: int, limit: int = BATCH) -> int:
    """Let go for good, in one transaction, of at most `limit` things that have been in the trash
    for longer than its window, and that no hold keeps; return how many there were.
    """

    async def work(transaction: Transaction, notes: Notes) -> int:
        numbers = await list_expired(transaction, now=now, limit=limit)
        if numbers:
            await _let_go(stores, transaction, numbers, now=now)
            notes.add(event("trash.expire", count=len(numbers)))
        return len(numbers)

    return await stores.trail.write_lazily(work, by=_WINDOW)
