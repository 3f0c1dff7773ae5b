"""What a pass of collection would do at this moment. Nothing is changed."""

from collections.abc import AsyncIterator
from typing import Final

from entrepot.core.collecting import FOREVER
from entrepot.db.collection import (
    DueLink,
    DueManifest,
    find_due_link,
    list_linking,
    page_due_links,
    page_due_manifests,
)
from entrepot.db.doomed import Doomed, find_size
from entrepot.db.engine import Reader
from entrepot.db.sweeps import list_after, list_blobs
from entrepot.services.circles import find_circle
from entrepot.services.collecting import Done
from entrepot.services.judging import (
    Removed,
    link_stays_until,
    may_be_kept_by_itself,
    stays_until,
)
from entrepot.services.stores import Stores
from entrepot.services.sweeping import FindOwnedSince, list_unknown_objects

_PAGE: Final = 500


async def foresee(stores: Stores, *, now: int) -> AsyncIterator[Done]:
    """Yield what would go by a time of what the index knows, little by little: of repositories
    those that have nothing in them already. Raises DatabaseError.
    """
    async for done in _manifests(stores, now):
        yield done
    async for done in _links(stores, now):
        yield done
    before = now - stores.keeping.grace
    last = b""
    while blobs := await list_blobs(stores.index, digest=last, before=before, limit=_PAGE):
        yield Done(blobs=tuple(Doomed(blob.digest, blob.size) for blob in blobs if blob.unused))
        last = blobs[-1].digest.packed
    after = 0
    while page := await list_after(stores.index, repository=after, before=before, limit=_PAGE):
        yield Done(repositories=sum(1 for repository in page if repository.empty))
        after = page[-1].id


async def foresee_strangers(
    stores: Stores, *, now: int, find_owned_since: FindOwnedSince
) -> AsyncIterator[Done]:
    """Yield the objects that the index does not know and that would go by a time: none unless the
    store has been its own for a grace period. Raises DatabaseError and StorageError.
    """
    owned, before = await find_owned_since(), now - stores.keeping.grace
    if owned is not None and owned <= before:
        async for unknown in list_unknown_objects(stores, before=before):
            yield Done(blobs=tuple(Doomed(*found) for found in unknown.items()))


async def _manifests(stores: Stores, now: int) -> AsyncIterator[Done]:
    after = 0
    while page := await page_due_manifests(stores.index, now=now, after=after, limit=_PAGE):
        gone = [due for due in page if await _would_go(stores, due, now)]
        yield Done(manifests=tuple(Removed(due.name, due.digest) for due in gone))
        after = page[-1].id


async def _would_go(stores: Stores, due: DueManifest, now: int) -> bool:
    """Return whether nothing keeps a manifest, or nothing but what goes with it."""
    keeping = stores.keeping
    until = stays_until(due, now=now, keeping=keeping)
    if until == FOREVER and may_be_kept_by_itself(due, keeping):
        circle = await find_circle(stores.index, due, now=now, keeping=keeping)
        return bool(circle.going)
    return until == 0


async def _links(stores: Stores, now: int) -> AsyncIterator[Done]:
    after = (0, b"")
    while page := await page_due_links(stores.index, now=now, after=after, limit=_PAGE):
        links, blobs = 0, []
        for link in page:
            if _goes(stores, link, now):
                links += 1
                if await _is_last(stores, link, now):
                    size = await find_size(stores.index, link.digest)
                    blobs.append(Doomed(link.digest, size))
        yield Done(links=links, blobs=tuple(blobs))
        after = (page[-1].repository, page[-1].digest.packed)


def _goes(stores: Stores, link: DueLink, now: int) -> bool:
    return link_stays_until(link, now=now, keeping=stores.keeping) == 0


async def _is_last(stores: Stores, link: DueLink, now: int) -> bool:
    """Return whether the blob goes with a link: no repository after it links it, and from all
    before it the link goes, too.
    """
    index: Reader = stores.index
    if await list_linking(index, link.digest, after=link.repository, limit=1):
        return False
    after = 0
    while repositories := await list_linking(index, link.digest, after=after, limit=_PAGE):
        for repository in repositories:
            due = await find_due_link(index, repository, link.digest, now=now)
            if due is None or not _goes(stores, due, now):
                return False
        after = repositories[-1]
    return True
