"""What is due is looked at, and goes if nothing needs it: manifests, then links, then blobs' rows.

Each call is one transaction of at most `limit` reviews (docs/collection.md, "A look").
"""

from contextlib import suppress
from typing import Final, NamedTuple

from entrepot.core.audit import Actor, Event, event
from entrepot.core.collecting import (
    FOREVER,
    keepers_of_link,
    keepers_of_manifest,
    kept_until,
)
from entrepot.core.digest import Digest
from entrepot.core.errors import DeniedError
from entrepot.core.keeping import Keeping
from entrepot.core.names import RepositoryName
from entrepot.db import Transaction
from entrepot.db.blobs import unlink_blob
from entrepot.db.collection import (
    DueLink,
    DueManifest,
    end_link_reviews,
    end_manifest_reviews,
    is_importing,
    list_companion_tags,
    list_due_links,
    list_due_manifests,
    look_at_links_again,
    look_at_manifests_again,
)
from entrepot.db.doomed import Doomed, Lease, doom_blobs
from entrepot.db.manifests import delete_manifests
from entrepot.db.reviews import review_manifest
from entrepot.db.tags import delete_tags, find_tag
from entrepot.services.audit import Notes
from entrepot.services.circles import find_circle
from entrepot.services.protection import check_may_go
from entrepot.services.stores import Stores

COLLECTOR: Final = Actor(
    kind="registry", method="collection", reason="nothing needed it any longer"
)
"""Who collects."""


class Removed(NamedTuple):
    """A manifest that went."""

    name: RepositoryName
    digest: Digest


class Look(NamedTuple):
    """What came of a look: reviews that were done, of these put off, manifests and links that went,
    and blobs whose objects are to be deleted now.
    """

    reviews: int = 0
    postponed: int = 0
    manifests: tuple[Removed, ...] = ()
    links: int = 0
    doomed: tuple[Doomed, ...] = ()


def stays_until(manifest: DueManifest, *, now: int, keeping: Keeping) -> int:
    """Return when to look at a manifest again, as `kept_until` has it."""
    until = kept_until(
        keepers_of_manifest(manifest.facts, now=now, keeping=keeping), now=now, keeping=keeping
    )
    return until if until or keeping.untagged or manifest.event == "asked" else FOREVER


def link_stays_until(link: DueLink, *, now: int, keeping: Keeping) -> int:
    """The same of a link; one that is gone need not be looked at again."""
    if link.facts is None:
        return FOREVER
    keepers = keepers_of_link(link.facts, now=now, keeping=keeping)
    return kept_until(keepers, now=now, keeping=keeping)


async def look_at_manifests(stores: Stores, *, now: int, limit: int) -> Look:
    """Look at manifests that are due by `now`, and remove those that nothing keeps."""

    async def work(transaction: Transaction, notes: Notes) -> Look:
        if await is_importing(transaction):
            return Look()
        due = await list_due_manifests(transaction, now=now, limit=limit)
        gone: dict[int, DueManifest] = {}
        kept: list[DueManifest] = []
        again: list[tuple[DueManifest, int]] = []
        for manifest in due:
            until = stays_until(manifest, now=now, keeping=stores.keeping)
            if until == FOREVER and may_be_kept_by_itself(manifest, stores.keeping):
                circle = await find_circle(transaction, manifest, now=now, keeping=stores.keeping)
                gone |= {each.id: each for each in circle.going}
                for each in circle.unreviewed:
                    await review_manifest(
                        transaction, each, after=circle.until, event="circle.found"
                    )
                until = circle.until
            if manifest.id in gone:
                continue
            if until == 0:
                gone[manifest.id] = manifest
            elif until == FOREVER:
                kept.append(manifest)
            else:
                again.append((manifest, until))
        await end_manifest_reviews(transaction, kept)
        await look_at_manifests_again(transaction, again)
        for manifest in gone.values():
            if manifest.has_companions:
                await _drop_companions(transaction, notes, manifest, stores)
            notes.add(_told(manifest))
        # From the moment when they are written: until then clients are told without a trace.
        after = stores.now() + stores.keeping.told
        await delete_manifests(transaction, [*gone], review_after=after)
        removed = tuple(Removed(manifest.name, manifest.digest) for manifest in gone.values())
        return Look(len(due), len(again), removed)

    return await stores.trail.write_lazily(work, by=COLLECTOR)


def may_be_kept_by_itself(manifest: DueManifest, keeping: Keeping) -> bool:
    """Return whether `find_circle` is to be asked of a manifest that is kept."""
    tagged, listed, attached, *_ = manifest.facts
    may_go = keeping.untagged or manifest.event == "asked"
    return may_go and not tagged and (listed or attached)


def _told(manifest: DueManifest) -> Event:
    return event(
        "manifest.collect",
        repository=manifest.name,
        digest=manifest.digest,
        size=manifest.size,
    )


async def _drop_companions(
    transaction: Transaction, notes: Notes, manifest: DueManifest, stores: Stores
) -> None:
    """Remove the tags that say that something belongs to a manifest, which is about to go; but for
    those that are protected, and those of what is on hold.
    """
    now, tags = stores.now(), []
    for tag in await list_companion_tags(transaction, manifest.repository, manifest.digest):
        found = await find_tag(transaction, manifest.repository, tag)
        with suppress(DeniedError):
            await check_may_go(
                transaction,
                manifest.name,
                manifest.repository,
                tags=[tag],
                manifests=[found[1]] if found else [],
                now=now,
            )
            tags.append(tag)
    await delete_tags(
        transaction,
        manifest.repository,
        tags,
        actor=None,
        now=now,
        review_after=now + stores.keeping.deleted,
    )
    for tag in tags:
        notes.add(event("tag.delete", repository=manifest.name, tag=tag))


async def look_at_links(stores: Stores, lease: Lease, *, now: int, limit: int) -> Look:
    """Look at links that are due by `now`, remove those that nothing keeps, and the rows of blobs
    that lost their last link. Durable when this returns: the objects of what is doomed, for
    `lease`, may be deleted.
    """

    async def work(transaction: Transaction, notes: Notes) -> Look:
        if await is_importing(transaction):
            return Look()
        due = await list_due_links(transaction, now=now, limit=limit)
        gone: list[DueLink] = []
        over: list[DueLink] = []
        again: list[tuple[DueLink, int]] = []
        for link in due:
            until = link_stays_until(link, now=now, keeping=stores.keeping)
            if until == 0:
                gone.append(link)
            elif until == FOREVER:
                over.append(link)
            else:
                again.append((link, until))
        await end_link_reviews(transaction, [*gone, *over])
        await look_at_links_again(transaction, again)
        for link in gone:
            await unlink_blob(transaction, link.repository, link.digest)
        unlinked = dict.fromkeys(link.digest for link in gone)
        doomed = await doom_blobs(transaction, unlinked, lease)
        if gone:
            freed = sum(blob.size for blob in doomed)
            notes.add(event("blob.collect", links=len(gone), blobs=len(doomed), size=freed))
        return Look(len(due), len(again), links=len(gone), doomed=tuple(doomed))

    return await stores.trail.write(work, by=COLLECTOR)
