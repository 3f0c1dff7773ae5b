"""Why is it still there, until when, and what would deleting it free?

`stores.now` is to be the time that the collector goes by (docs/collection.md, "The clock").
Who may not read everything is answered as if only what is `readable` were there (None is all). What
keeps something is what the collector goes by (`entrepot.core.collecting`); here it gets names.
"""

from collections.abc import Collection
from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.collecting import (
    FOREVER,
    Keeper,
    keepers_of_link,
    keepers_of_manifest,
)
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobUnknownError, ManifestUnknownError, NameUnknownError
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.collection import find_link_facts, find_manifest_facts
from entrepot.db.engine import Reader
from entrepot.db.explaining import (
    Trashed,
    count_in_repository,
    find_explained,
    find_last_left,
    find_link_review,
    find_stored_blob,
    list_children,
    list_indexes,
    list_linking_anywhere,
    list_needed_blobs,
    list_needing_elsewhere,
    list_some_tags,
    list_trashed,
    list_users_in,
)
from entrepot.db.followers import Stored, find_closure
from entrepot.db.holds import list_live_holds
from entrepot.db.repositories import find_repository
from entrepot.db.tags import find_tag
from entrepot.services import usage
from entrepot.services.access import Visible
from entrepot.services.stores import Stores

MOST: Final = 20
"""Names of a kind that are told."""

_ALL: Final = 2**31 - 1

_DEEPEST: Final = 4
"""Indexes in indexes that are followed."""


class Because(Struct, frozen=True):
    """Something that keeps it: what, which, until when (microseconds since 1970, None: as long as
    that is there), and what keeps that.
    """

    reason: str
    what: str
    until: int | None = None
    because: tuple["Because", ...] = ()


class Explanation(Struct, frozen=True, kw_only=True):
    """What there is to say. `size` are the bytes of all blobs that it needs, or is, `freed` those
    that nothing else in the store needs, so that they go in the end when it is deleted. `review_at`
    is when it is looked at whether anything keeps it, and `review_event` why.
    """

    kind: str
    repository: str
    tag: str = ""
    digest: str = ""
    media_type: str = ""
    manifests: int = 0
    tags: int = 0
    size: int
    freed: int
    kept: tuple[Because, ...]
    review_at: int | None = None
    review_event: str = ""
    quarantined_at: int | None = None
    elsewhere: tuple[RepositoryName, ...] = ()
    """Other readable repositories that link the blob."""


async def explain_repository(
    stores: Stores, name: RepositoryName, readable: Visible | None = None
) -> Explanation:
    """Explain a repository as a whole. Raises NameUnknownError."""
    index, now = stores.index, stores.now()
    repository = await _find(index, name)
    manifests, tags = await count_in_repository(index, repository)
    size, freed = await usage.measure_repository(stores, name, readable)
    kept = [Because("tag", f"{tags} tags")] if tags else []
    kept += [
        Because("hold", f"{hold.owner}: {hold.reason}", hold.expires_at)
        for hold in await list_live_holds(index, repository, now=now)
    ]
    return Explanation(
        kind="repository",
        repository=name,
        manifests=manifests,
        tags=tags,
        size=size,
        freed=freed,
        kept=tuple(kept),
    )


async def explain_tag(
    stores: Stores, name: RepositoryName, tag: Tag, readable: Visible | None = None
) -> Explanation:
    """Explain what a tag points at; `freed` is what goes in the end when the tag alone is deleted.

    Raises:
        NameUnknownError, ManifestUnknownError: there is no such repository or tag.
    """
    repository = await _find(stores.index, name)
    found = await find_tag(stores.index, repository, tag)
    if found is None:
        raise ManifestUnknownError({"name": name, "reference": tag})
    told = await _explain_manifest(stores, name, repository, found[1], readable)
    others = [each for each in told.kept if each.what != tag or each.reason != "tag"]
    waits = {"history", "trash", "grace"}  # these end by themselves
    alone = all(each.reason in waits for each in others) and stores.keeping.untagged
    return msgspec.structs.replace(told, tag=str(tag), freed=told.freed if alone else 0)


async def explain_digest(
    stores: Stores,
    name: RepositoryName,
    digest: Digest,
    readable: Visible | None = None,
    *,
    blob: bool = False,
) -> Explanation:
    """Explain a manifest or, if there is none of that digest or with `blob`, a blob.

    Raises:
        NameUnknownError, ManifestUnknownError, BlobUnknownError: there is no such thing.
    """
    repository = await _find(stores.index, name)
    if not blob:
        try:
            return await _explain_manifest(stores, name, repository, digest, readable)
        except ManifestUnknownError as error:
            try:
                return await _explain_blob(stores, name, repository, digest, readable)
            except BlobUnknownError:
                raise error from None
    return await _explain_blob(stores, name, repository, digest, readable)


