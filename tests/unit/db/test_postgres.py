"""The index in PostgreSQL: round trips, lost connections, and a server that goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import pytest

from entrepot.core.names import RepositoryName, Tag
from entrepot.db import DatabaseError, Transaction
from entrepot.db.address import IndexAddress
from entrepot.db.engine import Work
from entrepot.db.errors import DatabaseUnavailableError
from entrepot.db.manifests import find_manifest
from entrepot.db.postgres import PostgresDatabase
from entrepot.db.sessions import positional
from entrepot.db.settings import ensure_setting, replace_setting
from tests.postgres import Postgres, start_postgres
from tests.unit.db.proxies import Message, Proxy, start_proxy

pytestmark = pytest.mark.anyio

FIND = "SELECT value FROM settings WHERE key = :key"


def count(key: str) -> Work[None]:
    """Adds one: what is done twice shows."""

    async def work(transaction: Transaction) -> None:
        now = int(await ensure_setting(transaction, key, default="0"))
        await replace_setting(transaction, key, value=str(now + 1))

    return work


async def value(index: PostgresDatabase, key: str) -> str | None:
    row = await index.fetch_one(FIND, {"key": key})
    return str(row[0]) if row else None


@pytest.fixture
async def proxy(postgres: Postgres) -> AsyncIterator[tuple[Proxy, int]]:
    async with start_proxy(postgres.port) as started:
        yield started


@pytest.fixture
def through(postgres_url: str, postgres: Postgres, proxy: tuple[Proxy, int]) -> IndexAddress:
    """The address of the index through the proxy."""
    url = postgres_url.replace(f":{postgres.port}/", f":{proxy[1]}/")
    return IndexAddress(f"{url}?sslmode=disable", connect_timeout=10, statement_timeout=10)


@pytest.fixture
async def index(through: IndexAddress) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(through)
    yield opened
    await opened.close()


def with_text(text: bytes) -> Callable[[Message], bool]:
    return lambda message: text in message[1]


def once(condition: Callable[[Message], bool]) -> Callable[[Message], bool]:
    left = [True]

    def check(message: Message) -> bool:
        if left[0] and condition(message):
            left[0] = False
            return True
        return False

    return check


# Statements -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql, text, names",
    [
        ("SELECT 1", "SELECT 1", ()),
        ("a = :b AND c = :d", "a = $1 AND c = $2", ("b", "d")),
        (":b :a :b", "$1 $2 $1", ("b", "a")),
        ("CAST(:a AS text) || b::text", "CAST($1 AS text) || b::text", ("a",)),
        ("x = ':a' AND y = :a -- :c", "x = ':a' AND y = $1 -- :c", ("a",)),
    ],
)
def test_parameters_by_name(sql: str, text: str, names: tuple[str, ...]) -> None:
    assert positional(sql) == (text, names)


async def test_a_manifest_by_tag_is_one_round_trip(
    index: PostgresDatabase, proxy: tuple[Proxy, int]
) -> None:
    """Once it is prepared; nothing is sent when the connection comes back."""
    name, tag = RepositoryName("r"), Tag("latest")
    await find_manifest(index, name, tag)
    for number in range(1, 21):
        proxy[0].round_trips = 0
        await find_manifest(index, name, tag)
        await find_manifest(index, name, Tag(f"t{number}"))
        assert proxy[0].round_trips == 2
    assert proxy[0].connections == 1


async def test_a_question_asked_by_many_is_asked_once(
    index: PostgresDatabase, proxy: tuple[Proxy, int]
) -> None:
    """And whoever asks while it is on its way gets the answer of another one."""
    await value(index, "key")
    proxy[0].round_trips = 0
    assert await asyncio.gather(*(value(index, "key") for _ in range(50))) == [None] * 50
    assert proxy[0].round_trips == 2


async def test_questions_that_differ_in_their_values_go_together(
    index: PostgresDatabase, proxy: tuple[Proxy, int]
) -> None:
    """A hundred questions are far fewer round trips; everybody gets the answer to their own."""
    keys = [f"key {number}" for number in range(20)]
    for number, key in enumerate(keys):
        for _ in range(number % 3):
            await index.write(count(key))
    answers = [str(number % 3) if number % 3 else None for number in range(20)]

    async def ask() -> list[str | None]:
        return await asyncio.gather(*(value(index, key) for key in keys))

    proxy[0].round_trips = 0
    for _ in range(5):
        assert await ask() == answers
    assert proxy[0].round_trips < 50
    many = [keys[number % 20] for number in range(500)]
    found = await asyncio.gather(*(value(index, key) for key in many))
    assert found == [answers[number % 20] for number in range(500)]


async def test_a_question_that_fails_fails_alone(index: PostgresDatabase) -> None:
    """Those that went with it get their answers."""
    await index.write(count("key"))
    asked = ["other", "another", "key", "a NUL: \0", "key", "none"]
    answers = await asyncio.gather(*(value(index, key) for key in asked), return_exceptions=True)
    assert isinstance(answers[3], DatabaseError)
    assert [*answers[:3], *answers[4:]] == [None, None, "1", "1", None]


async def test_values_of_every_kind_go_together(index: PostgresDatabase) -> None:
    """Texts, bytes, numbers, truths and nothing, in names that are used twice and in strings."""
    sql = """
        SELECT CAST(:text AS text), CAST(:bytes AS bytea), CAST(:number AS bigint),
            CAST(:truth AS boolean), CAST(:number AS bigint) + 1, ':text' -- :other
        WHERE CAST(:number AS bigint) IS NULL OR CAST(:number AS bigint) <> 3
    """
    asked = [
        {"number": number, "text": f"t{number}", "bytes": bytes([number]), "truth": number > 5}
        for number in range(12)
    ]
    asked.append({"number": None, "text": None, "bytes": None, "truth": None})
    for _ in range(2):
        rows = await asyncio.gather(*(index.fetch_one(sql, one) for one in asked))
        for number, row in enumerate(rows[:12]):
            wanted = (f"t{number}", bytes([number]), number, number > 5, number + 1, ":text")
            assert row == (None if number == 3 else wanted)
        assert rows[12] == (None, None, None, None, None, ":text")


async def test_an_answer_is_never_older_than_its_question(index: PostgresDatabase) -> None:
    """Readers that share answers see what was committed before they asked."""
    stop = False

    async def read(key: str) -> None:
        while not stop:
            await value(index, key)

    readers = [asyncio.ensure_future(read(key)) for key in ("key", "key", "a", "b", "c", "d")]
    for number in range(1, 50):
        await index.write(count("key"))
        assert await value(index, "key") == str(number)
    stop = True
    await asyncio.gather(*readers)


async def test_whoever_asks_for_others_may_be_cancelled(index: PostgresDatabase) -> None:
    for _ in range(20):
        keys = ["key", "key", "key", "a", "b", "c", "key", "d"]
        tasks = [asyncio.ensure_future(value(index, key)) for key in keys]
        await asyncio.sleep(0.0005)
        for number in (0, 1, 3):
            tasks[number].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answers[2], *answers[4:]] == [None] * 5


async def test_more_writers_than_connections(through: IndexAddress) -> None:
    index = PostgresDatabase(replace(through, connections=3))
    await asyncio.gather(*(index.write(count("key")) for _ in range(40)))
    assert await value(index, "key") == "40"
    await index.close()


async def test_statements_survive_a_change_of_the_schema(
    index: PostgresDatabase, postgres: Postgres, postgres_url: str
) -> None:
    """A migration under a running node: what was prepared is prepared again."""
    await index.write(count("key"))
    every = "SELECT * FROM settings WHERE key = :key"
    assert await index.fetch_all(every, {"key": "key"}) == [("key", "1")]
    postgres.execute("ALTER TABLE settings ADD COLUMN note TEXT", postgres_url)
    assert await index.fetch_all(every, {"key": "key"}) == [("key", "1", None)]
    assert await value(index, "key") == "1"

    async def look(transaction: Transaction) -> object:
        return await transaction.fetch_one(every, {"key": "key"})

    postgres.execute("ALTER TABLE settings ADD COLUMN other TEXT", postgres_url)
    assert await index.write(look) == ("key", "1", None, None)


async def test_a_statement_that_takes_too_long(through: IndexAddress) -> None:
    index = PostgresDatabase(replace(through, statement_timeout=0.2))
    with pytest.raises(DatabaseUnavailableError, match="timeout"):
        await index.fetch_all("SELECT pg_sleep(60)", {})
    async with asyncio.timeout(60):
        await until_it_answers(index)
    await index.close()


# Connections that break -------------------------------------------------------------------------


async def test_a_read_is_asked_again_on_a_new_connection(
    index: PostgresDatabase, proxy: tuple[Proxy, int]
) -> None:
    await index.write(count("key"))
    proxy[0].break_at = once(lambda message: message[0] == b"S")
    assert await value(index, "key") == "1"
    proxy[0].break_at = once(lambda message: message[0] == b"S")
    assert await index.fetch_all("SELECT key FROM settings", {}) == [("key",)]
    proxy[0].break_all()
    assert await value(index, "key") == "1"


async def test_a_read_is_asked_twice_and_no_more(
    index: PostgresDatabase, proxy: tuple[Proxy, int]
) -> None:
    await value(index, "key")
    proxy[0].break_at = lambda message: message[0] == b"S"
    with pytest.raises(DatabaseUnavailableError):
        await value(index, "key")
    assert proxy[0].connections == 2


@pytest.mark.parametrize("how", ["write", "write_lazily"])
@pytest.mark.parametrize("text", [b"BEGIN", b"entrepot_0", b"entrepot_2"])
async def test_a_write_is_run_again_before_its_commit(
    index: PostgresDatabase, proxy: tuple[Proxy, int], how: str, text: bytes
) -> None:
    await index.write(count("key"))
    proxy[0].break_at = once(with_text(text))
    await getattr(index, how)(count("key"))
    assert await value(index, "key") == "2"


async def test_a_commit_whose_outcome_is_unknown_is_not_run_again(
    index: PostgresDatabase, proxy: tuple[Proxy, int]
) -> None:
    """The server carried it out, and the answer got lost: the caller is told to come again."""
    await index.write(count("key"))
    proxy[0].swallow_at = once(with_text(b"COMMIT"))
    with pytest.raises(DatabaseUnavailableError, match="while a change was committed"):
        await index.write(count("key"))
    assert await value(index, "key") == "2"
    proxy[0].break_at = once(with_text(b"COMMIT"))
    with pytest.raises(DatabaseUnavailableError, match="while a change was committed"):
        await index.write(count("key"))
    assert await value(index, "key") == "2"


async def test_a_server_that_falls_silent(through: IndexAddress, proxy: tuple[Proxy, int]) -> None:
    """No hang: the request fails in seconds, and so do those that come after it."""
    index = PostgresDatabase(replace(through, statement_timeout=0.3, connect_timeout=0.5))
    async with asyncio.timeout(60):
        await until_it_answers(index)
    proxy[0].silent = True
    async with asyncio.timeout(60):
        with pytest.raises(DatabaseUnavailableError, match="doesn't answer"):
            await value(index, "key")
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await index.write(count("key"))
    proxy[0].silent = False
    async with asyncio.timeout(60):
        await until_it_answers(index)
    await index.close()


async def until_it_answers(index: PostgresDatabase) -> None:
    while True:
        try:
            await value(index, "key")
        except DatabaseUnavailableError:
            await asyncio.sleep(0.05)
        else:
            return


async def test_all_connections_in_use(through: IndexAddress) -> None:
    index = PostgresDatabase(replace(through, connections=1, connect_timeout=2))
    await value(index, "key")
    sleeping = asyncio.ensure_future(index.fetch_all("SELECT pg_sleep(8)", {}))
    await asyncio.sleep(0)
    with pytest.raises(DatabaseUnavailableError, match="all 1 connections"):
        await value(index, "key")
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert await value(index, "key") is None
    await index.close()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that the test may stop, whose only template is made."""
    with start_postgres() as running:
        running.database()
        yield running


