"""`/api/v1/trash` and the history of tags: what was deleted or moved comes back."""

import asyncio

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.forms_undo import (
    EmptiedView,
    MoveView,
    RestoredView,
    Rollback,
    RolledBackView,
    TrashRestore,
    TrashSelect,
    TrashView,
    parse_selection,
)
from entrepot.api.v1.operation import Call, parse_mark
from entrepot.core.access import Action
from entrepot.core.names import RepositoryName, Tag
from entrepot.services import tag_history
from entrepot.services import trash as service


async def list_trash(
    call: Call,
    *,
    operation: str = "",
    repository: str = "",
    namespace: str = "",
    limit: Limit = PAGE,
    after: After = "",
) -> Page[TrashView]:
    """List what is in the trash and you may restore, the last deletion first: of one deletion, of a
    repository, or of a namespace and those below it.
    """
    stores, wanted = call.content(), parse_selection([], operation, repository, namespace)
    before = parse_mark(after, first=service.NEWEST)
    found: list[TrashView] = []
    while True:  # a short page with a next one would tell of what is hidden in between
        rows = await service.list_trash(stores.index, wanted, before=before, limit=PAGE)
        for row in rows:
            decision = await call.services.access.decide(
                call.identity, Action.TAG, repository=row.repository
            )
            if decision.allowed:
                if len(found) == limit:
                    return Page(found, str(found[-1].id))
                found.append(TrashView.of(row))
        if len(rows) < PAGE:
            return Page(found)
        before = rows[-1].id
        await asyncio.sleep(0)  # the others have their turn


async def restore_trash(call: Call, body: TrashRestore) -> RestoredView:
    """Bring tags and manifests back from the trash, with what belongs to them: all that is selected
    or, if a tag was set again and points at something else, nothing.
    """
    stores, wanted = call.content(), body.parsed()
    done = await service.restore(stores, wanted, by=call.actor, force=body.force)
    if call.metrics is not None:
        call.metrics.restored(tags=done.tags, manifests=done.manifests)
    return RestoredView.of(done)


async def empty_trash(call: Call, body: TrashSelect) -> EmptiedView:
    """Let what is in the trash go for good; what is on hold stays."""
    return EmptiedView.of(await service.empty_trash(call.content(), body.parsed(), by=call.actor))


async def list_history(
    call: Call, repository: str, *, tag: str = "", limit: Limit = PAGE, after: After = ""
) -> Page[MoveView]:
    """List the moves of a tag, or of all tags of a repository, the last first: from where to where,
    when, and by whom.
    """
    found = await tag_history.list_tag_history(
        call.content(),
        RepositoryName.parse(repository),
        Tag.parse(tag) if tag else None,
        before=parse_mark(after, first=tag_history.NEWEST),
        limit=limit + 1,
    )
    shown = [MoveView.of(move) for move in found[:limit]]
    return Page(shown, str(shown[-1].id) if len(found) > limit else None)


async def roll_back(call: Call, repository: str, body: Rollback) -> RolledBackView:
    """Point a tag at what it pointed at before, or at another manifest, which is brought back if it
    is in the trash.
    """
    stores, name = call.content(), RepositoryName.parse(repository)
    tag, target = body.parsed()
    done = await tag_history.roll_back_tag(stores, name, tag, target, by=call.actor)
    return RolledBackView.of(tag, done)
