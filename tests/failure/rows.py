"""The index as another program sees it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from entrepot.db.sessions import positional
from tests.servers import Registry


def rows(registry: Path | Registry, sql: str, **values: object) -> list[tuple[Any, ...]]:
    """What a query finds in the index of a registry, or of the one at a path, without writing."""
    root = registry
    if isinstance(registry, Registry):
        url, root = registry.config.get("database", {}).get("url", ""), registry.root
        if url.startswith("postgresql:"):
            text, names = positional(sql)
            return asyncio.run(_ask(url, text, [values[name] for name in names]))
    address = f"file:{root}/entrepot/index.sqlite3?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as connection:
        return connection.execute(sql, values).fetchall()


async def _ask(url: str, sql: str, values: list[object]) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql, *values)]
    finally:
        await connection.close()


def packed(digest: str) -> bytes:
    """The form in which the index keeps a digest (docs/index-model.md)."""
    algorithm, _, encoded = digest.partition(":")
    return {"sha256": b"\1", "sha512": b"\2"}[algorithm] + bytes.fromhex(encoded)


def is_kept(root: Path, digest: str) -> bool:
    """Whether the index keeps the bytes of a blob until its file is synced."""
    found = rows(root, "SELECT 1 FROM blob_bytes WHERE digest = :digest", digest=packed(digest))
    return bool(found)


def is_synced(root: Path, digest: str) -> bool | None:
    """Whether the index calls a blob durable; None if it does not know the blob."""
    found = rows(root, "SELECT synced FROM blobs WHERE digest = :digest", digest=packed(digest))
    return bool(found[0][0]) if found else None
