"""Tasks that stop before whatever they do to the index or the store, until they are let go on: so a
test chooses in which order the steps of several happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from entrepot.core.digest import Digest
from entrepot.db import Database
from entrepot.db.engine import Row, Values, Work
from entrepot.storage.memory import MemoryStore

T = TypeVar("T")


class Turnstile:
    """Only tasks that were begun here stop. `now` is remembered of when they did."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._begun: set[asyncio.Task[Any]] = set()
        self._waiting: dict[asyncio.Task[Any], tuple[str, int, asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()

    async def stop(self, before: str) -> None:
        """Wait, before something, if this is one of the tasks."""
        task = asyncio.current_task()
        if task is None or task not in self._begun:
            return
        opened = asyncio.get_running_loop().create_future()
        self._waiting[task] = (before, self._now(), opened)
        self._changed.set()
        try:
            await opened
        finally:
            self._waiting.pop(task, None)

    async def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task, which stops for the first time."""
        task = asyncio.get_running_loop().create_task(work)
        self._begun.add(task)
        await self._settle(task)
        return task

    def waits(self, task: asyncio.Task[Any]) -> tuple[str, int]:
        """Before what a task waits, and since when."""
        return self._waiting[task][:2]

    async def advance(self, task: asyncio.Task[Any], steps: int = 1) -> None:
        """Let a task do so many steps, or all that are left."""
        for _ in range(steps):
            if task.done():
                return
            _, _, opened = self._waiting.pop(task)
            opened.set_result(None)
            await self._settle(task)

    async def finish(self, task: asyncio.Task[Any]) -> None:
        while not task.done():
            await self.advance(task)

    async def kill(self, task: asyncio.Task[Any]) -> None:
        """End a task where it stands; nothing more of it is done."""
        task.cancel()
        await asyncio.wait({task})

    async def _settle(self, task: asyncio.Task[Any]) -> None:
        while not task.done() and task not in self._waiting:
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            await asyncio.wait({task, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()


class StoppingIndex:
    """An index at which tasks stop."""

    def __init__(self, index: Database, turnstile: Turnstile) -> None:
        self._index = index
        self._turnstile = turnstile

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        await self._turnstile.stop("read")
        return await self._index.fetch_one(sql, values)

    async def fetch_all(self, sql: str, values: Values) -> list[Row]:
        await self._turnstile.stop("read")
        return await self._index.fetch_all(sql, values)

    async def write(self, work: Work[T], *, brief: bool = False) -> T:
        await self._turnstile.stop("write")
        return await self._index.write(work, brief=brief)

    async def write_lazily(self, work: Work[T]) -> T:
        await self._turnstile.stop("write")
        return await self._index.write_lazily(work)

    async def close(self) -> None:
        await self._index.close()


class StoppingStore(MemoryStore):
    """A store at which tasks stop; as long as there is an `error`, nothing can be deleted."""

    error = ""

    def __init__(self, turnstile: Turnstile, *, now: Callable[[], int]) -> None:
        super().__init__(now=now)
        self._turnstile = turnstile

    async def size(self, digest: Digest) -> int | None:
        await self._turnstile.stop("size")
        return await super().size(digest)

    async def put(self, digest: Digest, data: bytes) -> None:
        await self._turnstile.stop("put")
        await super().put(digest, data)

    async def delete(self, digests: Sequence[Digest]) -> Mapping[Digest, str]:
        failures: dict[Digest, str] = {}
        for digest in digests:
            await self._turnstile.stop("delete")
            if self.error:
                failures[digest] = self.error
            else:
                await super().delete([digest])
        return failures

    def every(self) -> Mapping[Digest, bytes]:
        """All that lies there now."""
        return self._blobs
