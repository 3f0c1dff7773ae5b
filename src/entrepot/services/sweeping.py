"""Going through everything once in a while, for what no review knows of (docs/collection.md, "The
sweep"): links that were never used, rows of blobs that nobody links, objects that have no row, and
repositories that have nothing in them.

How far each sweep is stands in the index, so whoever collects next goes on there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.audit import event
from entrepot.core.digest import ALGORITHMS, Digest
from entrepot.db import Transaction
from entrepot.db.collection import is_importing
from entrepot.db.doomed import Doomed, Lease, doom_blobs, doom_objects
from entrepot.db.reviews import review_link
from entrepot.db.settings import find_setting, replace_setting
from entrepot.db.sweeps import (
    list_after,
    list_blobs,
    list_known,
    list_links,
    list_manifests_anywhere,
    remove_empty_repository,
)
from entrepot.services.audit import Notes
from entrepot.services.judging import COLLECTOR
from entrepot.services.stores import Stores

_PAGE: Final = 500
"""Rows that are read at once."""

_UNWRITTEN: Final = 20
"""Pages after which it is written down how far a sweep is, where nothing else was to be written."""

PREFIXES: Final = [f"{algorithm}:{number:02x}" for algorithm in ALGORITHMS for number in range(256)]
"""Parts of the store that are listed one after the other."""

SWEEPS: Final = ("links", "blobs", "objects", "repositories")
"""What is gone through."""

_SETTING: Final = "collection.sweeps"


class Position(Struct, frozen=True):
    """When a sweep began (microseconds since 1970), and after what it goes on: an id and a packed
    digest as hexadecimal digits, or a number. `over` until the next one begins.
    """

    began_at: int = 0
    number: int = 0
    digest: str = ""
    over: bool = True


class Swept(Struct, frozen=True):
    """What came of a part of a sweep: whether anything was looked at, how many repositories went,
    and the blobs whose objects are to be deleted now.
    """

    looked: bool = False
    repositories: int = 0
    doomed: tuple[Doomed, ...] = ()


Part = Callable[[Position, int, Lease], Awaitable[tuple[Position, Swept]]]
"""A part of a sweep, from a position on, with the time that collection goes by."""


FindOwnedSince = Callable[[], Awaitable[int | None]]
"""Says since when the store has been this index's, None if it is not."""


