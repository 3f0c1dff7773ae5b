"""Reading what `registry:2` left, from its files alone: what is there, and what is broken.

Nothing here looks into the index or changes anything.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from entrepot.core import layout
from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, ManifestInvalidError
from entrepot.core.layout import LINK_SIZE
from entrepot.core.manifest import Descriptor, Manifest, parse
from entrepot.core.names import NAME_LENGTH, RepositoryName, Tag
from entrepot.db.imports import Finding
from entrepot.storage import StorageError
from entrepot.storage.tree import File, Tree

MANIFEST_SIZE: Final = 4 * 1_048_576
"""More bytes than `registry:2` accepted in a manifest."""

_READ: Final = 32
"""Manifests whose bytes are read at once."""


class FoundManifest(NamedTuple):
    """A manifest whose blobs are all there; `created` in microseconds since 1970."""

    digest: Digest
    manifest: Manifest
    payload: bytes
    created: int


class FoundTag(NamedTuple):
    """A tag, and where it pointed and since when (microseconds since 1970): oldest first, last
    where it points now.
    """

    tag: Tag
    moves: tuple[tuple[Digest, int], ...]

    @property
    def digest(self) -> Digest:
        """Where it points."""
        return self.moves[-1][0]


@dataclass(slots=True)
class Batch:
    """Some manifests, each after those that it lists, with the sizes of all blobs they need."""

    manifests: list[FoundManifest] = field(default_factory=list)
    blobs: dict[Digest, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


Known = Callable[[Iterable[Digest]], Awaitable[set[Digest]]]
"""Which of these manifests need not be read, because the index has them."""


Fetch = Callable[[Digest, int], Awaitable[bool]]
"""Brings a blob of so many bytes into the registry's own store; false if it is damaged."""


async def _lies_there(_digest: Digest, _size: int) -> bool:
    return True


