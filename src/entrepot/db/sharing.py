"""One question to the server for all who ask it at the same time, and one for those who ask alike.

Clients that pull different manifests ask the same statement with other values. While one is on its
way, those that come are gathered, and go together as one question: the server is woken once for all
of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

from entrepot.db.engine import Row
from entrepot.db.errors import DatabaseError, DatabaseUnavailableError

Key = tuple[object, ...]
"""The values of a question."""

Send = Callable[[str, Sequence[Key]], Awaitable[list[Row | None]]]
"""Asks one statement with each of several values, and returns the answers in their order."""

_ASK: Final = object()
"""What a waiter is told who shall ask for itself and for those who wait with it."""

_AT_ONCE: Final = 2
"""Questions of one statement on their way at the same time."""

_MOST: Final = 32
"""Values that go in one question: the answers are in memory together."""


class _Waiter:
    """Whoever waits for the answer to a question."""

    __slots__ = ("answer", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    def tell(self, answer: object) -> None:
        """Give the answer, unless nobody waits any more; an exception is raised there."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class _Statement:
    """The questions of one statement."""

    __slots__ = ("asked", "asking", "waiting")

    def __init__(self) -> None:
        self.asking = 0
        """How many ask, or were told to."""
        self.asked: list[Key] = []
        """What is on its way."""
        self.waiting: list[_Waiter] = []


class SharedQuestions:
    """Shares the answers of a busy server, without giving anybody an old one: an answer is only
    for those who had asked before the question was sent. Who comes later waits for the next one.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._statements: dict[str, _Statement] = {}

    async def ask(self, sql: str, key: Key) -> Row | None:
        """Return the first row that a statement finds with these values, or None."""
        statement = self._statements.get(sql)
        if statement is None:
            statement = self._statements[sql] = _Statement()
        if statement.asking < _AT_ONCE and not statement.waiting and key not in statement.asked:
            statement.asking += 1
            return await self._ask(sql, statement, key)
        waiter = _Waiter(key)
        statement.waiting.append(waiter)
        try:
            answer = await waiter.answer
        except asyncio.CancelledError:
            if waiter.answer.cancelled():
                statement.waiting = [one for one in statement.waiting if one is not waiter]
            elif waiter.answer.exception() is None and waiter.answer.result() is _ASK:
                self._asked(statement)
            raise
        if answer is not _ASK:
            return cast("Row | None", answer)
        return await self._ask(sql, statement, key)

    async def _ask(self, sql: str, statement: _Statement, own: Key) -> Row | None:
        """Ask for oneself and for as many of those that wait as one question may have."""
        keys, sharing = _gathered(statement, own)
        statement.asked += keys
        try:
            answers = dict(zip(keys, await self._answers(sql, keys), strict=True))
        except Exception as error:
            for waiter in sharing:
                waiter.tell(error)
            raise
        except BaseException:  # this request was cancelled, not those that wait with it
            statement.waiting[:0] = sharing
            raise
        finally:
            for key in keys:
                statement.asked.remove(key)
            self._asked(statement)
        for waiter in sharing:
            waiter.tell(answers[waiter.key])
        answer = answers[own]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _answers(self, sql: str, keys: list[Key]) -> Sequence[Row | DatabaseError | None]:
        """Ask one by one what could not be answered together: one may be to blame."""
        try:
            return await self._send(sql, keys)
        except DatabaseUnavailableError:
            raise
        except DatabaseError:
            if len(keys) == 1:
                raise
        answers: list[Row | DatabaseError | None] = []
        for key in keys:
            try:
                answers += await self._send(sql, [key])
            except DatabaseUnavailableError:
                raise
            except DatabaseError as error:
                answers.append(error)
        return answers

    def _asked(self, statement: _Statement) -> None:
        """Let another one ask, now that one has or never will."""
        statement.asking -= 1
        while statement.waiting:
            waiter = statement.waiting.pop(0)
            if not waiter.answer.done():
                statement.asking += 1
                waiter.answer.set_result(_ASK)
                return


def _gathered(statement: _Statement, own: Key) -> tuple[list[Key], list[_Waiter]]:
    """Take those that wait out of the line, as many as one question may have beside `own`; return
    the questions, each once, and who waits for them.
    """
    keys: dict[Key, None] = {own: None}
    for waiter in statement.waiting:
        if len(keys) == _MOST:
            break
        keys[waiter.key] = None
    sharing = [waiter for waiter in statement.waiting if waiter.key in keys]
    if sharing:
        statement.waiting = [waiter for waiter in statement.waiting if waiter.key not in keys]
    return list(keys), sharing
