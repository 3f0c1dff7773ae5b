"""Taking over what `registry:2` left: from its files into the index, without touching a file.

While a takeover is under way, whatever the index lacks is looked for in the old layout, and indexed
right then with all that it needs (`take_over`, `take_over_blob`). What clients did meanwhile wins:

1. A tag that `tag_history` knows was taken over before, or pushed or deleted by a client. It is
   left alone.
2. A manifest, or a blob's link, that a client deleted stands in `import_deletions`, and is not
   taken over again; nor is a tag that points at it.
3. A push or deletion first takes over what it is about to change.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from entrepot.core import layout
from entrepot.core.digest import Digest
from entrepot.core.errors import NameInvalidError, TagInvalidError
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db import Reader, Transaction
from entrepot.db.blobs import find_linked_blob
from entrepot.db.imports import (
    Finding,
    adopt_blobs,
    adopt_tag,
    is_unfinished,
    knows_tag,
    list_deletions,
    list_unknown_tags,
    list_waiting_repositories,
)
from entrepot.db.manifests import NewManifest, add_manifest, find_manifest_id
from entrepot.db.repositories import ensure_repository, find_repository
from entrepot.services.layout import Batch, FoundManifest, FoundTag, Layout
from entrepot.services.stores import Stores
from entrepot.services.storing import GRAVESTONE

_LOOKED_WITHIN: Final = GRAVESTONE // 2
"""Microseconds within which a request looks at an old blob and records it."""


class Added(NamedTuple):
    """What became of a batch: which manifests are in the index now, and what is broken."""

    indexed: set[Digest]
    findings: list[Finding]


# What a request needs ---------------------------------------------------------------------------


async def take_over(stores: Stores, name: RepositoryName, reference: Reference) -> bool:
    """Index a manifest that a tag or digest names in the old layout, with all that it needs;
    return whether there was one. Without a takeover under way there is none.
    """
    past = stores.past
    if past is None or not past.active:
        return False
    tag: FoundTag | None = None
    if isinstance(reference, Tag):
        tag = await past.layout.find_tag(name, reference)
        if tag is None:
            return False
        digest = tag.digest
    else:
        digest = reference
    batch = await _load_one(stores, name, digest)
    now, number = stores.now(), past.number

    async def work(transaction: Transaction) -> bool:
        if not await is_unfinished(transaction, number):
            return False
        await add_batch(transaction, name, batch, now=now, deleted_since=now - _LOOKED_WITHIN)
        repository = await find_repository(transaction, name)
        if repository is None:
            return False
        if tag is not None:
            return await add_tag(transaction, repository, tag) is None
        return await find_manifest_id(transaction, repository, digest) is not None

    return await stores.index.write_lazily(work)


async def _load_one(stores: Stores, name: RepositoryName, digest: Digest) -> Batch:
    past = stores.past
    repository = await find_repository(stores.index, name)
    known = await _known(stores.index, repository, [digest])
    if past is None or known:
        return Batch()
    linked = await past.layout.linked([layout.revision_link(name, digest)])
    created = dict.fromkeys(linked, stores.now())
    return await load(stores, past.layout, name, created)


async def take_over_blob(stores: Stores, name: RepositoryName, digest: Digest) -> bool:
    """Index a blob that the repository serves by the old layout; return whether it does."""
    past = stores.past
    if past is None or not past.active:
        return False
    if not await past.layout.linked([layout.layer_link(name, digest)]):
        return False
    sizes = await past.layout.sizes([digest])
    if not sizes:
        return False
    now, number = stores.now(), past.number

    async def work(transaction: Transaction) -> bool:
        if not await is_unfinished(transaction, number):
            return False
        home = await ensure_repository(transaction, name, now=now)
        if digest in await list_deletions(transaction, home.id):
            return False
        await adopt_blobs(
            transaction, home, sizes.items(), now=now, deleted_since=now - _LOOKED_WITHIN
        )
        return True

    return await stores.index.write_lazily(work)


async def take_over_content(stores: Stores, name: RepositoryName, digests: Iterable[str]) -> bool:
    """Index blobs and manifests that a pushed manifest refers to, as far as the old layout has
    them; return whether there were any.
    """
    found = False
    for digest in map(Digest, digests):
        if await take_over_blob(stores, name, digest) or await take_over(stores, name, digest):
            found = True
    return found


async def list_old_repositories(stores: Stores, *, last: str, limit: int) -> list[str]:
    """Return repositories after `last` that are not taken over yet: the first `limit`, or more.

    Ask the index afterwards: what is taken over in between is in both.
    """
    past = stores.past
    if past is None or not past.active:
        return []
    if past.listed:
        found = await list_waiting_repositories(stores.index, past.number, last=last, limit=limit)
    else:
        names = [name async for name in past.layout.repositories() if name > last]
        found = [name for name in names if _is_name(RepositoryName, name)]
    return found if await is_unfinished(stores.index, past.number) else []


async def list_old_tags(stores: Stores, name: RepositoryName) -> list[str]:
    """Return the tags that the old layout has, and that are not taken over yet.

    Ask the index afterwards: what is taken over in between is in both.
    """
    past = stores.past
    if past is None or not past.active:
        return []
    found: list[str] = []
    async for page in past.layout.tags(name):
        found += [tag for tag in page if _is_name(Tag, tag)]
    unknown = await list_unknown_tags(stores.index, name, found)
    repository = await find_repository(stores.index, name)
    deleted = await list_deletions(stores.index, repository) if repository else set()
    gone = set()
    for tag in unknown if deleted else ():
        there = await past.layout.find_tag(name, Tag(tag))
        if there is None or there.digest in deleted:
            gone.add(tag)
    # Once it is finished nothing tells what was deleted, and the index has all there is.
    if not await is_unfinished(stores.index, past.number):
        return []
    return [tag for tag in unknown if tag not in gone]


def _is_name(kind: type[RepositoryName | Tag], text: str) -> bool:
    try:
        kind.parse(text)
    except (NameInvalidError, TagInvalidError):
        return False
    return True


# What the index gets ----------------------------------------------------------------------------


async def load(
    stores: Stores, source: Layout, name: RepositoryName, links: Mapping[Digest, int]
) -> Batch:
    """Read manifests from `source`, with those that they list and the index lacks."""
    repository = await find_repository(stores.index, name)

    async def known(digests: Iterable[Digest]) -> set[Digest]:
        return await _known(stores.index, repository, digests)

    return await source.load(name, links, known=known)


async def _known(reader: Reader, repository: int | None, digests: Iterable[Digest]) -> set[Digest]:
    if repository is None:
        return set()
    return {d for d in digests if await find_manifest_id(reader, repository, d) is not None}


async def add_batch(
    transaction: Transaction, name: RepositoryName, batch: Batch, *, now: int, deleted_since: int
) -> Added:
    """Record manifests with the blobs that they need, unless they were deleted meanwhile. Of blobs,
    and what it raises, as `adopt_blobs`.
    """
    findings = list(batch.findings)
    if not batch.manifests:
        return Added(set(), findings)
    home = await ensure_repository(transaction, name, now=now)
    deleted = await list_deletions(transaction, home.id)
    blobs = [(blob, size) for blob, size in batch.blobs.items() if blob not in deleted]
    await adopt_blobs(transaction, home, blobs, now=now, deleted_since=deleted_since)
    indexed: set[Digest] = set()
    for found in batch.manifests:
        if found.digest in deleted:
            continue
        finding, children = await _check(transaction, home.id, name, found, deleted)
        if finding is not None:
            findings.append(finding)
        if finding is None or finding.kind == "incomplete":
            indexed.add(found.digest)
            new = NewManifest(
                found.digest, found.manifest, _annotations(found), found.payload, None
            )
            await add_manifest(transaction, home, new, children=children, now=found.created)
    return Added(indexed, findings)


async def _check(
    transaction: Transaction,
    repository: int,
    name: RepositoryName,
    found: FoundManifest,
    deleted: set[Digest],
) -> tuple[Finding | None, list[int]]:
    """Return what is wrong with a manifest, and the ids of those that it lists."""
    place = f"{name}@{found.digest}"
    for blob in deleted.intersection(found.manifest.blobs()):
        if await find_linked_blob(transaction, repository, blob) is None:
            return Finding(place, "missing", f"blob {blob} was deleted"), []
    children: list[int] = []
    missing: list[str] = []
    for child in found.manifest.children:
        known = await find_manifest_id(transaction, repository, Digest(child.digest))
        if known is None:
            missing.append(child.digest)
        else:
            children.append(known)
    if not missing:
        return None, children
    reason = f"it lists manifest {missing[0]}, which is missing or broken"
    return Finding(place, "incomplete" if children else "missing", reason), children


def _annotations(found: FoundManifest) -> bytes | None:
    annotations = found.manifest.annotations
    return msgspec.json.encode(annotations) if annotations else None


async def add_tag(transaction: Transaction, repository: int, found: FoundTag) -> str | None:
    """Record a tag with its past, unless the index knows it; return what is wrong with it."""
    if await knows_tag(transaction, repository, found.tag):
        return None
    if found.digest in await list_deletions(transaction, repository):
        return None
    manifest = await find_manifest_id(transaction, repository, found.digest)
    if manifest is None:
        return f"it points at {found.digest}, which is missing or broken"
    await adopt_tag(transaction, repository, found.tag, manifest=manifest, moves=found.moves)
    return None
