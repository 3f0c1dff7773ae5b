"""The servers and workloads of `--cluster`: PostgreSQL and SeaweedFS on this machine.

Both are started as the tests start them, but PostgreSQL syncs what it commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench import configurations
from bench.content import make_image, push_blob, push_manifest
from bench.measure import Sample
from bench.pulls import request_one_by_one
from bench.servers import (
    OURS_CLUSTER,
    PEER_CLUSTER,
    READY,
    Server,
    entrepot_command,
    free_port,
    running,
)
from bench.settings import Settings
from bench.tools import path_of
from tests.objectstores import SeaweedFS, start_seaweedfs
from tests.postgres import Postgres

REPOSITORIES = 1000
_PAGE = 100
_PAGES = 200
_AT_ONCE = 32
_IMAGE = make_image("latest")


@dataclass(frozen=True)
class Services:
    """What a cluster stands on."""

    postgres: Postgres
    store: SeaweedFS

    def storage(self, bucket: str) -> dict[str, Any]:
        """The driver of a registry's configuration, on a new bucket; both registries read it."""
        self.store.make_bucket(bucket)
        return {"s3": self.store.config(bucket, secure=False, forcepathstyle=True)}


@contextlib.contextmanager
def services(directory: Path) -> Iterator[Services]:
    """PostgreSQL and SeaweedFS, ended on leaving."""
    with (
        start_seaweedfs(directory / "seaweedfs") as store,
        tempfile.TemporaryDirectory(prefix="entrepot-postgres-") as place,
    ):
        postgres = Postgres(Path(place), durable=True)
        postgres.make()
        try:
            yield Services(postgres, store)
        finally:
            postgres.stop()


@contextlib.contextmanager
def entrepot(directory: Path, *, program: Path, given: Services) -> Iterator[Server]:
    """A node on PostgreSQL and S3, with 1,000 repositories; its CPU includes PostgreSQL's."""
    port = free_port()
    file = configurations.entrepot_cluster(
        directory,
        port=port,
        database=given.postgres.empty_database(),
        storage=given.storage("entrepot"),
    )
    command = entrepot_command(program, file)
    with running(command, log=directory / "log", port=port, path=READY) as pid:
        server = Server(OURS_CLUSTER, "127.0.0.1", port, (pid, given.postgres.pid))
        with server.connect() as connection:
            for number in range(REPOSITORIES):
                for blob in _IMAGE.blobs:
                    push_blob(connection, _name(number), blob)
                push_manifest(connection, _name(number), _IMAGE.tag, _IMAGE.manifest)
        yield server


@contextlib.contextmanager
def docker_registry(directory: Path, *, given: Services) -> Iterator[Server]:
    """Debian's docker-registry 2.8 on the same store, with as many repositories."""
    port = free_port()
    storage = given.storage("docker-registry")
    asyncio.run(_write_repositories(given.store, "docker-registry"))
    file = configurations.docker_registry(directory, port=port, htpasswd=None, storage=storage)
    command = [path_of("docker-registry"), "serve", str(file)]
    with running(command, log=directory / "log", port=port, path="/v2/") as pid:
        yield Server(PEER_CLUSTER, "127.0.0.1", port, (pid,))


async def _write_repositories(store: SeaweedFS, bucket: str) -> None:
    """The links by which it knows a repository: pushing so many would take it minutes."""
    client = store.client(bucket, forcepathstyle=True)
    digest = _IMAGE.manifest.digest
    revision = f"_manifests/revisions/{digest.replace(':', '/')}/link"
    places = asyncio.Semaphore(_AT_ONCE)

    async def put(key: str) -> None:
        async with places:
            await client.put(f"docker/registry/v2/repositories/{key}", digest.encode())

    try:
        await asyncio.gather(*(put(f"{_name(n)}/{revision}") for n in range(REPOSITORIES)))
    finally:
        await client.close()


def _name(number: int) -> str:
    return f"scale/repository-{number:04}"


@cache
def _pages() -> list[str]:
    starts = [random.randint(0, REPOSITORIES - _PAGE - 1) for _ in range(_PAGES)]
    return [f"/v2/_catalog?n={_PAGE}&last={_name(start)}" for start in starts]


def catalog_pages(server: Server, settings: Settings) -> Sample:
    """Pages of 100 from random places among 1,000 repositories, one by one."""
    few = _PAGES if server.name == OURS_CLUSTER else 5  # seconds each
    return request_one_by_one(server, _pages()[: min(few, settings.times(_PAGES))])
