"""Copying repositories of another registry, as if somebody pulled and pushed every image.

Blobs come before the manifests that need them, children before their lists, and a tag last, so that
whatever ends the work leaves images that are whole. What is here already is not asked for again: a
second run copies only what is missing. Tags that moved there, or were deleted here, are set; what
is only here stays. To what is copied belongs what refers to it: signatures, attestations and the
like, whether the other registry knows referrers or clients keep them under tags `sha256-...`.
"""

import asyncio
from bisect import bisect_left
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from entrepot.core.audit import COPIER
from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError, ProtocolError
from entrepot.core.manifest import Descriptor, Manifest, fallback_tag, parse
from entrepot.core.names import RepositoryName, Tag
from entrepot.db.blobs import find_blob_size
from entrepot.db.manifests import find_manifest
from entrepot.services.push import ManifestRules, PushedManifest, put_manifest
from entrepot.services.stores import Stores
from entrepot.services.uploads import Part, Uploads
from entrepot.upstream import UpstreamContentError, UpstreamError, UpstreamUnreachableError
from entrepot.upstream.client import Upstream

T = TypeVar("T")

_DEEPEST: Final = 16
"""Lists in lists in lists ... that are followed."""

_GIVE_UP: Final = 10
"""How often in a row the other registry may be unreachable, every time after many attempts."""

_WILD: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Selection:
    """What is copied: patterns with `*`, `?` and `[...]`, of which `*` stands for slashes, too. No
    pattern at all stands for everything.
    """

    repositories: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def has_repository(self, name: str) -> bool:
        """Whether a repository is copied."""
        return _matches(name, self.repositories or ("*",)) and not _matches(name, self.excluded)

    def has_tag(self, tag: str) -> bool:
        """Whether a tag is copied."""
        return _matches(tag, self.tags or ("*",))

    def named(self) -> tuple[str, ...] | None:
        """Return the repositories if all are named in full, so that no catalog is needed."""
        names = self.repositories
        return names if names and not any(_WILD.intersection(name) for name in names) else None


@dataclass(slots=True)
class Counts:
    """What was done so far. Tags and manifests that were here already are `unchanged`; `received`
    are the bytes of blobs.
    """

    repositories: int = 0
    tags: int = 0
    unchanged_tags: int = 0
    manifests: int = 0
    blobs: int = 0
    received: int = 0
    failures: int = 0


class Failure(NamedTuple):
    """Something that could not be copied, and why. `place` is NAME, NAME:TAG or NAME@DIGEST."""

    place: str
    reason: str


class Copier:
    """Copies what is selected, with at most `jobs` requests to the other registry at once."""

    def __init__(
        self,
        stores: Stores,
        upstream: Upstream,
        *,
        uploads: Uploads,
        rules: ManifestRules,
        selection: Selection,
        jobs: int,
        failed: Callable[[Failure], None],
    ) -> None:
        self.stores = stores
        self.upstream = upstream
        self.uploads = uploads
        self.rules = rules
        self.selection = selection
        self.jobs = jobs
        self.counts = Counts()
        self.requests = asyncio.Semaphore(jobs)
        self._failed = failed
        self.unreachable = 0
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def run(self) -> None:
        """Copy everything; what fails is told and counted.

        Raises:
            UpstreamError: nothing can be copied, or nothing more.
            StorageError, DatabaseError, NoSpaceError: this registry failed.
        """
        await self.upstream.check()
        await _each(self._repositories(), self._copy, jobs=self.jobs)

    def lock(self, key: Hashable) -> asyncio.Lock:
        """Return the lock of a blob or manifest, by which it is copied once."""
        return self._locks.setdefault(key, asyncio.Lock())

    def fail(self, place: str, error: EntrepotError) -> None:
        """Go on without something, or raise the reason if there is no sense in going on."""
        self.counts.failures += 1
        self._failed(Failure(place, _reason(error)))
        if not isinstance(error, UpstreamUnreachableError):
            self.unreachable = 0
            return
        self.unreachable += 1
        if self.unreachable >= _GIVE_UP:
            raise UpstreamUnreachableError(f"{self.upstream.address.host} is gone: {error}")

    async def _repositories(self) -> AsyncIterator[str]:
        named = self.selection.named()
        if named is not None:
            for name in dict.fromkeys(named):
                if self.selection.has_repository(name):
                    yield name
            return
        async for name in self.upstream.repositories():
            if self.selection.has_repository(name):
                yield name

    async def _copy(self, text: str) -> None:
        try:
            name = RepositoryName.parse(text)
            async with self.requests:
                tags = [tag async for tag in self.upstream.tags(name)]
            if not tags and self.selection.named() is not None:
                raise UpstreamContentError("there is no such repository, or it has no tags")
        except (UpstreamError, ProtocolError) as error:
            self.fail(text[:256], error)
            return
        await _Repository(self, name, tags).copy()
        self.counts.repositories += 1