class Layout:
    """`registry:2`'s files below the root of `tree`. Where that is not the registry's own storage,
    `fetch` copies what manifests need.
    """

    def __init__(self, tree: Tree, *, fetch: Fetch = _lies_there) -> None:
        self.tree = tree
        self.wrong: set[Digest] = set()
        """Blobs that are known to be damaged: they count as missing."""
        self._fetch = fetch

    async def exists(self) -> bool:
        """Whether there is any repository's folder."""
        found = False
        async for _ in self.tree.names(layout.REPOSITORIES):
            found = True
        return found

    # Names --------------------------------------------------------------------------------------

    async def repositories(self, above: str = "") -> AsyncIterator[str]:
        """Yield the names of all repositories, which may be none that we accept."""
        found = not above
        async for page in self.tree.names(layout.repository_path(above)):
            if not found and ("_layers" in page or "_manifests" in page):
                found = True
                yield above
            for name in page:
                whole = f"{above}/{name}" if above else name
                if not name.startswith("_") and len(whole) <= NAME_LENGTH:
                    async for deeper in self.repositories(whole):
                        yield deeper

    async def tags(self, name: RepositoryName) -> AsyncIterator[list[str]]:
        """Yield the names of a repository's tags, in pages and in any order."""
        async for page in self.tree.names(layout.tags_path(name)):
            yield page

    async def count_manifests(self, name: RepositoryName) -> int:
        """Return how many manifests a repository seems to have."""
        count = 0
        async for algorithms in self.tree.names(layout.revisions_path(name)):
            for algorithm in algorithms:
                path = f"{layout.revisions_path(name)}/{algorithm}"
                async for page in self.tree.names(path):
                    count += len(page)
        return count

    # Links --------------------------------------------------------------------------------------

    async def links(self, files: Sequence[File]) -> tuple[dict[Digest, int], list[Finding]]:
        """Return the digests that links name, with when each was written; and the broken links."""
        found: dict[Digest, int] = {}
        findings = [Finding(f.path, "unreadable", f.error) for f in files if f.error is not None]
        whole = [file for file in files if file.error is None and file.path.endswith("/link")]
        contents = await self.tree.read_many([file.path for file in whole], most=LINK_SIZE)
        for file, content in zip(whole, contents, strict=True):
            try:
                if isinstance(content, bytes):
                    found[_checked_link(file.path, content)] = file.modified
                elif content is not None:
                    findings.append(Finding(file.path, "unreadable", str(content)))
            except DigestInvalidError:
                findings.append(Finding(file.path, "malformed", _link_reason(content)))
        return found, findings

    async def linked(self, paths: Sequence[str]) -> set[Digest]:
        """Return the digests of those links that exist and are well-formed."""
        found = await self.links([File(path, 0, 0) for path in paths])
        return set(found[0])

    async def find_tag(self, name: RepositoryName, tag: Tag) -> FoundTag | None:
        """Return a tag with its past, or None if there is none, or its links are broken."""
        files: list[File] = []
        async for page in self.tree.files(layout.tag_path(name, tag)):
            files += page
        return (await self.read_tags(name, {tag: files}))[0].get(tag)

    async def read_tags(
        self, name: RepositoryName, files: Mapping[Tag, Sequence[File]]
    ) -> tuple[dict[Tag, FoundTag], list[Finding]]:
        """Return tags from all the files in their folders, and what is broken."""
        paths = [layout.current_link(name, tag) for tag in files]
        contents = await self.tree.read_many(paths, most=LINK_SIZE)
        found: dict[Tag, FoundTag] = {}
        findings: list[Finding] = []
        for (tag, below), path, content in zip(files.items(), paths, contents, strict=True):
            place = f"{name}:{tag}"
            if content is None:
                continue  # deleted, or never finished
            if isinstance(content, StorageError):
                findings.append(Finding(place, "unreadable", str(content)))
                continue
            try:
                digest = layout.read_link(content)
            except DigestInvalidError:
                findings.append(Finding(place, "malformed", _link_reason(content)))
                continue
            found[tag] = FoundTag(tag, _moves(digest, path, below))
        return found, findings

    # Manifests ----------------------------------------------------------------------------------

    async def load(
        self, name: RepositoryName, links: Mapping[Digest, int], *, known: Known
    ) -> Batch:
        """Return the manifests that revisions link, with those that they list and `known` does
        not know. What is broken is left out, and said.
        """
        batch = Batch()
        found: dict[Digest, FoundManifest] = {}
        wanted = dict(links)
        while wanted:
            children: dict[Digest, int] = {}
            async for digest, payload in self._payloads(wanted):
                loaded = _understand(digest, payload, wanted[digest])
                if isinstance(loaded, FoundManifest):
                    found[digest] = loaded
                    for child in loaded.manifest.children:
                        children.setdefault(Digest(child.digest), loaded.created)
                else:
                    batch.findings.append(_at(name, digest, *loaded))
            new = [child for child in children if child not in found and child not in links]
            missing = set(new) - await known(new)
            there = await self.linked([layout.revision_link(name, child) for child in missing])
            wanted = {child: children[child] for child in there}
        await self._look_for_blobs(name, found, batch)
        batch.manifests = _ordered(found)
        return batch

    async def _payloads(
        self, wanted: Iterable[Digest]
    ) -> AsyncIterator[tuple[Digest, bytes | StorageError | None]]:
        digests = list(wanted)
        for start in range(0, len(digests), _READ):
            some = digests[start : start + _READ]
            paths = [layout.blob_path(digest) for digest in some]
            for entry in zip(
                some, await self.tree.read_many(paths, most=MANIFEST_SIZE), strict=True
            ):
                yield entry

    async def _look_for_blobs(
        self, name: RepositoryName, found: dict[Digest, FoundManifest], batch: Batch
    ) -> None:
        """Take out manifests whose blobs are not there."""
        needed: dict[Digest, set[int]] = {}
        for manifest in found.values():
            for descriptor in _needs(manifest.manifest):
                needed.setdefault(Digest(descriptor.digest), set()).add(descriptor.size)
        batch.blobs = await self.sizes(needed)
        for digest, sizes in needed.items():
            # A size that a manifest denies may be a torn file, or a careless client's mistake.
            size = batch.blobs.get(digest)
            if size is None:
                continue
            doubtful = sizes != {size} and not await self.verify(digest)
            if doubtful or not await self._fetch(digest, size):
                del batch.blobs[digest]
        for digest, manifest in list(found.items()):
            lost = [blob for blob in manifest.manifest.blobs() if blob not in batch.blobs]
            if lost:
                del found[digest]
                reason = f"blob {lost[0]} is missing or damaged"
                batch.findings.append(_at(name, digest, "missing", reason))

    async def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Return the bytes of those blobs that are there."""
        wanted = [digest for digest in digests if digest not in self.wrong]
        sizes = await self.tree.sizes([layout.blob_path(digest) for digest in wanted])
        return {d: size for d, size in zip(wanted, sizes, strict=True) if size is not None}

    async def verify(self, digest: Digest) -> bool:
        """Return whether the bytes of a blob have its digest, by reading them."""
        hashed = hashlib.new(digest.algorithm)
        try:
            async for piece in self.tree.pieces(layout.blob_path(digest)):
                hashed.update(piece)
        except StorageError:
            return False
        return hashed.hexdigest() == digest.hex


def _checked_link(path: str, content: bytes) -> Digest:
    digest = layout.read_link(content)
    if digest != layout.linked_digest(path):
        raise DigestInvalidError({"path": path})
    return digest


def _link_reason(content: object) -> str:
    return f"the link says {content!r:.100}"


def _moves(digest: Digest, path: str, files: Sequence[File]) -> tuple[tuple[Digest, int], ...]:
    """Return where a tag pointed and when, from the times of its links."""
    past: dict[Digest, int] = {}
    since = 0
    for file in files:
        if file.path == path:
            since = file.modified
        else:
            try:
                past[layout.linked_digest(file.path)] = file.modified
            except DigestInvalidError:
                continue  # no link: registry:2 doesn't look at it either
    since = past.pop(digest, since) or since
    ordered = sorted(past.items(), key=lambda move: (move[1], move[0]))
    # Copies of a volume may have lost the times: where it points now comes last whatever they say.
    latest = max([since, *past.values()])
    return (*ordered, (digest, latest))


def _understand(
    digest: Digest, payload: bytes | StorageError | None, created: int
) -> FoundManifest | tuple[str, str]:
    """Return a manifest, or what kind of finding it is, and why."""
    if payload is None:
        return "missing", "its bytes are missing"
    if isinstance(payload, StorageError):
        return "unreadable", str(payload)
    if Digest.of(payload, algorithm=digest.algorithm) != digest:
        return "damaged", "its bytes have another digest"
    try:
        return FoundManifest(digest, parse(payload, content_type=None), payload, created)
    except ManifestInvalidError as error:
        return "unsupported", str(error)


def _needs(manifest: Manifest) -> list[Descriptor]:
    layers = [layer for layer in manifest.layers if not layer.foreign]
    return layers if manifest.config is None else [manifest.config, *layers]


def _at(name: RepositoryName, digest: Digest, kind: str, reason: str) -> Finding:
    return Finding(f"{name}@{digest}", kind, reason)


def _ordered(found: Mapping[Digest, FoundManifest]) -> list[FoundManifest]:
    """Put every manifest after those that it lists."""
    done: set[Digest] = set()
    ordered: list[FoundManifest] = []
    waiting = list(found.values())
    while waiting:
        later = []
        for manifest in waiting:
            children = (Digest(child.digest) for child in manifest.manifest.children)
            if all(child in done or child not in found for child in children):
                done.add(manifest.digest)
                ordered.append(manifest)
            else:
                later.append(manifest)
        waiting = later
    return ordered


@dataclass(slots=True)
class Past:
    """A takeover of the registry's own storage, as one worker sees it: import `number`. `listed`
    says that the index has the names of all old repositories, `active` that it is not finished.
    """

    layout: Layout
    number: int
    listed: bool = False
    active: bool = True