async def _find(reader: Reader, name: RepositoryName) -> int:
    repository = await find_repository(reader, name)
    if repository is None:
        raise NameUnknownError({"name": name})
    return repository


# Manifests --------------------------------------------------------------------------------------


async def _explain_manifest(
    stores: Stores,
    name: RepositoryName,
    repository: int,
    digest: Digest,
    readable: Visible | None,
) -> Explanation:
    index = stores.index
    found = await find_explained(index, repository, digest)
    if found is None:
        return await _explain_deleted(stores, name, repository, digest)
    stored = Stored(found.id, digest)
    size, freed = await _measure(stores.index, repository, stored, readable)
    kept = await _keepers(stores, repository, stored, depth=0)
    waits = found.review_after is not None and found.review_after > stores.now()
    if waits and all(each.until is not None for each in kept):
        kept.append(Because("grace", f"since {found.event}", found.review_after))
    return Explanation(
        kind="manifest",
        repository=name,
        digest=digest,
        media_type=found.media_type,
        size=size,
        freed=freed,
        kept=tuple(kept),
        review_at=found.review_after,
        review_event=found.event or "",
    )


async def _explain_deleted(
    stores: Stores, name: RepositoryName, repository: int, digest: Digest
) -> Explanation:
    """Explain a manifest that is in the trash alone."""
    trashed = await list_trashed(stores.index, repository, digest, limit=MOST)
    own = [entry for entry in trashed if entry.kind == "manifest" and entry.digest == digest]
    if not own:
        raise ManifestUnknownError({"name": name, "reference": digest})
    return Explanation(
        kind="trash",
        repository=name,
        digest=digest,
        size=0,
        freed=0,
        kept=tuple(map(_in_trash, own)),
    )


async def _keepers(
    stores: Stores, repository: int, manifest: Stored, *, depth: int
) -> list[Because]:
    """Return what keeps a manifest, and what keeps that."""
    now = stores.now()
    facts = await find_manifest_facts(stores.index, manifest.id)
    if facts is None:
        return []
    kept: list[Because] = []
    for keeper in keepers_of_manifest(facts, now=now, keeping=stores.keeping):
        kept += await _named(stores, repository, manifest, keeper, depth=depth)
    return kept


async def _named(
    stores: Stores, repository: int, manifest: Stored, keeper: Keeper, *, depth: int
) -> list[Because]:
    """Say which tags, indexes and so on are meant."""
    index, digest = stores.index, manifest.digest
    match keeper.reason:
        case "tag":
            tags = await list_some_tags(index, manifest.id, limit=MOST)
            return [Because("tag", tag) for tag in tags]
        case "index":
            indexes = await list_indexes(index, manifest.id, limit=MOST)
            return [
                Because("index", each.digest, None, await _above(stores, repository, each, depth))
                for each in indexes
            ]
        case "subject":
            found = await find_explained(index, repository, digest)
            subject = found.subject if found else None
            above = await find_explained(index, repository, subject) if subject else None
            if subject is None or above is None:
                return []
            stored = Stored(above.id, subject)
            return [
                Because("subject", subject, None, await _above(stores, repository, stored, depth))
            ]
        case "history":
            left = await find_last_left(index, repository, digest)
            by = f" by {left[2]}" if left and left[2] else ""
            what = f"tag {left[0]} pointed at it; it was moved or deleted{by}" if left else ""
            return [Because("history", what, keeper.until)]
    return await _named_alike(stores, repository, digest, keeper)


async def _above(
    stores: Stores, repository: int, manifest: Stored, depth: int
) -> tuple[Because, ...]:
    if depth >= _DEEPEST:
        return ()
    return tuple(await _keepers(stores, repository, manifest, depth=depth + 1))


async def _named_alike(
    stores: Stores, repository: int, digest: Digest, keeper: Keeper
) -> list[Because]:
    """The same for what keeps manifests and links alike."""
    index, until = stores.index, None if keeper.until == FOREVER else keeper.until
    if keeper.reason == "hold":
        holds = await list_live_holds(index, repository, now=stores.now())
        return [
            Because("hold", f"{hold.owner}: {hold.reason}", hold.expires_at)
            for hold in holds
            if hold.digest in {None, digest}
        ]
    if keeper.reason == "trash":
        trashed = await list_trashed(index, repository, digest, limit=MOST)
        return [_in_trash(entry) for entry in trashed]
    return [Because(keeper.reason, "", until)]


