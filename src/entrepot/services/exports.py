"""Writing the index down in `registry:2`'s layout, so that it can serve the same storage again.

What the index has gets its links, and manifests their bytes among the blobs. Links of what is gone
are removed. Links that were never taken over stay: those that were found to be broken, those to
blobs that are not there, and those that are younger than the last takeover or export, which
`registry:2` must have written since.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from entrepot.core import layout
from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, EntrepotError
from entrepot.core.names import RepositoryName, Tag
from entrepot.db import Transaction
from entrepot.db.exports import (
    list_every_repository,
    list_linked_blobs,
    list_payloads,
    list_tag_past,
    list_tag_targets,
)
from entrepot.db.imports import find_last_takeover, find_takeover, has_finding
from entrepot.db.settings import ensure_setting, replace_setting
from entrepot.services.layout import Layout
from entrepot.services.stores import Stores
from entrepot.storage.tree import File

_PAGE: Final = 200
_EXPORTED: Final = "layout.exported"


class TakeoverUnfinishedError(EntrepotError):
    """What is not taken over yet can't be written down."""


@dataclass(slots=True)
class Exported:
    """What an export did: how much there is, and how many links were written, removed and left
    because `registry:2` wrote them after the takeover.
    """

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    written: int = 0
    removed: int = 0
    younger: int = 0


async def export_layout(stores: Stores, old: Layout) -> Exported:
    """Write everything down below `old`. May be repeated, and interrupted.

    Raises:
        TakeoverUnfinishedError: a takeover is under way.
        DatabaseError, StorageError: it can't go on; repeat it.
    """
    if await find_takeover(stores.index) is not None:
        raise TakeoverUnfinishedError(
            "the takeover of this storage is not finished: see entrepot import status"
        )
    export = _Export(stores, old, cutoff=await _cutoff(stores))
    last = ""
    while page := await list_every_repository(stores.index, last=last, limit=_PAGE):
        for repository, name in page:
            await export.write_repository(repository, name)
            last = name

    if export.done.written:
        await old.tree.settle()
    ended = stores.now()

    async def work(transaction: Transaction) -> None:
        await replace_setting(transaction, _EXPORTED, value=str(ended))

    await stores.index.write(work)
    return export.done


async def _cutoff(stores: Stores) -> int:
    """Return the time up to which every link was taken over, or written by an export."""

    async def work(transaction: Transaction) -> int:
        return int(await ensure_setting(transaction, _EXPORTED, default="0"))

    exported = await stores.index.write(work)
    return max(exported, await find_last_takeover(stores.index) or 0)


class _Export:
    """One export. Links that were written up to `cutoff` are known to the index."""

    def __init__(self, stores: Stores, old: Layout, *, cutoff: int) -> None:
        self._stores = stores
        self._index = stores.index
        self._tree = old.tree
        self._old = old
        self._cutoff = cutoff
        self.done = Exported()

    async def write_repository(self, repository: int, name: RepositoryName) -> None:
        """Write a repository down: what points comes after what it points at."""
        self.done.repositories += 1
        wanted = {
            layout.layer_link(name, digest): (digest, linked)
            async for digest, linked in self._blobs(repository)
        }
        await self._write(name, layout.layers_path(name), wanted)
        wanted = {
            layout.revision_link(name, digest): (digest, created)
            async for digest, created in self._manifests(repository)
        }
        self.done.manifests += len(wanted)
        await self._write(name, layout.revisions_path(name), wanted)
        wanted = {path: link async for path, link in self._tags(repository, name)}
        await self._write(name, layout.tags_path(name), wanted)

    async def _blobs(self, repository: int) -> AsyncIterator[tuple[Digest, int]]:
        last = b""
        while page := await list_linked_blobs(self._index, repository, last=last, limit=_PAGE):
            for entry in page:
                yield entry
            last = page[-1][0].packed

    async def _manifests(self, repository: int) -> AsyncIterator[tuple[Digest, int]]:
        """Put the manifests' bytes among the blobs, where they are missing."""
        last = 0
        while page := await list_payloads(self._index, repository, last=last, limit=_PAGE):
            sizes = await self._tree.sizes([layout.blob_path(row.digest) for row in page])
            missing = [
                row for row, size in zip(page, sizes, strict=True) if size != len(row.payload)
            ]
            for row in missing:
                await self._stores.blobs.put(row.digest, row.payload)
            await self._stores.blobs.sync([row.digest for row in missing])
            for row in page:
                yield row.digest, row.created_at
            last = page[-1].id

    async def _tags(
        self, repository: int, name: RepositoryName
    ) -> AsyncIterator[tuple[str, tuple[Digest, int]]]:
        last = ""
        while page := await list_tag_targets(self._index, repository, last=last, limit=_PAGE):
            for tag, digest, since in page:
                past = await list_tag_past(self._index, repository, tag)
                for pointed, until in (past | {digest: since}).items():
                    yield layout.history_link(name, tag, pointed), (pointed, until)
                yield layout.current_link(name, tag), (digest, since)
            self.done.tags += len(page)
            last = page[-1][0]

    async def _write(
        self, name: RepositoryName, path: str, wanted: Mapping[str, tuple[Digest, int]]
    ) -> None:
        """Bring the links below a folder to those that are wanted."""
        missing = dict(wanted)
        async for page in self._tree.files(path):
            there = [file for file in page if file.path in wanted]
            contents = await self._tree.read_many(
                [file.path for file in there], most=layout.LINK_SIZE
            )
            for file, content in zip(there, contents, strict=True):
                if content == wanted[file.path][0].encode():
                    missing.pop(file.path, None)
            gone = [f.path for f in page if f.path not in wanted and await self._is_gone(name, f)]
            await self._tree.delete_many(gone)
            self.done.removed += len(gone)
        links = [(path, digest.encode(), at) for path, (digest, at) in missing.items()]
        for start in range(0, len(links), _PAGE):
            await self._tree.write_many(links[start : start + _PAGE])
        self.done.written += len(links)

    async def _is_gone(self, name: RepositoryName, file: File) -> bool:
        """Whether a link that the index has no use for may be removed."""
        if file.error is not None or not file.path.endswith("/link"):
            return False
        if file.modified > self._cutoff:
            self.done.younger += 1
            return False
        if file.path.startswith(f"{layout.layers_path(name)}/") and await self._is_lost(file.path):
            return False
        for place in _places(name, file.path):
            if await has_finding(self._index, place):
                return False
        return True

    async def _is_lost(self, link: str) -> bool:
        """Whether a link leads to a blob that nobody has: it lets nobody in, and does no harm."""
        try:
            path = layout.blob_path(layout.linked_digest(link))
        except DigestInvalidError:
            return True
        return await self._tree.sizes([path]) == [None]


def _places(name: RepositoryName, path: str) -> list[str]:
    """Return under what names a link may have been found to be broken."""
    places = [path]
    tags, revisions = layout.tags_path(name), layout.revisions_path(name)
    if path.startswith(f"{tags}/"):
        places.append(f"{name}:{Tag(path[len(tags) + 1 :].partition('/')[0])}")
    elif path.startswith(f"{revisions}/"):
        places.append(f"{name}@{':'.join(path.split('/')[-3:-1])}")
    return places
