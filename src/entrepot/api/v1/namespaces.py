"""`/api/v1/namespaces`."""

import msgspec

from entrepot.api.v1.forms import (
    PAGE,
    After,
    Limit,
    NamespaceChange,
    NamespaceDetail,
    NamespaceGone,
    NamespaceMake,
    NamespaceView,
    Page,
)
from entrepot.api.v1.operation import Call, sees
from entrepot.core.access import Action


async def list_namespaces(
    call: Call, *, limit: Limit = PAGE, after: After = ""
) -> Page[NamespaceView]:
    """List the namespaces that you may see, by name."""
    found: list[NamespaceView] = []
    for known in await call.services.namespaces.list():
        shown = NamespaceView.of(known)
        if (not after or shown.name > after) and await sees(call, known.namespace.name):
            if len(found) == limit:
                return Page(found, found[-1].name)
            found.append(shown)
    return Page(found)


async def create_namespace(call: Call, body: NamespaceMake) -> NamespaceView:
    """Make a namespace; repositories whose names begin with its name are in it at once."""
    await call.services.namespaces.create(
        body.name, by=call.by, visibility=body.visibility, description=body.description
    )
    return NamespaceView.of(await call.services.namespaces.find(body.name))


async def show_namespace(call: Call, namespace: str) -> NamespaceDetail:
    """Show a namespace, with the number of repositories that you may see in it."""
    known = await call.services.namespaces.find(namespace)
    visible = await call.services.access.visible(call.identity, Action.LIST)
    count = await call.services.namespaces.repositories(namespace, visible)
    shown = NamespaceView.of(known)
    return NamespaceDetail(**msgspec.structs.asdict(shown), repositories=count)


async def change_namespace(call: Call, namespace: str, body: NamespaceChange) -> NamespaceView:
    """Change the settings of a namespace that are given."""
    given = body.description
    await call.services.namespaces.change(
        namespace,
        by=call.by,
        visibility=body.visibility,
        description=None if isinstance(given, msgspec.UnsetType) else given,
    )
    return NamespaceView.of(await call.services.namespaces.find(namespace))


async def delete_namespace(call: Call, namespace: str, *, move_up: bool = False) -> NamespaceGone:
    """Delete a namespace. What is in it goes to the one above with `move_up`; otherwise there must
    be nothing in it.
    """
    parent = await call.services.namespaces.delete(namespace, by=call.by, move_up=move_up)
    return NamespaceGone(namespace, parent or "/")
