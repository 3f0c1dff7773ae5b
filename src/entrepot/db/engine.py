"""What the queries need of a database engine."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from entrepot.db.errors import DatabaseError

Row = tuple[Any, ...]
Values = Mapping[str, object]
T = TypeVar("T")


def required(row: Row | None) -> Row:
    """Return a row that must be there, because it was written in the same transaction."""
    if row is None:
        raise DatabaseError("the index lost a row in the middle of a change")
    return row


def up_to_nul(text: str) -> str:
    """Return what comes before the first NUL, which PostgreSQL takes in no text. Names have none,
    so those that come after `text` are those that come after this.
    """
    return text.partition("\0")[0]


class Reader(Protocol):
    """Runs statements in plain SQL with `:name` parameters, which both engines understand.

    Raises:
        DatabaseError: the engine could not carry a statement out.
    """

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        """Return the first row, or None."""

    async def fetch_all(self, sql: str, values: Values) -> list[Row]:
        """Return every row."""


class Transaction(Reader, Protocol):
    """A change in the making: all of it becomes visible at once, or nothing."""

    @property
    def shard(self) -> int:
        """A number that no transaction has which may run at the same time. Rows by this number
        are never waited for.
        """

    async def execute(self, sql: str, values: Values) -> int:
        """Run a statement and return the number of rows it changed."""

    async def execute_many(self, sql: str, values: Iterable[Values]) -> None:
        """Run a statement once for each of `values`."""


Work = Callable[[Transaction], Awaitable[T]]
"""One transaction. It awaits nothing but the transaction it is given, and may be run again.

Transactions run as if one came after the other, whoever runs them: what a work has looked up stays
true until its end."""


class Database(Reader, Protocol):
    """An index that is open. Reading outside a transaction sees what was last committed."""

    async def write(self, work: Work[T], *, brief: bool = False) -> T:
        """Run `work` in a transaction. Its effect survives a power cut once this returns. What is
        `brief` changes some rows at most, and may be done where requests are answered.

        What `work` raises undoes the transaction and is raised here.
        """

    async def write_lazily(self, work: Work[T]) -> T:
        """Run `work` in a transaction. Its effect survives the death of every process of the
        registry at once, and a power cut, as well as a crash of a database server, once a later
        `write` has returned.
        """

    async def close(self) -> None:
        """Finish what was begun and release the database."""
