"""Holding pushes to the quotas of the namespaces that they go into.

Every namespace above a repository that has a quota must allow. What is used is read outside the
transaction that adds to it, so that pushes don't wait for each other: together they may go beyond a
limit by what was on its way at the same time.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from entrepot.core.audit import Actor, event
from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.quotas import Quota, Resource
from entrepot.db import Reader, Transaction
from entrepot.db.manifests import find_manifest_id
from entrepot.db.quotas import find_used, is_counted, note_crossing
from entrepot.db.repositories import find_repository, has_manifests
from entrepot.db.tags import find_tag
from entrepot.services.audit import Notes
from entrepot.services.stores import Stores


class Crossing(NamedTuple):
    """A soft limit that a push passes, or has come below."""

    quota: Quota
    used: int
    above: bool


class Outlook(NamedTuple):
    """What the quotas say of a push that they allow: what is told to its client, and which soft
    limits it passes.
    """

    warnings: Sequence[str]
    crossings: Sequence[Crossing]


CLEAR: Final = Outlook((), ())


async def room_for_repository(stores: Stores, name: RepositoryName) -> None:
    """Return if a repository is counted already or fits. Of the blob that is about to come nothing
    is known yet.

    Raises:
        QuotaExceededError: it doesn't fit.
    """
    for quota in await stores.limits.over(stores.index, name):
        if quota.resource == "repositories":
            await _check(stores.index, quota, await _missing_repositories(stores.index, name))


async def room_for_upload(
    stores: Stores,
    name: RepositoryName,
    *,
    size: int,
    digest: Digest | None = None,
) -> int | None:
    """Return how many bytes of a blob a repository may still take, None if there is no limit, for a
    blob of which `size` are known to come. One that is counted already costs nothing, if its
    `digest` is known.

    Raises:
        QuotaExceededError: those don't fit, or neither does the repository itself.
    """
    reader = stores.index
    quotas = await stores.limits.over(reader, name)
    room: int | None = None
    if not quotas:
        return room
    for quota in quotas:
        if quota.hard is None:
            continue
        if quota.resource == "repositories":
            more = await _missing_repositories(reader, name)
            await _check(reader, quota, more)
        elif quota.resource == "bytes":
            used = (await find_used(reader, quota.namespace_id))["bytes"]
            refusal = quota.refusal(used=used, more=size)
            if refusal is None:
                left = quota.hard - used
                room = left if room is None else min(room, left)
            elif digest is None or not await is_counted(reader, quota.namespace_id, digest):
                raise refusal
    return room


async def _missing_repositories(reader: Reader, name: RepositoryName) -> int:
    return int(not await has_manifests(reader, name))


async def _check(reader: Reader, quota: Quota, more: int) -> None:
    if more:
        used = (await find_used(reader, quota.namespace_id))[quota.resource]
        refusal = quota.refusal(used=used, more=more)
        if refusal is not None:
            raise refusal


async def look_ahead(
    stores: Stores,
    name: RepositoryName,
    *,
    digest: Digest,
    tags: Sequence[Tag],
) -> Outlook:
    """Return what the quotas say of a manifest with its tags, whose blobs are there.

    Raises:
        QuotaExceededError: the manifest, a tag or the repository does not fit.
    """
    reader = stores.index
    quotas = await stores.limits.over(reader, name)
    if not quotas:
        return CLEAR
    used = {number: await find_used(reader, number) for number in {q.namespace_id for q in quotas}}
    added = _most_added(tags)
    if not all(_is_far_from(quota, used[quota.namespace_id], added) for quota in quotas):
        added = await _added(reader, name, digest, tags)
    warnings: list[str] = []
    crossings: list[Crossing] = []
    for quota in quotas:
        before, more = used[quota.namespace_id][quota.resource], added[quota.resource]
        refusal = quota.refusal(used=before, more=more) if more else None
        if refusal is not None:
            raise refusal
        warning = quota.warning(used=before + more)
        if warning is not None:
            warnings.append(warning)
        if (warning is None) == (quota.exceeded_at is not None):
            crossings.append(Crossing(quota, before + more, above=warning is not None))
    return Outlook(warnings, crossings)


def _most_added(tags: Sequence[Tag]) -> Mapping[Resource, int]:
    """Return how many of each a manifest adds to its repository at most."""
    return {"bytes": 0, "repositories": 1, "manifests": 1, "tags": len(tags)}


def _is_far_from(quota: Quota, used: Mapping[Resource, int], added: Mapping[Resource, int]) -> bool:
    """Return whether nothing is to be said however much of that comes: so most pushes need not ask
    what they add.
    """
    after = used[quota.resource] + added[quota.resource]
    limits = [limit for limit in (quota.soft, quota.hard) if limit is not None]
    return quota.exceeded_at is None and after <= min(limits)


async def _added(
    reader: Reader, name: RepositoryName, digest: Digest, tags: Sequence[Tag]
) -> Mapping[Resource, int]:
    """Return how many of each a manifest adds to its repository."""
    repository = await find_repository(reader, name)
    if repository is None:
        return _most_added(tags)
    known = await find_manifest_id(reader, repository, digest)
    missing = [tag for tag in tags if await find_tag(reader, repository, tag) is None]
    return {
        "bytes": 0,
        "repositories": await _missing_repositories(reader, name),
        "manifests": int(known is None),
        "tags": len(missing),
    }


async def note_crossings(stores: Stores, crossings: Sequence[Crossing], *, by: Actor) -> None:
    """Record, once, that soft limits were passed, or hold again."""
    now = stores.now()

    async def work(transaction: Transaction, notes: Notes) -> None:
        for quota, used, above in crossings:
            if await note_crossing(transaction, quota, now=now if above else None):
                notes.add(
                    event(
                        "quota.exceed" if above else "quota.recover",
                        target=quota.namespace or "/",
                        resource=quota.resource,
                        used=used,
                        soft=quota.soft,
                    )
                )

    await stores.trail.write_lazily(work, by=by)
    stores.limits.changed()