class _Repository:
    """One repository on its way here."""

    def __init__(self, copier: Copier, name: RepositoryName, tags: Iterable[str]) -> None:
        self._copier = copier
        self._stores = copier.stores
        self._name = name
        self._tags = sorted(tags)
        self._visited: set[Digest] = set()

    async def copy(self) -> None:
        await _each(self._selected(), self._copy_with_attached, jobs=self._copier.jobs)

    async def _selected(self) -> AsyncIterator[str]:
        for tag in self._tags:
            if self._copier.selection.has_tag(tag):
                yield tag

    async def _copy_with_attached(self, tag: str) -> None:
        """Copy a tag, and then what refers to its manifest, or to that, and so on."""
        digest = await self._copy_tag(tag)
        waiting = [] if digest is None else [digest]
        while waiting:
            digest = waiting.pop()
            if digest in self._visited:
                continue
            self._visited.add(digest)
            manifest = await self._find(digest)
            if manifest is None:
                continue
            waiting += [Digest(child.digest) for child in manifest.children]
            waiting += await self._copy_referrers(digest)
            for attached in self._attached_tags(digest):
                found = await self._copy_tag(attached)
                waiting += [] if found is None else [found]

    async def _copy_tag(self, text: str) -> Digest | None:
        """Copy what a tag points at, and point it there; None if that failed."""
        counts, upstream = self._copier.counts, self._copier.upstream
        try:
            tag = Tag.parse(text)
            async with self._copier.requests:
                digest = await upstream.find_digest(self._name, tag)
            if digest is None:
                raise UpstreamContentError("the tag is listed, but there is no such manifest")
            moved = await self._digest_at(tag) != digest
            if await self._put(digest, tags=(tag,) if moved else ()) is None:
                raise UpstreamContentError("the tag leads to a manifest that is not there")
            if moved:
                await self._point(tag, digest)
                counts.tags += 1
            else:
                counts.unchanged_tags += 1
            self._copier.unreachable = 0
            return digest
        except (UpstreamError, ProtocolError) as error:
            self._copier.fail(f"{self._name}:{text[:128]}", error)
            return None

    async def _digest_at(self, tag: Tag) -> Digest | None:
        """Return what a tag points at here."""
        stored = await find_manifest(self._stores.index, self._name, tag)
        return stored and stored.digest

    async def _point(self, tag: Tag, digest: Digest) -> None:
        """Point a tag at a manifest that is here, unless it came with the manifest."""
        if await self._digest_at(tag) == digest:
            return
        stored = await find_manifest(self._stores.index, self._name, digest)
        if stored is None:
            raise UpstreamContentError("somebody deleted the manifest while it was copied")
        pushed = PushedManifest(
            self._name, digest, stored.payload, stored.media_type, (tag,), COPIER
        )
        await put_manifest(self._stores, pushed, rules=self._copier.rules)

    async def _copy_referrers(self, subject: Digest) -> list[Digest]:
        """Copy the manifests that the other registry lists for a subject, and return them."""
        copied: list[Digest] = []
        try:
            async with self._copier.requests:
                listed = await self._copier.upstream.referrers(self._name, subject)
        except UpstreamError as error:
            self._copier.fail(f"{self._name}@{subject}", error)
            return copied
        for digest in listed or ():
            try:
                if await self._put(digest) is None:
                    raise UpstreamContentError("it is listed as a referrer, but not there")
                copied.append(digest)
            except (UpstreamError, ProtocolError) as error:
                self._copier.fail(f"{self._name}@{digest}", error)
        return copied

    def _attached_tags(self, subject: Digest) -> list[str]:
        """Return the tags under which clients keep what refers to a manifest, and that are not
        copied anyway.
        """
        prefix = fallback_tag(subject)
        first = bisect_left(self._tags, prefix)
        last = bisect_left(self._tags, f"{prefix}\x7f")
        return [t for t in self._tags[first:last] if not self._copier.selection.has_tag(t)]

    # Content ------------------------------------------------------------------------------------

    async def _find(self, digest: Digest) -> Manifest | None:
        """Return a manifest that is here."""
        stored = await find_manifest(self._stores.index, self._name, digest)
        return stored and parse(stored.payload, content_type=stored.media_type)

    async def _put(
        self, digest: Digest, *, tags: Sequence[Tag] = (), depth: int = 0
    ) -> Manifest | None:
        """Have a manifest here with all that it needs; None if the other registry has none. If it
        is new, `tags` point at it.
        """
        if depth > _DEEPEST:
            raise UpstreamContentError("lists are nested too deeply")
        async with self._copier.lock((self._name, digest)):
            known = await self._find(digest)
            if known is not None:
                return known
            async with self._copier.requests:
                fetched = await self._copier.upstream.get_manifest(self._name, digest)
            if fetched is None:
                return None
            manifest = parse(fetched.payload, content_type=fetched.content_type)
            for child in manifest.children:
                await self._put(Digest(child.digest), depth=depth + 1)
            await self._put_blobs(manifest)
            pushed = PushedManifest(
                self._name, digest, fetched.payload, fetched.content_type, tags, COPIER
            )
            await put_manifest(self._stores, pushed, rules=self._copier.rules)
            self._copier.counts.manifests += 1
            return manifest

    async def _put_blobs(self, manifest: Manifest) -> None:
        config = () if manifest.config is None else (manifest.config,)
        needed = [*config, *(layer for layer in manifest.layers if not layer.foreign)]
        blobs = {blob.digest: blob for blob in needed}

        async def each() -> AsyncIterator[Descriptor]:
            for blob in blobs.values():
                yield blob

        await _each(each(), self._put_blob, jobs=self._copier.jobs)

    async def _put_blob(self, blob: Descriptor) -> None:
        """Have a blob here, from another repository if one has it."""
        digest, copier = Digest(blob.digest), self._copier
        async with copier.lock(digest):
            if await find_blob_size(self._stores.index, self._name, digest) is not None:
                return
            if not await copier.uploads.mount(self._name, digest, source=None):
                async with copier.requests:
                    await self._receive(digest, blob.size)
                copier.counts.blobs += 1

    async def _receive(self, digest: Digest, size: int) -> None:
        uploads, counts = self._copier.uploads, self._copier.counts
        upload = uploads.begin(self._name)
        complete = False

        async def counted() -> AsyncGenerator[bytes, None]:
            pieces = self._copier.upstream.blob(self._name, digest, size=size)
            async with aclosing(pieces):
                async for piece in pieces:
                    counts.received += len(piece)
                    yield piece

        try:
            async with aclosing(counted()) as body:
                await uploads.finish(upload, Part(body, None, size), digest)
            complete = True
        finally:
            if not complete:
                with suppress(EntrepotError):
                    await uploads.cancel(upload)


def _reason(error: EntrepotError) -> str:
    """Return what is wrong in a sentence, without what only programs read."""
    if isinstance(error, ProtocolError) and isinstance(error.detail, Mapping):
        reason = error.detail.get("reason")
        return f"{error.message}: {reason}" if reason else str(error)
    return str(error)


def _matches(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


async def _each(
    items: AsyncIterator[T], work: Callable[[T], Awaitable[None]], *, jobs: int
) -> None:
    """Do `work` for every item, for `jobs` of them at once. The first failure ends all of it and is
    raised.
    """
    places = asyncio.Semaphore(jobs)

    async def one(item: T) -> None:
        try:
            await work(item)
        finally:
            places.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                await places.acquire()
                group.create_task(one(item))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
