"""Real server processes for tests: started on a free port of 127.0.0.1, waited for, and ended.

with start_registry(tmp_path / "registry", config={"log": {"level": "debug"}}) as registry:
    httpx.get(f"{registry.url}/v2/")
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import itertools
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import asyncpg
import yaml

from tests.programs import Program, environment
from tests.sqlite import make_index

Config = dict[str, Any]

READY_SECONDS: Final = 60.0
"""How long a server may take to answer /readyz before the test fails."""

STOP_SECONDS: Final = 60.0
"""How long a server may take to end after SIGTERM before it is killed."""

_TEST_PORTS: Final = range(20000, 32000)
"""Below the ports that the kernel gives to clients: no connection takes one before we use it."""

_RUN: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
"""Which of the runs of tests at the same time this is."""

_ports = itertools.cycle(
    random.sample(_TEST_PORTS[_RUN % 8 :: 8], k=len(_TEST_PORTS[_RUN % 8 :: 8]))
)
"""In turn: whoever was given one may be about to listen there."""

_OWN_DRIVERS: Final = frozenset({"inmemory", "memory", "s3", "gcs", "azure"})


_POSTGRES: Final = os.environ.get("ENTREPOT_TEST_POSTGRES", "")
"""`postgresql://user:password@host:port` of a server: every registry that says nothing else then
has its index in a database there, so that any test may be tried on it."""


class RegistryStartError(Exception):
    """The server ended, or did not get ready in time; says what its log says."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and nobody else was given lately."""
    for port in itertools.islice(_ports, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port among a hundred tried")


def wait_until(
    condition: Callable[[], bool], *, seconds: float = 60.0, what: str = "the condition"
) -> None:
    """Poll until `condition()` holds; AssertionError naming `what` after `seconds` without it."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds:g} s")
        _pause(pause)
        pause = min(pause * 1.5, 0.1)


def _pause(seconds: float) -> None:
    """Let other processes run between two polls."""
    threading.Event().wait(seconds)


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Config:
    """`base` with the values of `change` put in at every depth; a None in `change` stays None."""
    result = deepcopy(dict(base))
    for key, value in change.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            result[key] = merged(below, value)
        else:
            result[key] = deepcopy(value)
    return result


def default_config(root: Path, *, port: int, workers: int) -> Config:
    """What a test server runs with unless the test says otherwise."""
    return {
        "version": "0.1",
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(root)}},
        "http": {"addr": f"127.0.0.1:{port}", "workers": workers, "draintimeout": "5s"},
    }


def _database_of(root: Path) -> str:
    """The URL of the database that belongs to a directory; made if there is none yet."""
    name = f"root_{hashlib.sha256(bytes(root)).hexdigest()[:16]}"

    async def make() -> None:
        connection = await asyncpg.connect(f"{_POSTGRES}/postgres")
        with suppress(asyncpg.DuplicateDatabaseError):
            await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    with ThreadPoolExecutor(1) as thread:  # the caller may have a loop that runs
        thread.submit(asyncio.run, make()).result()
    return f"{_POSTGRES}/{name}"


def _give_index(config: Config) -> None:
    """Where a server would make its index in SQLite, let there be one, which takes half a second
    less; unless its storage is there already.
    """
    storage = config["storage"].get("filesystem")
    if storage and not config.get("database", {}).get("url"):
        root = Path(storage["rootdirectory"])
        if not root.exists():
            (root / "entrepot").mkdir(parents=True)
            make_index(root / "entrepot" / "index.sqlite3")


class Registry:
    """One server: its processes, its place on disk and its log. Made by `start_registry`."""

    def __init__(
        self, root: Path, *, config: Config, port: int, env: Mapping[str, str], args: Sequence[str]
    ) -> None:
        self.root = root
        self.config = config
        self.config_path = root.with_name(f"{root.name}.config.yml")
        self.log_path = root.with_name(f"{root.name}.log")
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.tls: Config = config.get("http", {}).get("tls") or {}
        self.url = f"{'https' if self.tls else 'http'}://{self.host}"
        self.process: Program
        self._env = env
        self._args = args

    def start(self) -> None:
        """Start the server and wait until it is ready; again on the same port if it ran before."""
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        taken = self._is_open()
        with self.log_path.open("ab") as log:
            self.process = Program(
                ["serve", *self._args, str(self.config_path)],
                stdout=log,
                stderr=log,
                env=environment(**self._env),
                own_session=True,
            )
        try:
            self._wait_until_ready(taken=taken)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> int:
        """SIGTERM, wait, kill what is left of the tree; the exit status of the server."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        self.kill()
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL to every process of the server at once; returns when they are gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        wait_until(self._tree_is_gone, what="the end of the server's processes")
        # The port may be another server's.
        with suppress(AssertionError):
            self.wait_until_closed(seconds=3.0)

    def wait_until_closed(self, *, seconds: float = 60.0) -> None:
        """Until the last thread of a killed process is gone it may hold its sockets."""
        wait_until(lambda: not self._is_open(), seconds=seconds, what="the end of listening")

    def log(self) -> str:
        """Everything the server wrote to its output streams so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _tree_is_gone(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return True
        return all(_is_zombie(pid) for pid in _members(self.process.pid))

    def _wait_until_ready(self, *, taken: bool) -> None:
        """Where another server has the port already, its answers count for nothing."""
        deadline = time.monotonic() + READY_SECONDS
        while taken or not self._is_ready():
            if self.process.poll() is not None:
                raise RegistryStartError(
                    f"ended with status {self.process.returncode}:\n{self.log()}"
                )
            if time.monotonic() > deadline:
                raise RegistryStartError(f"not ready after {READY_SECONDS:g} s:\n{self.log()}")
            _pause(0.02)

    def _is_ready(self) -> bool:
        if self.tls.get("clientcas"):  # we have no certificate to show: an open port must do
            return self._is_open()
        with suppress(OSError, http.client.HTTPException):
            connection = self._connect()
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            finally:
                connection.close()
        return False

    def _is_open(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2):
            return True
        return False

    def _connect(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)


@contextmanager
def start_registry(
    root: Path,
    *,
    config: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    workers: int = 2,
    args: Sequence[str] = (),
) -> Iterator[Registry]:
    """A running registry that keeps its data under `root`; ended with its processes on leaving.

    `config` is merged into `default_config` at every depth and written beside `root`, as is the
    log. Another storage driver in it takes the place of the filesystem one. `env` is added to the
    environment, which holds no REGISTRY_* variables otherwise. `args` come before the
    configuration file. Raises RegistryStartError.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    full = merged(default_config(root, port=port, workers=workers), config or {})
    if _POSTGRES and "inmemory" not in full["storage"]:
        full = merged({"database": {"url": _database_of(root)}}, full)
    if _OWN_DRIVERS & set((config or {}).get("storage", {})):
        del full["storage"]["filesystem"]
    _give_index(full)
    addr = str(full["http"]["addr"])
    registry = Registry(
        root, config=full, port=int(addr.rpartition(":")[2]), env=env or {}, args=args
    )
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()


def children(registry: Registry, name: str) -> set[int]:
    """The process ids of a server's living processes of that name."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            called = (folder / "comm").read_text().strip()
        except OSError:
            continue
        alive = fields[0] != "Z" and int(fields[1]) == registry.process.pid
        if alive and called == name:
            found.add(int(folder.name))
    return found


def _members(group: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                found.append(int(status.parent.name))
    return found


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