def _in_trash(entry: Trashed) -> Because:
    what = f"tag {entry.tag}" if entry.kind == "tag" else f"manifest {entry.digest}"
    by = f" by {entry.deleted_by}" if entry.deleted_by else ""
    return Because("trash", f"{what}, deleted{by} ({entry.operation})", entry.expires_at)


async def _measure(
    index: Reader, repository: int, manifest: Stored, readable: Visible | None
) -> tuple[int, int]:
    """Return the bytes of the blobs that a manifest and its children need, and of those that
    nothing needs any more when it is deleted with what belongs to it.
    """
    family = await _family(index, manifest)
    needed: dict[Digest, int] = {}
    for each in family:
        needed |= await list_needed_blobs(index, each.id)
    going = await _going(index, repository, manifest)
    freed: dict[Digest, int] = {}
    for each in going.values():
        for digest, size in await list_needed_blobs(index, each.id):
            if digest not in freed:
                needed_on = await _is_needed_besides(index, repository, digest, going, readable)
                freed[digest] = 0 if needed_on else size
    return sum(needed.values()), sum(freed.values())


async def _is_needed_besides(
    reader: Reader,
    repository: int,
    digest: Digest,
    going: Collection[int],
    readable: Visible | None,
) -> bool:
    """Return whether a manifest needs a blob that is none of `going`."""
    users = await list_users_in(reader, repository, digest, limit=len(going) + 1)
    if any(user.id not in going for user in users):
        return True
    limit = 1 if readable is None else _ALL
    elsewhere = await list_needing_elsewhere(reader, repository, digest, limit=limit)
    return any(readable is None or readable.shows(name) for name in elsewhere)


async def _family(reader: Reader, manifest: Stored) -> list[Stored]:
    """Return a manifest and everything that it lists, at any depth."""
    seen, ahead = {manifest.id: manifest}, [manifest]
    while ahead:
        for child in await list_children(reader, ahead.pop().id):
            if child.id not in seen:
                seen[child.id] = child
                ahead.append(child)
    return list(seen.values())


async def _going(reader: Reader, repository: int, manifest: Stored) -> dict[int, Stored]:
    """Return what goes in the end when a manifest is deleted: what belongs to it, at once, and
    children that nothing else keeps.
    """
    going: dict[int, Stored] = {}
    ahead = [manifest]
    while ahead:
        first = ahead.pop()
        for stored in (await find_closure(reader, repository, first)).manifests:
            going[stored.id] = stored
        for parent in list(going.values()):
            for child in await list_children(reader, parent.id):
                if child.id not in going and await _is_left_alone(reader, child, going):
                    going[child.id] = child
                    ahead.append(child)
    return going


async def _is_left_alone(reader: Reader, child: Stored, going: dict[int, Stored]) -> bool:
    if await list_some_tags(reader, child.id, limit=1):
        return False
    indexes = await list_indexes(reader, child.id, limit=len(going) + 1)
    if any(each.id not in going for each in indexes):
        return False
    facts = await find_manifest_facts(reader, child.id)
    return facts is not None and not facts.attached and not facts.held_until


# Blobs ------------------------------------------------------------------------------------------


async def _explain_blob(
    stores: Stores,
    name: RepositoryName,
    repository: int,
    digest: Digest,
    readable: Visible | None,
) -> Explanation:
    index, now = stores.index, stores.now()
    found, facts = (
        await find_stored_blob(index, digest),
        await find_link_facts(index, repository, digest),
    )
    if found is None or facts is None:
        raise BlobUnknownError({"digest": digest})
    kept: list[Because] = []
    for keeper in keepers_of_link(facts, now=now, keeping=stores.keeping):
        if keeper.reason == "manifest":
            for user in await list_users_in(index, repository, digest, limit=MOST):
                above = await _above(stores, repository, user, 0)
                kept.append(Because("manifest", user.digest, None, above))
        else:
            kept += await _named_alike(stores, repository, digest, keeper)
    review = await find_link_review(index, repository, digest)
    limit = MOST + 1 if readable is None else _ALL
    linking = await list_linking_anywhere(index, digest, limit=limit)
    others = (other for number, other in linking if number != repository)
    shown = (other for other in others if readable is None or readable.shows(other))
    elsewhere = tuple(islice(shown, MOST))
    alone = not elsewhere and not facts.needed
    return Explanation(
        kind="blob",
        repository=name,
        digest=digest,
        size=found[0],
        freed=found[0] if alone else 0,
        kept=tuple(kept),
        review_at=review[0] if review else None,
        review_event=review[1] if review else "",
        quarantined_at=found[1],
        elsewhere=elsewhere,
    )
