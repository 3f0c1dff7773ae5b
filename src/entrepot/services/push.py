"""Storing manifests (distribution-spec 1.1.1, "Pushing Manifests")."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import msgspec

from entrepot.core.audit import NOBODY, Actor, Event, event
from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, ManifestBlobUnknownError, ManifestInvalidError
from entrepot.core.manifest import Descriptor, Manifest, parse
from entrepot.core.names import Reference, RepositoryName, Tag
from entrepot.db import Reader, Transaction
from entrepot.db.blobs import find_linked_blob, mark_synced
from entrepot.db.counting import Home
from entrepot.db.manifests import NewManifest, add_manifest, find_manifest_id
from entrepot.db.repositories import ensure_repository, find_repository
from entrepot.db.reviews import review_manifest
from entrepot.db.tags import set_tag
from entrepot.services.allowance import look_ahead, note_crossings
from entrepot.services.audit import Notes
from entrepot.services.protection import check_may_go
from entrepot.services.stores import Stores
from entrepot.services.takeover import take_over, take_over_content
from entrepot.services.uploads import KEPT


@dataclass(frozen=True, slots=True)
class ManifestRules:
    """What manifests must fulfil besides the specification (`validation.manifests`).

    `allow` and `deny` are patterns for the addresses of foreign layers; with neither, all are
    allowed. `platforms` are the children of an index that must exist, as (os, architecture); None
    means all of them.
    """

    allow: tuple[re.Pattern[str], ...] = ()
    deny: tuple[re.Pattern[str], ...] = ()
    platforms: frozenset[tuple[str, str]] | None = None

    def check_urls(self, manifest: Manifest) -> None:
        """Raise `ManifestInvalidError` for an address that may not be named."""
        if not self.allow and not self.deny:
            return
        for url in manifest.urls():
            allowed = not self.allow or any(pattern.search(url) for pattern in self.allow)
            if not allowed or any(pattern.search(url) for pattern in self.deny):
                raise ManifestInvalidError({"reason": "this URL is not allowed", "url": url[:256]})

    def requires(self, child: Descriptor) -> bool:
        """Whether this child of an index must be in the repository."""
        if self.platforms is None:
            return True
        platform = child.platform
        return platform is not None and (platform.os, platform.architecture) in self.platforms


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """A manifest as it came: its address, its bytes, and the tags that shall point at it."""

    name: RepositoryName
    reference: Reference
    payload: bytes
    content_type: str | None
    tags: Sequence[Tag] = ()
    actor: Actor = NOBODY

    def digest(self) -> Digest:
        """Return the digest of the bytes, or raise `DigestInvalidError` if another was promised."""
        if isinstance(self.reference, Tag):
            return Digest.of(self.payload)
        digest = Digest.of(self.payload, algorithm=self.reference.algorithm)
        if digest != self.reference:
            raise DigestInvalidError({"digest": self.reference, "content": digest})
        return digest


class Stored(NamedTuple):
    """What became of a manifest: its digest, what it is, and what its client is warned of."""

    digest: Digest
    manifest: Manifest
    warnings: Sequence[str]


class _UnsyncedError(Exception):
    """Something that a manifest needs must be synced first."""


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a manifest refers to, as the repository has it."""

    children: list[int]
    unsynced: list[Digest]


