"""The audit log: what is done is recorded in the transaction that does it.

What no transaction does, such as a login or a refusal, is noted in memory and written with others
once a second. So a flood of them costs little, and when there are too many, what is dropped is
counted, and that is an event as well.

A transaction that records something takes a chain of this process that nobody else is using, or
begins one, and gives it back when it is done. If nobody can say whether it was committed, the chain
ends there. No two transactions wait for the same chain, and a process that is killed leaves chains
that are right as far as they go.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import structlog

from entrepot.core.audit import REGISTRY, Actor, Chain, Event, Record, event, extend, on_host
from entrepot.core.audit_forms import ECS_OUTCOMES
from entrepot.db.audit import add_audit_events
from entrepot.db.engine import Database, Transaction, Work
from entrepot.db.errors import DatabaseError

CHAIN_LIFE: Final = 6 * 3600 * 1_000_000
"""Microseconds for which a chain is gone on with, so that old ones are known to have ended."""

MOST_NOTED: Final = 1024
"""Events that may wait to be written, and as many again of pulls."""

FLUSH_EVERY: Final = 1.0

_WRITER_BITS: Final = 53
"""Bits of a writer's random number: as many as every reader of JSON keeps."""

T = TypeVar("T")
Audited = Callable[[Transaction, "Notes"], Awaitable[T]]
"""A `Work` that says what it does."""

_log = structlog.get_logger("entrepot.audit")


class Notes:
    """What a transaction says that it does."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, told: Event) -> None:
        """Say one thing more."""
        self.events.append(told)


class Trail:
    """Records for one process. `now` is in microseconds since 1970, `node` the machine's name;
    `ship` is given what was committed, for a log beside the index, and `dropped` a number of events
    that were not recorded. With `pulls` and `blobs` these are recorded, too.
    """

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        node: str = "",
        ship: Callable[[Sequence[Record]], None] = lambda _records: None,
        dropped: Callable[[int], None] = lambda _count: None,
        pulls: bool = False,
        blobs: bool = False,
    ) -> None:
        self.pulls = pulls
        self.blobs = blobs
        self._index = index
        self._now = now
        self._node = node
        self._ship = ship
        self._tell_dropped = dropped
        self._free: list[Chain] = []
        self._noted: deque[tuple[int, Actor, Event]] = deque()
        self._dropped = 0

    # In the transaction of a change -------------------------------------------------------------

    async def write(self, work: Audited[T], *, by: Actor | str, brief: bool = False) -> T:
        """Run `work` in a durable transaction and record in it what it says that it does, `by`
        whom; a mere name is of somebody on the host. `brief` is `Database.write`'s.
        """
        return await self._write(partial(self._index.write, brief=brief), work, by)

    async def write_lazily(self, work: Audited[T], *, by: Actor | str) -> T:
        """The same in a lazy transaction (`Database.write_lazily`)."""
        return await self._write(self._index.write_lazily, work, by)

    async def _write(
        self, run: Callable[[Work[T]], Awaitable[T]], work: Audited[T], by: Actor | str
    ) -> T:
        actor = on_host(by) if isinstance(by, str) else by
        taken: list[Chain] = []
        written: list[Record] = []
        after: list[Chain] = []

        async def audited(transaction: Transaction) -> T:
            notes = Notes()
            result = await work(transaction, notes)
            if not notes.events:
                return result
            if not taken:
                taken.append(self._take())
            moment = self._now()
            happened = [(moment, actor, told) for told in notes.events]
            after[:], written[:] = _extended(taken[0], happened, self._node)
            await add_audit_events(transaction, written)
            return result

        result = await run(audited)
        self._free += after
        self._tell(written)
        return result

    def _take(self) -> Chain:
        """Return a chain that nobody else is using."""
        now = self._now()
        while self._free:
            chain = self._free.pop()
            if now - chain.began_at < CHAIN_LIFE:
                return chain
        return begin_chain(now)

    def _tell(self, records: Sequence[Record]) -> None:
        """Say what was committed: to the log beside the index, and what changes who may do what to
        the log of the program.
        """
        if not records:
            return
        self._ship(records)
        for record in records:
            if record.target:
                _log.info(
                    "audit",
                    **{
                        "event.action": record.action,
                        "event.outcome": ECS_OUTCOMES.get(record.outcome, "unknown"),
                        "user.name": record.actor,
                        "user.target.name": record.target,
                    },
                    detail=record.detail,
                )

    # Without a transaction ----------------------------------------------------------------------

    def note(self, told: Event, *, by: Actor) -> None:
        """Note what no transaction does; it is written soon, or dropped if too much waits."""
        if len(self._noted) >= MOST_NOTED:
            self._dropped += 1
            return
        self._noted.append((self._now(), by, told))

    async def run(self) -> None:
        """Write what is noted until cancelled, and what is left then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_EVERY)
                await self._try_flush()
        finally:
            await self._try_flush()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except DatabaseError as error:
            _log.error("the audit log can't be written and will be tried again", error=error)

    async def flush(self) -> None:
        """Write what is noted. If that fails it stays noted. Raises DatabaseError."""
        noted, dropped = list(self._noted), self._dropped
        if not noted and not dropped:
            return
        if dropped:
            gone = event("audit.dropped", outcome="failure", count=dropped)
            noted.append((self._now(), REGISTRY, gone))
        chain = self._take()
        chain, records = extend(chain, noted, node=self._node)

        async def work(transaction: Transaction) -> None:
            await add_audit_events(transaction, records)

        await self._index.write_lazily(work)
        self._free.append(chain)
        for _ in range(len(noted) - bool(dropped)):
            self._noted.popleft()
        if dropped:
            self._dropped -= dropped
            self._tell_dropped(dropped)
            _log.warning("events were dropped from the audit log", count=dropped)
        self._tell(records)


def begin_chain(now: int) -> Chain:
    """Return a chain that nobody else has, as of now in microseconds since 1970."""
    return Chain(writer=secrets.randbits(_WRITER_BITS), began_at=now)


def _extended(
    chain: Chain, happened: Sequence[tuple[int, Actor, Event]], node: str
) -> tuple[list[Chain], list[Record]]:
    after, records = extend(chain, happened, node=node)
    return [after], records
