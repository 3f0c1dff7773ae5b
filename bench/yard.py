"""The servers of one run: each is started when first needed, filled once, and kept to the end."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TypeVar, cast

from bench import cluster, servers
from bench.content import fill
from bench.index import fill_for_lists
from bench.servers import Server

T = TypeVar("T")
Start = Callable[[Path], AbstractContextManager[Server]]
_COLLECTING = {"lifecycle": {"collection": {"rate": 0, "grace": "1h"}, "trash": {"window": "0s"}}}
"""A collector as fast as it can be, with no waiting for the trash; the grace period is so long that
sweeps go at their usual pace.
"""

_USER, _, _PASSWORD = servers.CREDENTIALS.partition(":")
_GOVERNED = {"auth": {"local": {"admin": {"name": _USER, "password": _PASSWORD}}}}
"""With access control, without which there is no /api/v1."""

_DATA = "data"


def new_directory(parent: Path, name: str) -> Path:
    """A fresh directory whose files ext4 keeps away from its siblings'.

    With the "top of a hierarchy" attribute on the parent ext4 puts each child into block groups
    of its own, so that one server's deleted inodes don't slow another's creations. Where the file
    system knows no such attribute this is an ordinary directory.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(["chattr", "+T", str(parent)], capture_output=True, check=False)
    directory = parent / name
    directory.mkdir()
    return directory


@dataclass
class Yard:
    """Starts servers by name under `directory`; `program` is the entrepot command."""

    directory: Path
    program: Path
    stack: contextlib.ExitStack
    peers: Sequence[Server] = ()
    _started: dict[str, Server] = field(default_factory=dict)
    _storages: dict[str, Path] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)
    _made: dict[str, object] = field(default_factory=dict)
    _services: cluster.Services | None = None

    def get(self, name: str) -> Server:
        """The running server of this name, with its content in it."""
        if name not in self._started:
            self._started[name] = self._start(name)
        return self._started[name]

    @contextlib.contextmanager
    def fresh(self, name: str, *, directory: Path | None = None) -> Iterator[Server]:
        """Another server of this name, with nothing in it or on a directory with a storage."""
        where = directory or new_directory(self.directory, f"{name}-{next(self._numbers)}")
        with self._starters()[name](where) as server:
            yield server

    def storage(self, name: str, fill_root: Callable[[Path], None]) -> Path:
        """A server's directory whose storage was filled once, without a server."""
        if name not in self._storages:
            directory = new_directory(self.directory, name)
            fill_root(directory / _DATA)
            self._storages[name] = directory
        return self._storages[name]

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What was made before under that name, else `make` makes it."""
        if what not in self._made:
            self._made[what] = make()
        return cast("T", self._made[what])

    def _start(self, name: str) -> Server:
        for peer in self.peers:
            if peer.name == name:
                _fill(peer)
                return peer
        directory = self._directory(name)
        server = self.stack.enter_context(self._starters()[name](directory))
        if name != servers.LIMIT and name not in servers.LIST_COUNTS:
            _fill(server)
        return server

    def _directory(self, name: str) -> Path:
        if name in servers.LIST_COUNTS:
            rows = servers.LIST_COUNTS[name]
            return self.storage(name, lambda root: fill_for_lists(root, count=rows))
        return new_directory(self.directory, name)

    def _starters(self) -> dict[str, Start]:
        return {
            servers.LIMIT: servers.nginx_static,
            servers.PEER: servers.docker_registry,
            servers.PEER_HTPASSWD: servers.docker_registry_htpasswd,
            servers.OURS: self._entrepot(servers.OURS),
            servers.OURS_1K: self._entrepot(servers.OURS_1K),
            servers.OURS_100K: self._entrepot(servers.OURS_100K),
            servers.OURS_RELAXED: self._entrepot(servers.OURS_RELAXED, durability="relaxed"),
            servers.OURS_HTPASSWD: lambda directory: servers.entrepot_htpasswd(
                directory, program=self.program
            ),
            servers.OURS_ACCEL: lambda directory: servers.entrepot_behind_nginx(
                directory, program=self.program
            ),
            servers.OURS_COLLECTING: self._entrepot(servers.OURS_COLLECTING, more=_COLLECTING),
            servers.OURS_GOVERNED: self._entrepot(
                servers.OURS_GOVERNED, more=_GOVERNED, headers=servers.AUTHORIZATION
            ),
            servers.OURS_CLUSTER: lambda directory: cluster.entrepot(
                directory, program=self.program, given=self._given_services()
            ),
            servers.PEER_CLUSTER: lambda directory: cluster.docker_registry(
                directory, given=self._given_services()
            ),
        }

    def _given_services(self) -> cluster.Services:
        if self._services is None:
            place = new_directory(self.directory, "services")
            self._services = self.stack.enter_context(cluster.services(place))
        return self._services

    def _entrepot(
        self,
        name: str,
        *,
        durability: str = "full",
        more: Mapping[str, object] | None = None,
        headers: str = "",
    ) -> Start:
        return lambda directory: servers.entrepot(
            directory,
            program=self.program,
            name=name,
            durability=durability,
            more=more,
            headers=headers,
        )


def _fill(server: Server) -> None:
    with server.connect() as connection:
        fill(connection)