async def put_manifest(stores: Stores, pushed: PushedManifest, *, rules: ManifestRules) -> Stored:
    """Store a manifest with its tags. When this returns, the manifest and everything it needs
    survive a power cut.

    Raises:
        DigestInvalidError: the content is not what the reference promises.
        ManifestInvalidError: it is no manifest that the registry accepts.
        ManifestBlobUnknownError: the repository lacks something that it refers to.
        DeniedError: a tag that would move is protected, or what it points at is on hold.
        QuotaExceededError: a quota leaves no room for it.
    """
    digest = pushed.digest()
    manifest = parse(pushed.payload, content_type=pushed.content_type)
    rules.check_urls(manifest)
    annotations = msgspec.json.encode(manifest.annotations) if manifest.annotations else None
    new = NewManifest(digest, manifest, annotations, pushed.payload, pushed.actor.name)
    tags = (pushed.reference,) if isinstance(pushed.reference, Tag) else pushed.tags
    now, keeping = stores.now(), stores.keeping

    # First what takes time, then the transaction, which looks again: alone if all is small.
    for tag in tags:
        await take_over(stores, pushed.name, tag)
    outlook = await look_ahead(stores, pushed.name, digest=digest, tags=tags)
    synced: set[Digest] = set()

    async def look() -> None:
        needs = await _find_present(stores, pushed.name, manifest, rules)
        await stores.blobs.sync(needs.unsynced)
        synced.update(needs.unsynced)

    async def work(transaction: Transaction, notes: Notes) -> None:
        home = await ensure_repository(transaction, pushed.name, now=now)
        needs = await _find_needs(transaction, home.id, manifest, rules)
        if stores.blobs.syncs and not synced.issuperset(needs.unsynced):
            raise _UnsyncedError
        stored = await add_manifest(transaction, home, new, children=needs.children, now=now)
        await mark_synced(transaction, needs.unsynced)
        notes.add(_told(pushed, digest, manifest, tags))
        for tag in tags:
            previous = await set_tag(
                transaction,
                home,
                tag,
                manifest=(stored, digest),
                actor=pushed.actor.name,
                now=now,
                review_after=now + keeping.deleted,
            )
            if previous is not None:
                await _check_move(transaction, pushed.name, home, tag, previous, now=now)
                notes.add(_moved(pushed.name, tag, digest, previous))
        if not tags:
            after = now + keeping.grace
            await review_manifest(transaction, stored, after=after, event="manifest.pushed")

    write = partial(stores.trail.write, work, by=pushed.actor, brief=True)
    await _write(write, look, first=stores.blobs.syncs and manifest.largest > KEPT)
    if outlook.crossings:
        await note_crossings(stores, outlook.crossings, by=pushed.actor)
    return Stored(digest, manifest, outlook.warnings)


async def _write(
    write: Callable[[], Awaitable[None]], look: Callable[[], Awaitable[None]], *, first: bool
) -> None:
    """Write, after a look at what the manifest needs: `first`, or where the transaction misses
    something.
    """
    looks = first
    while True:
        if looks:
            await look()
        try:
            await write()
            return
        except _UnsyncedError:
            looks = True
        except ManifestBlobUnknownError:
            if looks:
                raise
            looks = True


async def _check_move(
    reader: Reader, name: RepositoryName, home: Home, tag: Tag, previous: Digest, *, now: int
) -> None:
    """Raise `DeniedError` if a tag may not move away from a manifest."""
    await check_may_go(reader, name, home.id, tags=[tag], manifests=[previous], now=now)


def _told(pushed: PushedManifest, digest: Digest, manifest: Manifest, tags: Sequence[Tag]) -> Event:
    return event(
        "manifest.push",
        repository=pushed.name,
        tag=tags[0] if len(tags) == 1 else "",
        digest=digest,
        tags=tags if len(tags) > 1 else None,
        media_type=manifest.media_type,
        subject=manifest.subject,
        size=len(pushed.payload),
    )


def _moved(name: RepositoryName, tag: Tag, digest: Digest, previous: Digest) -> Event:
    return event("tag.move", repository=name, tag=tag, digest=digest, previous=previous)


async def _find_present(
    stores: Stores, name: RepositoryName, manifest: Manifest, rules: ManifestRules
) -> _Needs:
    """Look up what a manifest refers to, also in what is not taken over yet."""
    known = await find_repository(stores.index, name)
    try:
        return await _find_needs(stores.index, known, manifest, rules)
    except ManifestBlobUnknownError as error:
        if not await take_over_content(stores, name, error.digests):
            raise
    known = await find_repository(stores.index, name)
    return await _find_needs(stores.index, known, manifest, rules)


async def _find_needs(
    reader: Reader, repository: int | None, manifest: Manifest, rules: ManifestRules
) -> _Needs:
    missing: list[str] = []
    needs = _Needs(children=[], unsynced=[])
    for blob in dict.fromkeys(manifest.blobs()):
        linked = await find_linked_blob(reader, repository, blob) if repository else None
        if linked is None:
            missing.append(blob)
        elif not linked.durable:
            needs.unsynced.append(blob)
    for child in manifest.children:
        digest = Digest(child.digest)
        found = await find_manifest_id(reader, repository, digest) if repository else None
        if found is not None:
            needs.children.append(found)
        elif rules.requires(child):
            missing.append(digest)
    if missing:
        raise ManifestBlobUnknownError(missing)
    return needs
