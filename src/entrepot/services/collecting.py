"""The collector: what nobody needs goes, a little at a time, beside everything else.

docs/collection.md says in which steps, and why nothing else goes. One collector works in a cluster
at a time, by a lease; a second one would be in the way and do no harm.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import structlog

from entrepot.core.errors import EntrepotError
from entrepot.core.timekeeping import Reading
from entrepot.db import Transaction
from entrepot.db.collection import is_anything_due, is_importing, measure_queue
from entrepot.db.doomed import Doomed
from entrepot.db.jobs import find_lease_holder, hold_lease, let_lease_go
from entrepot.db.trash import measure_trash
from entrepot.db.trash_contents import list_expired
from entrepot.services.judging import Look, Removed, look_at_links, look_at_manifests
from entrepot.services.removing import Remover
from entrepot.services.stores import Stores
from entrepot.services.sweeping import SWEEPS, FindOwnedSince, Sweeps
from entrepot.services.timekeeping import Clock
from entrepot.services.trash import expire_trash
from entrepot.telemetry import Metrics

KIND: Final = "collection"
"""The kind of the lease in `jobs` by which one collector works at a time."""

_FIRST: Final = "collection first"
"""The kind of the lease by which one goes first who collects at a stretch."""

_SECOND: Final = 1_000_000
_LEASE: Final = 30 * _SECOND
"""Microseconds for which a collector is the only one, unless it renews that."""

_MEASURE_EVERY: Final = 30 * _SECOND
_MEASURE_TRASH_EVERY: Final = 600 * _SECOND
OVERDUE: Final = 24 * 3600 * _SECOND
"""Microseconds after which something that was due should have been looked at."""

_IDLE: Final = 5.0
"""Seconds between two looks when there is nothing to do, or a quarter of the grace period: well
below the lease."""

_PATIENCE: Final = 120.0
"""Seconds for which the collector that works all the time is waited for to rest."""

_LOOK_EVERY: Final = 0.25

_LONGEST_PAUSE: Final = 60.0
"""Seconds after something failed again and again."""

_BUSY: Final = 0.02
"""From how much on the server is taken to be busy, from 0 to 1."""

_TIMES: Final = 40
"""Times that a transaction took for which the next one waits while the server is wholly busy: few
requests are beside one (docs/performance.md has what the slowest show of it).
"""

_PARTS: Final = 2000
"""Parts of a sweep that are at least done in a grace period, if there are so many."""

_log = structlog.get_logger("entrepot.collection")


class CollectionBusyError(EntrepotError):
    """Another process collects."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a collector goes. `batch` is the number of reviews in one transaction, a tenth of it
    while the server is busy, `rate` the most of them in a second, 0 for any number, and `most` the
    longest pause in seconds while the server is busy.
    """

    batch: int = 100
    rate: float = 2000.0
    most: float = 1.0


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: how much that was due was looked at, how many parts of sweeps were done, what
    went, how many objects could not be deleted.
    """

    looked: int = 0
    swept: int = 0
    manifests: tuple[Removed, ...] = ()
    links: int = 0
    blobs: tuple[Doomed, ...] = ()
    repositories: int = 0
    failed: int = 0

    def __add__(self, other: Self) -> "Done":
        return Done(
            self.looked + other.looked,
            self.swept + other.swept,
            self.manifests + other.manifests,
            self.links + other.links,
            self.blobs + other.blobs,
            self.repositories + other.repositories,
            self.failed + other.failed,
        )

    def __bool__(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.looked or self.swept)


