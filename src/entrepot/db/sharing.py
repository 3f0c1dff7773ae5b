"""One question to the server for all who ask it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, cast

from entrepot.db.engine import Row

_ASK: Final = object()
"""What a waiter is told who shall ask for itself and for those who wait with it."""


class SharedQuestions:
    """Shares the answers of a busy server, without giving anybody an old one: an answer is only
    for those who had asked before the question was sent. Who comes later waits for the next one.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[asyncio.Future[object]]] = {}
        """By question that is on its way, those who came after it was sent."""

    async def ask(
        self, question: Hashable, send: Callable[[], Awaitable[Row | None]]
    ) -> Row | None:
        """Return the answer of `send`, called by whoever of those that wait is the first."""
        waiting = self._waiting.get(question)
        if waiting is None:
            self._waiting[question] = []
            return await self._send(question, send, [])
        waiter: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        waiting.append(waiter)
        try:
            answer = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.exception() is None and waiter.result() is _ASK:
                self._next(question)
            raise
        if answer is not _ASK:
            return cast("Row | None", answer)
        sharing = self._waiting[question]
        self._waiting[question] = []
        return await self._send(question, send, sharing)

    async def _send(
        self,
        question: Hashable,
        send: Callable[[], Awaitable[Row | None]],
        sharing: "list[asyncio.Future[object]]",
    ) -> Row | None:
        try:
            row = await send()
        except Exception as error:
            for waiter in sharing:
                if not waiter.done():
                    waiter.set_exception(error)
            raise
        except BaseException:  # this request was cancelled, not those that wait with it
            self._waiting[question][:0] = sharing
            raise
        else:
            for waiter in sharing:
                if not waiter.done():
                    waiter.set_result(row)
            return row
        finally:
            self._next(question)

    def _next(self, question: Hashable) -> None:
        waiting = self._waiting[question]
        while waiting:
            waiter = waiting.pop(0)
            if not waiter.done():
                waiter.set_result(_ASK)
                return
        del self._waiting[question]
