"""Who uses how many bytes: of namespaces, repositories and tags."""

from entrepot.core.errors import NameUnknownError
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.repositories import find_repository
from entrepot.db.usage import (
    Usage,
    list_names_in,
    list_tags_after,
    measure_namespace_usage,
    measure_repository_usage,
    measure_tag_usage,
)
from entrepot.services.access import Visible
from entrepot.services.stores import Stores

_LOOKED_AT = 500
"""Repositories that are read at once where not all are visible."""


async def measure_namespace(stores: Stores, namespace: str) -> Usage:
    """Return the bytes of a namespace and all below it; the root has an empty name."""
    return await measure_namespace_usage(stores.index, namespace)


async def measure_repository(stores: Stores, name: RepositoryName) -> Usage:
    """Return the bytes of a repository. Raises NameUnknownError."""
    await _find(stores, name)
    return await measure_repository_usage(stores.index, name)


async def measure_repositories(
    stores: Stores, namespace: str, *, last: str, limit: int, visible: Visible | None
) -> list[tuple[RepositoryName, Usage]]:
    """Return at most `limit` repositories of a namespace and all below it after `last`, of those
    that are visible, or of all, with their bytes.
    """
    found: list[tuple[RepositoryName, Usage]] = []
    asked = limit if visible is None else max(limit, _LOOKED_AT)
    while page := await list_names_in(stores.index, namespace, last=last, limit=asked):
        for name in page:
            if visible is None or visible.shows(name):
                found.append((name, await measure_repository_usage(stores.index, name)))
                if len(found) == limit:
                    return found
        last = page[-1]
    return found


async def measure_tags(
    stores: Stores, name: RepositoryName, *, last: str, limit: int
) -> list[tuple[Tag, Usage]]:
    """Return at most `limit` tags of a repository after `last`, with their bytes. Raises
    NameUnknownError.
    """
    repository = await _find(stores, name)
    tags = await list_tags_after(stores.index, repository, last=last, limit=limit)
    return [(tag, await measure_tag_usage(stores.index, repository, tag)) for tag in tags]


async def _find(stores: Stores, name: RepositoryName) -> int:
    repository = await find_repository(stores.index, name)
    if repository is None:
        raise NameUnknownError({"name": name})
    return repository
