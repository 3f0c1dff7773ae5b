"""`/api/v1/whoami` and `/api/v1/repositories`."""

from entrepot.api.v1.forms import PAGE, After, Caller, Limit, Page, TagView, shown_scopes
from entrepot.api.v1.operation import Call
from entrepot.core.access import Action
from entrepot.core.errors import NameUnknownError, ObjectUnknownError
from entrepot.core.names import RepositoryName
from entrepot.services import discovery


async def show_caller(call: Call) -> Caller:
    """Say who you are to the registry."""
    me = call.identity
    everything = await call.services.access.decide(me, Action.ADMINISTER)
    return Caller(
        name=me.name,
        kind=me.kind,
        method=me.method,
        groups=list(me.groups),
        administrator=everything.allowed,
        scopes=None if me.scopes is None else shown_scopes(me.scopes),
    )


async def list_repositories(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[str]:
    """List the names of the repositories that you may see."""
    visible = await call.services.access.visible(call.identity, Action.LIST)
    page = await discovery.list_repositories(
        call.content(), last=after, limit=limit, visible=visible
    )
    return Page(page.names, page.names[-1] if page.more else None)


async def list_tags(
    call: Call, repository: str, *, limit: Limit = PAGE, after: After = ""
) -> Page[TagView]:
    """List the tags of a repository with their sizes and the use that is made of them."""
    name = RepositoryName.parse(repository)
    try:
        uses = await discovery.list_tag_uses(call.content(), name, last=after, limit=limit + 1)
    except NameUnknownError as error:  # as for those who may not see it
        raise ObjectUnknownError({"reason": f"there is no repository {name}"}) from error
    shown = [TagView.of(use) for use in uses[:limit]]
    return Page(shown, shown[-1].name if len(uses) > limit else None)