class Collector:
    """Collects as `owner`. `read_clocks` tells the time, `find_owned_since` since when the store
    has belonged to this index alone, and `busyness` from 0 to 1 how busy the server is.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        owner: str,
        read_clocks: Callable[[], Reading],
        find_owned_since: FindOwnedSince,
        metrics: Metrics | None = None,
        pace: Pace = Pace(),
        busyness: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._stores = stores
        self._owner = owner
        self._clock = Clock(stores.index, stores.keeping, read_clocks)
        self._metrics = metrics
        self._pace = pace
        self._busyness = busyness
        self._remover = Remover(stores, owner=owner, steady=lambda: read_clocks().ran)
        self._sweeps = Sweeps(stores, find_owned_since=find_owned_since)
        self._measured_at = self._trash_at = self._sweep_at = -(2**62)
        self._held_until = -(2**62)
        """By the clock that goes evenly."""
        self._first = False

    # Going on -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Collect until cancelled, whenever nobody else does. What fails is logged and tried again,
        later each time.
        """
        failures = 0
        try:
            while True:
                began = asyncio.get_running_loop().time()
                try:
                    done = await self._turn() if await self._may() else Done()
                    failures = failures + 1 if done.failed else 0
                except EntrepotError as error:
                    failures += 1
                    done = Done()
                    if self._metrics is not None:
                        self._metrics.collection_failed()
                    _log.error("collection failed and will be tried again", error=str(error))
                took = asyncio.get_running_loop().time() - began
                await asyncio.sleep(self._pause(done, took=took, failures=failures))
        finally:
            await self.let_go()

    async def go_first(self) -> None:
        """Wait until nobody else collects: the collector that works all the time rests from now on
        until this one lets go.

        Raises:
            CollectionBusyError: another goes first.
            DatabaseError.
        """
        self._first = True
        until = asyncio.get_running_loop().time() + _PATIENCE
        while not await self.hold():
            if asyncio.get_running_loop().time() > until:
                raise CollectionBusyError("another process collects at this moment")
            await asyncio.sleep(_LOOK_EVERY)

    async def sweep_all(self, names: Collection[str]) -> AsyncIterator[Done]:
        """Do whole sweeps from the beginning; yield what was done, little by little. Raises as
        `everything`.
        """
        self._sweeps.begin_anew()
        left = set(names)
        while left and not await is_importing(self._stores.index):
            if not await self.hold():
                raise CollectionBusyError("another process collects at this moment")
            began = asyncio.get_running_loop().time()
            done = await self.sweep(left)
            left = {name for name in left if not self._sweeps.is_over(name)}
            yield done
            await asyncio.sleep(self._breath(done, asyncio.get_running_loop().time() - began))

    async def everything(self) -> AsyncIterator[Done]:
        """Look at all that is due, and go through everything once from the beginning; yield what
        was done, little by little.

        Raises:
            CollectionBusyError: another collects now.
            DatabaseError, StorageError: what is done is kept.
        """
        left = set(SWEEPS)
        if await self.hold():
            self._sweeps.begin_anew()
        while True:
            if not await self.hold():
                raise CollectionBusyError("another process collects at this moment")
            began = asyncio.get_running_loop().time()
            done = await self.look() + await self.sweep(left)
            left = {name for name in left if not self._sweeps.is_over(name)}
            yield done
            if await is_importing(self._stores.index) or not (left or done.looked):
                return
            await asyncio.sleep(self._breath(done, asyncio.get_running_loop().time() - began))

    async def _may(self) -> bool:
        """Return whether it is this one who collects: a whole pass goes first."""
        now = self._stores.now()
        if await find_lease_holder(self._stores.index, _FIRST, now=now) is None:
            return await self.hold()
        if self._held_until > 0:
            await self.let_go()
        return False

    async def _turn(self) -> Done:
        """Look at what is due, and, if it is time for that, go on with the sweeps. These are in no
        hurry: they have a whole grace period.
        """
        done = await self.look()
        steady = self._clock.read().ran
        if steady < self._sweep_at:
            return done
        done += await self.sweep()
        self._sweep_at = steady + self._between_parts
        return done

    def _pause(self, done: Done, *, took: float, failures: int) -> float:
        """Return the seconds until the next turn: as long as the pace demands, and, while the
        server is busy, so many times as long as the last one took.
        """
        idle = min(_IDLE, self._stores.keeping.grace / _SECOND / 4)
        if failures:
            return min(_LONGEST_PAUSE, 2.0**failures)
        if not done.looked:
            return min(idle, self._between_parts / _SECOND) if done.swept else idle
        return self._breath(done, took)

    def _breath(self, done: Done, took: float) -> float:
        """Return the seconds until the next step while there is something to do."""
        pace = self._pace
        evenly = max(0.0, done.looked / pace.rate - took) if pace.rate else 0.0
        return max(evenly, min(pace.most, took * _TIMES * self._busyness()))

    @property
    def _between_parts(self) -> int:
        """Microseconds between two parts of a sweep."""
        return min(_SECOND, self._stores.keeping.grace // _PARTS)

    async def hold(self) -> bool:
        """Make sure that nobody else collects; return False if somebody does."""
        steady = self._clock.read().ran
        if steady < self._held_until - _LEASE // 2:
            return True
        now, owner = self._stores.now(), self._owner

        async def work(transaction: Transaction) -> bool:
            until = now + _LEASE
            if self._first:
                await hold_lease(transaction, _FIRST, "", owner=owner, now=now, until=until)
            return await hold_lease(transaction, KIND, "", owner=owner, now=now, until=until)

        held = await self._stores.index.write_lazily(work)
        if not held or self._held_until < steady:
            self._sweeps.forget()
            self._clock.forget()
        self._held_until = steady + _LEASE if held else -(2**62)
        if not held:
            self._show_nothing()
        return held

    async def let_go(self) -> None:
        """Let another begin at once."""
        self._held_until = -(2**62)
        self._show_nothing()

        async def work(transaction: Transaction) -> None:
            await let_lease_go(transaction, KIND, "", owner=self._owner)
            await let_lease_go(transaction, _FIRST, "", owner=self._owner)

        try:
            await self._stores.index.write_lazily(work)
        except EntrepotError as error:
            _log.warning("the lease of the collector ends by itself", error=str(error))

    # A step -------------------------------------------------------------------------------------

    async def step(self) -> Done:
        """Do a little of everything that is to be done. May be cancelled, or killed, at any point.

        Raises:
            DatabaseError, StorageError: what is done is kept.
        """
        return await self.look() + await self.sweep()

    async def look(self) -> Done:
        """Look at some of what is due. Raises and ends as `step`."""
        now, since = await self._begin()
        limit = self._limit()
        left = await self._remover.take_over(now=now, limit=limit)
        done = await self._delete(left, since=since, now=now)
        done += Done(looked=len(left) + await self._expire(now))
        if await is_anything_due(self._stores.index, now=now):
            manifests = await look_at_manifests(self._stores, now=now, limit=limit)
            done += self._count("manifest", manifests)
            now, since = await self._begin()
            lease = self._remover.lease(now)
            links = await look_at_links(self._stores, lease, now=now, limit=limit)
            done += self._count("link", links)
            done += await self._delete(links.doomed, since=since, now=now)
        done += Done(looked=await self._remover.forget(now=now, limit=limit))
        await self._measure(now)
        return done

    def _limit(self) -> int:
        """Return how many reviews there may be in a transaction: while others write, too, they wait
        for its end.
        """
        return max(1, self._pace.batch // 10) if self._busyness() > _BUSY else self._pace.batch

    async def sweep(self, names: Iterable[str] = SWEEPS) -> Done:
        """Do a part of each sweep. Raises and ends as `step`."""
        done = Done()
        for name in names:
            now, since = await self._begin()
            part = await self._sweeps.go_on(name, now=now, lease=self._remover.lease(now))
            done += await self._delete(part.doomed, since=since, now=now)
            done += Done(swept=part.looked, repositories=part.repositories)
            if self._metrics is not None:
                self._metrics.collected("repository", part.repositories)
        return done

    async def _begin(self) -> tuple[int, int]:
        """Return the time, and what the clock that goes evenly said at that moment or before: what
        is doomed from here on has a lease that begins with them.
        """
        since = self._clock.read().ran
        return await self._clock.tell_time(), since

    async def _expire(self, now: int) -> int:
        """Empty the trash of what can't be brought back any more."""
        index = self._stores.index
        if not await list_expired(index, now=now, limit=1) or await is_importing(index):
            return 0
        return await expire_trash(self._stores, now=now, limit=self._limit())

    def _count(self, kind: str, look: Look) -> Done:
        if self._metrics is not None:
            self._metrics.collected(kind, len(look.manifests) + look.links)
            self._metrics.reviews_postponed(look.postponed)
        return Done(looked=look.reviews, manifests=look.manifests, links=look.links)

    async def _delete(self, doomed: Sequence[Doomed], *, since: int, now: int) -> Done:
        deletion = await self._remover.delete(doomed, since=since, now=now)
        if self._metrics is not None:
            self._metrics.collected("blob", len(deletion.gone))
            self._metrics.reclaimed(sum(blob.size for blob in deletion.gone))
            self._metrics.collection_failed(deletion.failed)
        return Done(blobs=deletion.gone, failed=deletion.failed)

    def _show_nothing(self) -> None:
        if self._metrics is not None:
            self._metrics.collection_queue(waiting=0, overdue=0, doomed=0, age=0)
            self._metrics.trash(tags=0, manifests=0, size=0)

    async def _measure(self, now: int) -> None:
        """Say how much waits, now and then."""
        reading = self._clock.read()
        if self._metrics is None or reading.ran - self._measured_at < _MEASURE_EVERY:
            return
        self._measured_at = reading.ran
        queue = await measure_queue(self._stores.index, overdue=now - OVERDUE)
        age = 0 if queue.first is None else max(0, now - queue.first)
        self._metrics.collection_queue(
            waiting=queue.waiting,
            overdue=queue.overdue,
            doomed=queue.doomed,
            age=age / _SECOND,
        )
        self._metrics.collection_ran(self._stores.now() / _SECOND)
        if reading.ran - self._trash_at >= _MEASURE_TRASH_EVERY:
            self._trash_at = reading.ran
            amount = await measure_trash(self._stores.index)
            self._metrics.trash(**amount._asdict())
