"""Every statement of `entrepot.db`, whether a test runs it or not: both engines understand it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import asyncpg
import pytest

import entrepot.db
from entrepot.db.address import IndexAddress
from entrepot.db.sessions import for_each, positional
from tests.sqlite import make_index

ENGINES = {"schema", "sqlite", "turns", "sessions", "postgres", "migrate_postgres", "sharing"}
LARGE = {
    *("repositories", "blobs", "repository_blobs", "manifests", "manifest_blobs"),
    *("manifest_children", "tags", "tag_history"),
}
VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


def statements() -> Iterator[tuple[str, str]]:
    """The name and text of each."""
    for module in iter_modules(entrepot.db.__path__):
        if module.ispkg or module.name in ENGINES:
            continue
        found = import_module(f"entrepot.db.{module.name}")
        for name, value in vars(found).items():
            if isinstance(value, str) and value.split()[:1] and value.split()[0] in VERBS:
                yield f"{module.name}.{name}", value


ALL = dict(statements())


def is_asked_together(sql: str) -> bool:
    """Whether it may be run with several values at once."""
    return sql.split(maxsplit=1)[0] in {"SELECT", "WITH"} and bool(positional(sql)[1])


def types_of(statement: Any) -> list[str]:
    return [kind.name for kind in statement.get_parameters()]


def test_statements_are_found() -> None:
    assert {"manifests._FIND_BY_TAG", "tags._SET", "settings._ADD"} <= set(ALL)


@pytest.mark.anyio
async def test_postgresql_understands_every_statement(postgres_url: str) -> None:
    """With the type of every parameter: it says which it can't tell."""
    connection = await asyncpg.connect(postgres_url)
    refused = {}
    for name, sql in ALL.items():
        try:
            single = await connection.prepare(positional(sql)[0])
            if is_asked_together(sql):
                await connection.prepare(for_each(sql, types_of(single)))
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await connection.close()
    assert refused == {}


@pytest.mark.anyio
async def test_numbers_are_numbers_in_every_engine(postgres_url: str) -> None:
    """PostgreSQL adds up BIGINTs to NUMERIC, which would be a text in JSON: it needs a CAST."""
    connection = await asyncpg.connect(postgres_url)
    exact = {"int2", "int4", "int8", "bool", "text", "varchar", "bytea"}
    odd = {}
    for name, sql in ALL.items():
        found = (await connection.prepare(positional(sql)[0])).get_attributes()
        if kinds := {column.type.name for column in found} - exact:
            odd[name] = kinds
    await connection.close()
    assert odd == {}


@pytest.mark.anyio
async def test_an_index_answers_every_statement(postgres_url: str) -> None:
    """On tables that grow with what is stored. With `enable_seqscan` off PostgreSQL reads a whole
    table only if it has no index for the question."""
    connection = await asyncpg.connect(postgres_url, server_settings={"enable_seqscan": "off"})
    scanned = {}
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    for name, sql in ALL.items():
        text, names = positional(sql)
        texts = [text]
        if is_asked_together(sql):
            texts.append(for_each(sql, types_of(await connection.prepare(text))))
        values = f"({', '.join('NULL' for _ in names)})" if names else ""
        for each in texts:
            await connection.execute(f"PREPARE tried AS {each}")
            plan = await connection.fetch(f"EXPLAIN EXECUTE tried{values}")
            await connection.execute("DEALLOCATE tried")
            tables = (
                set(re.findall(r"Seq Scan on (\w+)", "\n".join(row[0] for row in plan))) & LARGE
            )
            if tables:
                scanned[f"{name}: {each}"] = tables
    await connection.close()
    assert scanned == {}


def test_sqlite_understands_every_statement(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = IndexAddress(f"sqlite://{tmp_path_factory.mktemp('i') / 'index.sqlite3'}").path
    make_index(path)
    refused = {}
    with closing(sqlite3.connect(path)) as connection:
        for name, sql in ALL.items():
            try:
                connection.execute(f"EXPLAIN {sql}", dict.fromkeys(positional(sql)[1]))
            except sqlite3.Error as error:
                refused[name] = str(error)
    assert refused == {}
