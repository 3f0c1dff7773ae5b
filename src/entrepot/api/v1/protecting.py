"""`/api/v1/protections` and `/api/v1/holds`: what can't be moved or deleted."""

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.forms_protecting import HoldMake, HoldView, ProtectionMake, ProtectionView
from entrepot.api.v1.operation import Call, parse_mark, sees
from entrepot.api.v1.references import parse_given
from entrepot.core.names import RepositoryName
from entrepot.services import protection as service


async def list_protections(
    call: Call, *, limit: Limit = PAGE, after: After = ""
) -> Page[ProtectionView]:
    """List the rules that protect tags in the namespaces that you may see, oldest first."""
    last = parse_mark(after, first=0)
    found: list[ProtectionView] = []
    for rule in await service.list_rules(call.content().index):
        if rule.id > last and await sees(call, rule.namespace):
            if len(found) == limit:
                return Page(found, str(found[-1].id))
            found.append(ProtectionView.of(rule))
    return Page(found)


async def protect_tags(call: Call, body: ProtectionMake) -> ProtectionView:
    """Protect tags by pattern from being moved and deleted, or except some from that."""
    rule = await service.protect_tags(
        call.content(),
        body.namespace,
        repositories=body.repositories,
        tags=body.tags,
        exception=body.exception,
        by=call.by,
    )
    return ProtectionView.of(rule)


async def unprotect_tags(call: Call, protection: int) -> ProtectionView:
    """Remove a rule; the answer shows what it was."""
    rule = await service.unprotect_tags(call.content(), protection, by=call.by)
    return ProtectionView.of(rule)


async def list_holds(
    call: Call, *, repository: str = "", limit: Limit = PAGE, after: After = ""
) -> Page[HoldView]:
    """List the holds on repositories that you may see, also those that have ended, oldest first."""
    name = str(RepositoryName.parse(repository)) if repository else ""
    index, last = call.content().index, parse_mark(after, first=0)
    found: list[HoldView] = []
    while page := await service.list_holds(index, repository=name, after=last, limit=PAGE):
        for hold in page:
            last = hold.id
            if await sees(call, hold.repository):
                if len(found) == limit:
                    return Page(found, str(found[-1].id))
                found.append(HoldView.of(hold))
    return Page(found)


async def place_hold(call: Call, body: HoldMake) -> HoldView:
    """Keep a repository, or an image with what belongs to it, from being deleted by anybody and
    anything, until the hold is released or ends.
    """
    stores = call.content()
    ends = None
    if body.expires_in is not None:
        ends = stores.now() + int(body.expires_in * 1_000_000)
    hold = await service.place_hold(
        stores,
        RepositoryName.parse(body.repository),
        parse_given(body.reference) if body.reference else None,
        reason=body.reason,
        owner=body.owner or str(call.by),
        expires_at=ends,
        by=call.by,
    )
    return HoldView.of(hold)


async def release_hold(call: Call, hold: int) -> HoldView:
    """End a hold; the answer shows what it was."""
    return HoldView.of(await service.release_hold(call.content(), hold, by=call.by))
