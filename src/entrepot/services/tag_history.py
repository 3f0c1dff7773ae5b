"""Where tags pointed, and putting them back."""

from typing import Final, NamedTuple

from entrepot.core.audit import REGISTRY, Actor, event
from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.undo import Move, UndoUnknownError, find_between, find_target
from entrepot.db import Reader, Transaction
from entrepot.db.counting import find_home
from entrepot.db.repositories import find_repository
from entrepot.db.tag_history import find_move_around, forget_moves, list_moves
from entrepot.db.tags import find_tag, set_tag
from entrepot.services.audit import Notes
from entrepot.services.protection import check_may_go
from entrepot.services.restoring import Restoring
from entrepot.services.stores import Stores

NEWEST: Final = 2**62
"""Above every id."""

_STEP: Final = 1000
"""Moves that are forgotten in one transaction."""

_MARGIN: Final = 2 * 24 * 3600 * 1_000_000
"""Microseconds that the clock may be wrong by without anything being forgotten too early."""


class Target(NamedTuple):
    """Where a tag shall point: to a digest, else to where it did at a time (in microseconds), else
    to where it did before its last `steps` moves.
    """

    digest: Digest | None = None
    moment: int | None = None
    steps: int = 1


class RolledBack(NamedTuple):
    """Where a tag points now, and where it did before; both are the same if nothing changed."""

    digest: Digest
    previous: Digest | None


async def list_tag_history(
    stores: Stores,
    name: RepositoryName,
    tag: Tag | None,
    *,
    before: int = NEWEST,
    limit: int,
) -> list[Move]:
    """Return the moves of a tag, or of all tags of a repository, the last first, before an id.

    Raises:
        UndoUnknownError: there is no such repository.
    """
    repository = await _known(stores.index, name)
    return await list_moves(stores.index, repository, tag, before=before, limit=limit)


async def roll_back_tag(
    stores: Stores, name: RepositoryName, tag: Tag, target: Target, *, by: Actor
) -> RolledBack:
    """Point a tag at a manifest that it pointed at before, or at any other; if that is in the trash
    it is brought back with what belongs to it, but without other tags.

    Raises:
        UndoUnknownError: there is no such repository or tag.
        UndoError: the history doesn't say where it pointed, or the manifest is gone for good.
        DeniedError: the tag is protected, or what it points at is on hold.
    """
    now = stores.now()

    async def work(transaction: Transaction, notes: Notes) -> RolledBack:
        repository = await _known(transaction, name)
        digest = await _find_target(transaction, repository, name, tag, target)
        current = await find_tag(transaction, repository, tag)
        if current is not None and current[1] == digest:
            return RolledBack(digest, digest)
        previous = current[1] if current is not None else None
        if previous is not None:
            await check_may_go(
                transaction, name, repository, tags=[tag], manifests=[previous], now=now
            )
        restoring = Restoring(stores, transaction, notes, by, now, tagged=False)
        manifest = await restoring.find_or_restore(repository, name, digest)
        await set_tag(
            transaction,
            await find_home(transaction, repository),
            tag,
            manifest=(manifest, digest),
            actor=by.name,
            now=now,
            review_after=now + stores.keeping.deleted,
        )
        told = event("tag.rollback", repository=name, tag=tag, digest=digest, previous=previous)
        notes.add(told)
        return RolledBack(digest, previous)

    return await stores.trail.write(work, by=by)


async def _find_target(
    reader: Reader, repository: int, name: RepositoryName, tag: Tag, target: Target
) -> Digest:
    if target.digest is not None:
        return target.digest
    moves = await list_moves(reader, repository, tag, before=NEWEST, limit=target.steps)
    if not moves:
        raise UndoUnknownError(f"nothing is remembered of a tag {name}:{tag}")
    if target.moment is None:
        return find_target(moves, steps=target.steps)
    return find_between(*await find_move_around(reader, repository, tag, moment=target.moment))


async def _known(reader: Reader, name: RepositoryName) -> int:
    found = await find_repository(reader, name)
    if found is None:
        raise UndoUnknownError(f"there is no repository {name}")
    return found


async def forget_old_history(stores: Stores) -> None:
    """Forget moves that are older than they are remembered, some at a time."""
    keep = stores.keeping.history
    if not keep:
        return
    before = stores.now() - keep - _MARGIN

    async def work(transaction: Transaction, notes: Notes) -> int:
        count = await forget_moves(transaction, before=before, limit=_STEP)
        if count:
            notes.add(event("history.forget", count=count))
        return count

    while await stores.trail.write_lazily(work, by=REGISTRY) == _STEP:
        pass
