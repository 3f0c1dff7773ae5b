"""Listing repositories, tags and referrers (distribution-spec 1.1.1, "Content Discovery")."""

from typing import Final, NamedTuple

import msgspec

from entrepot.core.areas import EVERYWHERE
from entrepot.core.digest import Digest
from entrepot.core.errors import NameUnknownError
from entrepot.core.manifest import INDEXES, Descriptor, fallback_tag, parse_children
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.pulls import TagUse
from entrepot.db import repositories, tags
from entrepot.db.manifests import Referrer, find_manifest, find_manifest_id, list_referrers
from entrepot.db.pulls import list_tag_uses as list_uses
from entrepot.services.access import Visible
from entrepot.services.stores import Stores
from entrepot.services.takeover import list_old_repositories, list_old_tags, take_over

_LOOKED_AT: Final = 256
"""Repositories at least that are looked at together, if not all of them may be visible."""


class Page(NamedTuple):
    """Some names in the order of their bytes, and whether more follow."""

    names: list[str]
    more: bool


async def list_repositories(
    stores: Stores, *, last: str, limit: int, visible: Visible | None = None
) -> Page:
    """Return at most `limit` repositories whose names come after `last`, of those that are
    visible, or of all.
    """
    names: list[str] = []
    asked = limit + 1 if visible is None else max(limit + 1, _LOOKED_AT)
    areas = EVERYWHERE if visible is None else visible.areas
    while True:
        old = await list_old_repositories(stores, last=last, limit=asked)
        page = await repositories.list_repositories(
            stores.index, last=last, limit=asked, areas=areas
        )
        if old:
            page = _merged(page, old, limit=asked)
        names += page if visible is None else filter(visible.shows, page)
        if len(names) > limit or len(page) < asked:
            return Page(names[:limit], len(names) > limit)
        last = page[-1]


async def has_repository(stores: Stores, name: RepositoryName) -> bool:
    """Tell whether there is a repository of this name."""
    return await repositories.find_repository(stores.index, name) is not None


async def list_tags(stores: Stores, name: RepositoryName, *, last: str, limit: int | None) -> Page:
    """Return at most `limit` tags that come after `last`, or all of them if it is None.

    Raises:
        NameUnknownError: nothing was ever pushed to the repository.
    """
    asked = -1 if limit is None else limit + 1
    old = await list_old_tags(stores, name)
    names = await tags.list_tags(stores.index, name, last=last, limit=asked)
    if old:
        after = [tag for tag in old if tag > last]
        names = _merged(names, after, limit=None if limit is None else limit + 1)
    if not names and not old and await repositories.find_repository(stores.index, name) is None:
        raise NameUnknownError({"name": name})
    if limit is None:
        return Page(names, more=False)
    return Page(names[:limit], len(names) > limit)


async def list_tag_uses(
    stores: Stores, name: RepositoryName, *, last: str, limit: int
) -> list[TagUse]:
    """Return at most `limit` tags that come after `last`, with the use that is made of them.

    Raises:
        NameUnknownError: nothing was ever pushed to the repository.
    """
    found = await list_uses(stores.index, name, last=last, limit=limit)
    if not found and await repositories.find_repository(stores.index, name) is None:
        raise NameUnknownError({"name": name})
    return found


def _merged(names: list[str], others: list[str], *, limit: int | None) -> list[str]:
    return sorted({*names, *others})[:limit]


async def find_referrers(
    stores: Stores, name: RepositoryName, subject: Digest, *, artifact_type: str | None
) -> list[dict[str, object]]:
    """Return descriptors of the manifests that refer to `subject`, as they stand in an index.

    Those that a client without the referrers API listed under the fallback tag are among them.
    """
    found = await list_referrers(stores.index, name, subject)
    entries = {referrer.digest: _descriptor(referrer) for referrer in found}
    for listed in await _listed_by_clients(stores, name, subject):
        entries.setdefault(Digest(listed.digest), _as_listed(listed))
    if artifact_type:
        return [entry for entry in entries.values() if entry.get("artifactType") == artifact_type]
    return list(entries.values())


def _descriptor(referrer: Referrer) -> dict[str, object]:
    entry: dict[str, object] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    if referrer.artifact_type:
        entry["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        entry["annotations"] = msgspec.Raw(referrer.annotations)
    return entry


def _as_listed(descriptor: Descriptor) -> dict[str, object]:
    entry: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.artifact_type:
        entry["artifactType"] = descriptor.artifact_type
    if descriptor.annotations:
        entry["annotations"] = descriptor.annotations
    return entry


async def _listed_by_clients(
    stores: Stores, name: RepositoryName, subject: Digest
) -> list[Descriptor]:
    tag = Tag(fallback_tag(subject))
    listing = await find_manifest(stores.index, name, tag)
    if listing is None and await take_over(stores, name, tag):
        listing = await find_manifest(stores.index, name, tag)
    if listing is None or listing.media_type not in INDEXES:
        return []
    repository = await repositories.find_repository(stores.index, name) or 0
    return [
        child
        for child in parse_children(listing.payload)
        if await find_manifest_id(stores.index, repository, Digest(child.digest)) is not None
    ]