class Sweeps:
    """All sweeps of one registry. Each begins once in a grace period, and a part is done at a time.
    The store is gone through if it has belonged to this index alone for a grace period:
    `find_owned_since` says since when it does, if it does.
    """

    def __init__(self, stores: Stores, *, find_owned_since: FindOwnedSince) -> None:
        self._stores = stores
        self._find_owned_since = find_owned_since
        parts: tuple[Part, ...] = (self._links, self._blobs, self._objects, self._repositories)
        self._parts = dict(zip(SWEEPS, parts, strict=True))
        self._positions: dict[str, Position] | None = None
        self._unwritten = 0

    def forget(self) -> None:
        """Read again how far the sweeps are: another may have gone on with them."""
        self._positions = None

    def begin_anew(self) -> None:
        """Let all sweeps begin now."""
        self._positions = {}

    def is_over(self, name: str) -> bool:
        """Whether a sweep is at its end."""
        return (self._positions or {}).get(name, Position()).over

    async def go_on(self, name: str, *, now: int, lease: Lease) -> Swept:
        """Do a part of a sweep, if there is something left to do or it begins again."""
        if self._positions is None:
            text = await find_setting(self._stores.index, _SETTING)
            self._positions = msgspec.json.decode(text or "{}", type=dict[str, Position])
        position = self._positions.get(name, Position())
        if position.over:
            # One that began later than now did so before the clock was set back.
            if 0 <= now - position.began_at < self._stores.keeping.grace:
                return Swept()
            position = Position(began_at=now, over=False)
        if await is_importing(self._stores.index):
            return Swept()
        following, swept = await self._parts[name](position, now, lease)
        self._positions[name] = following
        self._unwritten += 1
        if following.over or swept.doomed or self._unwritten >= _UNWRITTEN:
            await self._write()
        return swept

    async def _write(self) -> None:
        self._unwritten = 0
        text = msgspec.json.encode(self._positions).decode()
        await self._stores.index.write_lazily(lambda t: replace_setting(t, _SETTING, value=text))

    # The parts ----------------------------------------------------------------------------------

    async def _links(self, at: Position, now: int, _: Lease) -> tuple[Position, Swept]:
        """Note that links which were never used are to be looked at."""
        page = await list_links(
            self._stores.index,
            repository=at.number,
            digest=bytes.fromhex(at.digest),
            before=now - self._stores.keeping.grace,
            limit=_PAGE,
        )
        unused = [link for link in page if link.unused]

        async def work(transaction: Transaction) -> None:
            after = self._stores.now() + self._stores.keeping.told
            for link in unused:
                await review_link(
                    transaction, link.repository, link.digest, after=after, event="blob.unused"
                )

        if unused:
            await self._stores.index.write_lazily(work)
        if len(page) < _PAGE:
            return Position(at.began_at), Swept(looked=bool(page))
        last = page[-1]
        following = Position(at.began_at, last.repository, last.digest.packed.hex(), over=False)
        return following, Swept(looked=True)

    async def _blobs(self, at: Position, now: int, lease: Lease) -> tuple[Position, Swept]:
        """Doom blobs that nobody links any more: their links went in another way than by a look."""
        page = await list_blobs(
            self._stores.index,
            digest=bytes.fromhex(at.digest),
            before=now - self._stores.keeping.grace,
            limit=_PAGE,
        )
        unused = [blob.digest for blob in page if blob.unused]

        async def work(transaction: Transaction, notes: Notes) -> list[Doomed]:
            if await is_importing(transaction):
                return []
            doomed = await doom_blobs(transaction, unused, lease)
            if doomed:
                freed = sum(blob.size for blob in doomed)
                notes.add(event("blob.collect", links=0, blobs=len(doomed), size=freed))
            return doomed

        doomed = await self._stores.trail.write(work, by=COLLECTOR) if unused else []
        swept = Swept(looked=bool(page), doomed=tuple(doomed))
        if len(page) < _PAGE:
            return Position(at.began_at), swept
        return Position(at.began_at, 0, page[-1].digest.packed.hex(), over=False), swept

    async def _objects(self, at: Position, now: int, lease: Lease) -> tuple[Position, Swept]:
        """Doom objects of one part of the store that the index does not know."""
        before = now - self._stores.keeping.grace
        since = await self._find_owned_since() if at.number < len(PREFIXES) else None
        if since is None or since > before:
            return Position(at.began_at), Swept()
        unknown = await _unknown(self._stores, PREFIXES[at.number], before=before)

        async def work(transaction: Transaction, notes: Notes) -> list[Doomed]:
            if await is_importing(transaction):
                return []
            doomed = await doom_objects(transaction, unknown.items(), lease)
            if doomed:
                freed = sum(blob.size for blob in doomed)
                notes.add(event("object.collect", objects=len(doomed), size=freed))
            return doomed

        doomed = await self._stores.trail.write(work, by=COLLECTOR) if unknown else []
        number = at.number + (len(unknown) < _PAGE)  # else there may be more of them
        following = Position(at.began_at, number, over=False)
        return following, Swept(looked=True, doomed=tuple(doomed))

    async def _repositories(self, at: Position, now: int, _: Lease) -> tuple[Position, Swept]:
        """Remove repositories that have nothing in them."""
        before = now - self._stores.keeping.grace
        page = await list_after(
            self._stores.index, repository=at.number, before=before, limit=_PAGE
        )
        empty = [repository for repository in page if repository.empty]

        async def work(transaction: Transaction, notes: Notes) -> int:
            gone = 0
            if await is_importing(transaction):
                return gone
            for found in empty:
                if await remove_empty_repository(transaction, found.id, before=before):
                    notes.add(event("repository.collect", repository=found.name))
                    gone += 1
            return gone

        gone = await self._stores.trail.write_lazily(work, by=COLLECTOR) if empty else 0
        swept = Swept(looked=bool(page), repositories=gone)
        if len(page) < _PAGE:
            return Position(at.began_at), swept
        return Position(at.began_at, page[-1].id, over=False), swept


def packed_range(prefix: str) -> tuple[bytes, bytes]:
    """Return the first and the last packed digest of a part of the store."""
    algorithm, _, digits = prefix.partition(":")
    length = ALGORITHMS[algorithm] - len(digits)
    return Digest(f"{prefix}{'0' * length}").packed, Digest(f"{prefix}{'f' * length}").packed


async def list_unknown_objects(stores: Stores, *, before: int) -> AsyncIterator[dict[Digest, int]]:
    """Yield the objects that a sweep would find, with their sizes: some of each part of the store
    in which there are many.
    """
    for prefix in PREFIXES:
        yield await _unknown(stores, prefix, before=before)


async def _unknown(stores: Stores, prefix: str, *, before: int) -> dict[Digest, int]:
    """Return some objects that have been where they are since a time and that the index does not
    know, with their sizes. The files in which `registry:2` kept manifests stay as long as the
    manifests: whoever goes back to it needs them.
    """
    first, last = packed_range(prefix)
    known = await list_known(stores.index, first=first, last=last)
    manifests: set[Digest] | None = None
    unknown: dict[Digest, int] = {}
    async for page in stores.blobs.stored(prefix):
        found = {
            blob.digest: blob.size
            for blob in page
            if blob.placed_at < before and blob.digest not in known
        }
        if found and manifests is None:
            manifests = await list_manifests_anywhere(stores.index, first=first, last=last)
        unknown |= {d: size for d, size in found.items() if d not in (manifests or ())}
        if len(unknown) >= _PAGE:
            break
    return unknown
