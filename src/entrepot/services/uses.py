"""When secrets were last used: gathered in memory, written seldom, so that a read never writes."""

import asyncio
from typing import Final

from entrepot.core.errors import EntrepotError
from entrepot.db.credentials import note_uses
from entrepot.db.engine import Database, Transaction

_EVERY: Final = 60.0
_AGAIN_AFTER: Final = 15 * 60 * 1_000_000


class Uses:
    """Gathers the uses of one process. The first of a secret is written within a minute, then one
    every quarter of an hour at most.
    """

    def __init__(self, index: Database) -> None:
        self._index = index
        self._used: dict[int, int] = {}
        self._written: dict[int, int] = {}

    def note(self, credential: int, now: int) -> None:
        """Note that a secret was used."""
        self._used[credential] = now

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            try:
                await self.write()
            except EntrepotError:
                continue  # the index says so itself, and the next time will do

    async def write(self) -> None:
        """Write down what is worth it."""
        news = {
            credential: used
            for credential, used in self._used.items()
            if used - self._written.get(credential, 0) >= _AGAIN_AFTER
        }
        self._used = {}
        if not news:
            return

        async def work(transaction: Transaction) -> None:
            await note_uses(transaction, sorted(news.items()))

        await self._index.write_lazily(work)
        self._written |= news
