"""When secrets and sessions were last used: gathered in memory, written seldom, so that a read
never writes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from entrepot.core.errors import EntrepotError
from entrepot.db.credentials import note_uses
from entrepot.db.engine import Database, Transaction

_EVERY: Final = 60.0
_AGAIN_AFTER: Final = 15 * 60.0
_SECOND: Final = 1_000_000

Note = Callable[[Transaction, Sequence[tuple[int, int]]], Awaitable[None]]
"""Writes down when what has which id was last used."""


class Uses:
    """Gathers the uses of one process. The first of a secret is written within a minute, then one
    every quarter of an hour at most, unless told otherwise, in seconds.
    """

    def __init__(
        self,
        index: Database,
        note: Note = note_uses,
        *,
        every: float = _EVERY,
        again_after: float = _AGAIN_AFTER,
    ) -> None:
        self._index = index
        self._note = note
        self._every = every
        self._again_after = again_after * _SECOND
        self._used: dict[int, int] = {}
        self._written: dict[int, int] = {}

    def note(self, used: int, now: int) -> None:
        """Note that a secret or session was used."""
        self._used[used] = now

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.write()
            except EntrepotError:
                continue  # the index says so itself, and the next time will do

    async def write(self) -> None:
        """Write down what is worth it."""
        news = {
            credential: used
            for credential, used in self._used.items()
            if used - self._written.get(credential, 0) >= self._again_after
        }
        self._used = {}
        if not news:
            return

        async def work(transaction: Transaction) -> None:
            await self._note(transaction, sorted(news.items()))

        await self._index.write_lazily(work)
        since = max(news.values()) - self._again_after
        lately = {used: moment for used, moment in self._written.items() if moment > since}
        self._written = lately | news
