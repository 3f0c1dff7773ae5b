"""Fills an index with more rows than anybody wants to push: straight into the database file.

The blobs' bytes do not exist, unless they are asked for. Nothing that is measured with such an
index reads them: the rows say that they are synced, so that no start goes looking for them.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from bench.configurations import BLOBS
from bench.content import MANIFEST_TYPE, Blob, make_manifest
from entrepot.core.digest import Digest
from entrepot.db.migrate import migrate
from entrepot.db.sqlite import connect

INDEX = "entrepot/index.sqlite3"
"""Where the index lies under a storage root."""

TAGGED = "scale/tagged"
"""The repository that has all the tags."""

_NOW = 1_700_000_000_000_000
_ROOT_NAMESPACE = 1
_BATCH = 10_000
_SHARED_LAYERS = 1000

Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class _Entry:
    """One manifest that is to be in the index, with the tag that points to it."""

    number: int
    repository: int
    tag: str


def repository_name(number: int) -> str:
    """The name of the repository `number` from 1."""
    return f"scale/repository-{number:07}"


def tag_name(number: int) -> str:
    """The name of the tag `number` from 1."""
    return f"v{number:07}"


def fill_for_lists(root: Path, *, count: int) -> None:
    """`count` repositories of one manifest and tag each, and one more with `count` tags."""
    entries = chain(
        (_Entry(number, number, "latest") for number in range(1, count + 1)),
        (_Entry(count + n, count + 1, tag_name(n)) for n in range(1, count + 1)),
    )
    _fill(root, [*(repository_name(n) for n in range(1, count + 1)), TAGGED], entries)


def fill_manifests(
    root: Path, *, count: int, per_repository: int = 1000, files: bool = False
) -> None:
    """`count` tagged manifests in repositories of `per_repository` each; with `files` the configs'
    bytes are there, too.
    """
    names = [repository_name(n + 1) for n in range((count - 1) // per_repository + 1)]
    entries = (
        _Entry(n + 1, n // per_repository + 1, tag_name(n % per_repository)) for n in range(count)
    )
    _fill(root, names, entries, files=files)


def _fill(
    root: Path, names: Iterable[str], entries: Iterator[_Entry], *, files: bool = False
) -> None:
    path = root / INDEX
    migrate(path)
    with closing(connect(path)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2000000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO repositories (id, namespace_id, name, created_at) VALUES (?, ?, ?, ?)",
            ((n, _ROOT_NAMESPACE, name, _NOW) for n, name in enumerate(names, start=1)),
        )
        layers = [_made_up_blob(f"layer {n}", 30_000_000) for n in range(_SHARED_LAYERS)]
        _insert(connection, _BLOB, [_blob_row(layer) for layer in layers])
        while batch := list(islice(entries, _BATCH)):
            _add(connection, batch, layers)
            if files:
                _write_configs(root, batch)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


_BLOB = "INSERT INTO blobs (digest, size, synced, created_at) VALUES (?, ?, ?, ?)"
_LINK = "INSERT OR IGNORE INTO repository_blobs (repository_id, digest, linked_at) VALUES (?, ?, ?)"
_MANIFEST = """
    INSERT INTO manifests (id, repository_id, digest, media_type, size, created_at, payload)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_USE = "INSERT INTO manifest_blobs (manifest_id, digest, repository_id) VALUES (?, ?, ?)"
_TAG = """
    INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
    VALUES (?, ?, ?, ?, ?)
"""
_HISTORY = "INSERT INTO tag_history (repository_id, name, digest, changed_at) VALUES (?, ?, ?, ?)"


def _insert(connection: sqlite3.Connection, statement: str, rows: Rows) -> None:
    connection.executemany(statement, rows)


def _add(connection: sqlite3.Connection, entries: list[_Entry], layers: list[Blob]) -> None:
    """Rows as a push of each image would leave them: its own config, one shared layer."""
    tables: dict[str, Rows] = {key: [] for key in (_BLOB, _LINK, _MANIFEST, _USE, _TAG, _HISTORY)}
    for entry in entries:
        config = _made_up_blob(_config(entry), 1500)
        layer = layers[entry.number % _SHARED_LAYERS]
        manifest = make_manifest(config, (layer,))
        repository, tag = entry.repository, entry.tag
        packed, size = Digest(manifest.digest).packed, len(manifest.body)
        tables[_BLOB].append(_blob_row(config))
        tables[_MANIFEST].append(
            (entry.number, repository, packed, MANIFEST_TYPE, size, _NOW, bytes(manifest.body))
        )
        for blob in (config, layer):
            digest = Digest(blob.digest).packed
            tables[_LINK].append((repository, digest, _NOW))
            tables[_USE].append((entry.number, digest, repository))
        tables[_TAG].append((repository, tag, entry.number, _NOW, _NOW))
        tables[_HISTORY].append((repository, tag, packed, _NOW))
    for statement, rows in tables.items():
        _insert(connection, statement, rows)


def _made_up_blob(text: str, size: int) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}", b"", size)


def _config(entry: _Entry) -> str:
    return f"config {entry.number}"


def _write_configs(root: Path, entries: list[_Entry]) -> None:
    """Files where the registry looks for them. They are shorter than the rows say."""
    for entry in entries:
        data = _config(entry).encode()
        encoded = hashlib.sha256(data).hexdigest()
        folder = root / BLOBS / "sha256" / encoded[:2] / encoded
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(data)


def _blob_row(blob: Blob) -> tuple[object, ...]:
    return (Digest(blob.digest).packed, blob.size, 1, _NOW)
