"""Who uses how many bytes: of namespaces, repositories and tags.

Whoever may not read everything is answered as if only what is `readable` were there (None is all):
no sum shows whether somebody else has the same bytes.
"""

from collections.abc import AsyncIterator
from typing import Final

from entrepot.core.errors import NameUnknownError
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.repositories import find_repository
from entrepot.db.usage import (
    Place,
    Usage,
    list_linked,
    list_names_in,
    list_needed_by_tag,
    list_tags_after,
    measure_tag_usage,
    measure_usage,
)
from entrepot.services.access import Visible
from entrepot.services.stores import Stores

_LOOKED_AT: Final = 500
"""Repositories that are read at once where not all are visible."""

_BLOBS: Final = 20_000
"""Blobs that are read at once where not all repositories are visible."""


async def measure_namespace(stores: Stores, namespace: str, readable: Visible | None) -> Usage:
    """Return the bytes of a namespace and all below it; the root has an empty name."""
    return await _measure(stores, Place.within(namespace), readable)


async def measure_repository(
    stores: Stores, name: RepositoryName, readable: Visible | None
) -> Usage:
    """Return the bytes of a repository. Raises NameUnknownError."""
    await _find(stores, name)
    return await _measure(stores, Place(name), readable)


async def measure_repositories(
    stores: Stores, namespace: str, *, last: str, limit: int, readable: Visible | None
) -> list[tuple[RepositoryName, Usage]]:
    """Return at most `limit` repositories of a namespace and all below it after `last` that are
    readable, with their bytes.
    """
    found: list[tuple[RepositoryName, Usage]] = []
    asked = limit if readable is None else max(limit, _LOOKED_AT)
    while page := await list_names_in(stores.index, namespace, last=last, limit=asked):
        for name in page:
            if readable is None or readable.shows(name):
                found.append((name, await _measure(stores, Place(name), readable)))
                if len(found) == limit:
                    return found
        last = page[-1]
    return found


async def measure_tags(
    stores: Stores, name: RepositoryName, *, last: str, limit: int, readable: Visible | None
) -> list[tuple[Tag, Usage]]:
    """Return at most `limit` tags of a repository after `last`, with their bytes. Raises
    NameUnknownError.
    """
    repository = await _find(stores, name)
    tags = await list_tags_after(stores.index, repository, last=last, limit=limit)
    return [(tag, await _measure_tag(stores, repository, tag, readable)) for tag in tags]


async def find_exclusive_blobs(
    stores: Stores, name: RepositoryName, readable: Visible
) -> dict[bytes, int]:
    """Return the sizes of the blobs that no other readable repository links, by their packed
    digests.
    """
    return {
        digest: size async for digest, size, alone in _blobs(stores, Place(name), readable) if alone
    }


async def _measure(stores: Stores, place: Place, readable: Visible | None) -> Usage:
    if readable is None:
        return await measure_usage(stores.index, place)
    total = exclusive = 0
    async for _, size, alone in _blobs(stores, place, readable):
        total += size
        exclusive += size * alone
    return Usage(total, exclusive)


async def _measure_tag(
    stores: Stores, repository: int, tag: Tag, readable: Visible | None
) -> Usage:
    if readable is None:
        return await measure_tag_usage(stores.index, repository, tag)
    total = exclusive = 0
    for held in await list_needed_by_tag(stores.index, repository, tag):
        total += held.size
        exclusive += held.size * (not any(map(readable.shows, held.repositories)))
    return Usage(total, exclusive)


async def _blobs(
    stores: Stores, place: Place, readable: Visible
) -> AsyncIterator[tuple[bytes, int, bool]]:
    """Give the blobs that readable repositories of a place link, with their bytes, and whether no
    readable one outside does.
    """
    shown: dict[str, bool] = {}
    last = b""
    while page := await list_linked(stores.index, place, last=last, limit=_BLOBS):
        for digest, size, repositories in page:
            for name in repositories:
                if name not in shown:
                    shown[name] = readable.shows(name)
            within = {place.holds(name) for name in repositories if shown[name]}
            if True in within:
                yield digest, size, False not in within
        last = page[-1].digest


async def _find(stores: Stores, name: RepositoryName) -> int:
    repository = await find_repository(stores.index, name)
    if repository is None:
        raise NameUnknownError({"name": name})
    return repository
