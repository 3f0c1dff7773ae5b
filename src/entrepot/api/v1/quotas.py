"""The quotas of `/api/v1`."""

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.forms_quotas import QuotaSet, QuotaView
from entrepot.api.v1.operation import Call, sees
from entrepot.core.access import Action
from entrepot.core.quotas import Resource, Standing


async def list_quotas(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[QuotaView]:
    """List the quotas of the namespaces that you may see, with what is used, by namespace and
    resource.
    """
    found: list[QuotaView] = []
    for standing in await call.services.quotas.list():
        shown = await _view(call, standing)
        mark = f"{shown.namespace}:{shown.resource}"
        if (not after or mark > after) and await sees(call, standing.quota.namespace):
            if len(found) == limit:
                return Page(found, f"{found[-1].namespace}:{found[-1].resource}")
            found.append(shown)
    return Page(found)


async def show_quotas(call: Call, namespace: str) -> list[QuotaView]:
    """Show the quotas of a namespace, with what is used of them."""
    return [await _view(call, each) for each in await call.services.quotas.list(namespace)]


async def _view(call: Call, standing: Standing) -> QuotaView:
    """Return what the caller is shown of a quota."""
    access, space = call.services.access, standing.quota.namespace
    pushes = await access.decide(call.identity, Action.PUSH, repository=space)
    hidden = not pushes.allowed and await call.readable() is not None
    return QuotaView.of(standing, hidden=hidden)


async def set_quota(call: Call, namespace: str, body: QuotaSet) -> QuotaView:
    """Limit a resource (bytes, repositories, manifests or tags) in a namespace and all below it,
    instead of what was set before. That is for whoever administers the namespace above.
    """
    standing = await call.services.quotas.set(
        namespace, body.resource, soft=body.soft, hard=body.hard, by=call.by
    )
    return QuotaView.of(standing)


async def remove_quota(call: Call, namespace: str, *, resource: Resource) -> None:
    """Limit a resource in a namespace no more."""
    await call.services.quotas.remove(namespace, resource, by=call.by)
