"""The kinds of index and storage on which tests run in turn, and registries on one of them.

def test_it(footing: Footing, tmp_path: Path) -> None:
    with footing.start(tmp_path / "registry", config={"http": {"relativeurls": True}}) as registry:
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from tests.objectstores import SeaweedFS
from tests.postgres import Postgres
from tests.servers import Config, Registry, merged, start_registry

SHARED: Final = {
    "sqlite": "registry",
    "postgres": "registry_on_postgres",
    "postgres-s3": "registry_on_postgres_and_s3",
}
"""The kinds, and the fixtures of the registries that tests share: on SQLite and files, PostgreSQL
and files, PostgreSQL and S3."""


@dataclass
class Footing:
    """What registries of one kind stand on."""

    postgres: Postgres | None
    seaweedfs: SeaweedFS | None
    _databases: list[str] = field(default_factory=list)

    def config(self) -> Config:
        """The sections of a registry with an index and a storage that nobody has used, if its root
        directory is such a one; blobs are streamed from S3, unless the test says otherwise.
        """
        config: Config = {}
        if self.postgres:
            self._databases.append(self.postgres.database())
            config["database"] = {"url": self._databases[-1]}
        if self.seaweedfs:
            section = self.seaweedfs.config("tests", rootdirectory=f"footing/{uuid4()}")
            config["storage"] = {"s3": section, "redirect": {"disable": True}}
        return config

    def start(
        self, root: Path, *, config: Mapping[str, Any] | None = None, workers: int = 2
    ) -> AbstractContextManager[Registry]:
        """A running registry on an index and a storage of its own; see `start_registry`."""
        return start_registry(root, config=merged(self.config(), config or {}), workers=workers)

    def give_back(self) -> None:
        """Let others have the databases."""
        while self.postgres and self._databases:
            self.postgres.give_back(self._databases.pop())


@contextmanager
def open_footing(request: pytest.FixtureRequest, kind: str) -> Iterator[Footing]:
    """One of a kind, for a fixture that lives as long as it."""
    footing = Footing(
        request.getfixturevalue("postgres") if kind != "sqlite" else None,
        request.getfixturevalue("seaweedfs") if kind == "postgres-s3" else None,
    )
    try:
        yield footing
    finally:
        footing.give_back()