async def test_the_server_restarts(own_postgres: Postgres) -> None:
    """Everything is an error within seconds while it is away, and right when it is back."""
    index = PostgresDatabase(IndexAddress(own_postgres.database(), connect_timeout=5))
    await asyncio.gather(*(index.write(count("key")) for _ in range(10)))
    for mode in ("fast", "immediate"):
        own_postgres.stop(mode)
        for _ in range(5):
            async with asyncio.timeout(60):
                with pytest.raises(DatabaseUnavailableError):
                    await value(index, "key")
                with pytest.raises(DatabaseUnavailableError):
                    await index.write(count("key"))
        own_postgres.start()
        async with asyncio.timeout(60):
            await until_it_answers(index)
        assert await value(index, "key") == "10"
    await index.close()


# Refusals ---------------------------------------------------------------------------------------


async def test_what_the_server_says_is_told_without_the_password(
    postgres: Postgres, postgres_url: str
) -> None:
    wrong = postgres_url.replace("s3cret-of-tests", "wr0ng")
    nobody = postgres.url("no_such_database")
    for url, said in ((wrong, "password authentication failed"), (nobody, "does not exist")):
        index = PostgresDatabase(IndexAddress(url))
        with pytest.raises(DatabaseError) as caught:
            await value(index, "key")
        assert said in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert "wr0ng" not in str(caught.value)
        assert f"127.0.0.1:{postgres.port}/" in str(caught.value)
        await index.close()
