"""Starts the servers, each on a free port of 127.0.0.1 with its data in its own directory."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import configurations
from bench.clients import Connection
from bench.errors import BenchError, WrongAnswerError
from bench.tools import path_of

PEER = "docker-registry"
PEER_HTPASSWD = "docker-registry-htpasswd"
LIMIT = "nginx"
OURS = "entrepot"
OURS_RELAXED = "entrepot-relaxed"
OURS_HTPASSWD = "entrepot-htpasswd"
OURS_ACCEL = "entrepot+nginx"
OURS_1K = "entrepot-1k"
OURS_100K = "entrepot-100k"
OURS_COLLECTING = "entrepot, collecting"
OURS_GOVERNED = "entrepot, with users"
OURS_QUOTA = "entrepot, with a quota"
OURS_CLUSTER = "entrepot-cluster"
PEER_CLUSTER = "docker-registry-s3"
LIST_COUNTS = {OURS_1K: 1000, OURS_100K: 100_000}
"""Servers whose index is filled for lists -> its number of repositories, and of tags."""

READY = "/readyz"
CREDENTIALS = "bench:bench-password"
AUTHORIZATION = f"Authorization: Basic {base64.b64encode(CREDENTIALS.encode()).decode()}\r\n"


@dataclass(frozen=True)
class Server:
    """A running server. `pids` are the roots of its process trees, none if it runs elsewhere."""

    name: str
    host: str
    port: int
    pids: tuple[int, ...]
    headers: str = ""

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"http://{self.host}:{self.port}"

    def connect(self) -> Connection:
        """A new keep-alive connection that sends the server's credentials, if it wants any."""
        return Connection(self.host, self.port, headers=self.headers)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def external(name: str, url: str) -> Server:
    """A peer that runs already, given as `http://HOST:PORT` or `http://HOST:PORT#PID`."""
    address, _, pid = url.removeprefix("http://").partition("#")
    host, _, port = address.rstrip("/").partition(":")
    if url.startswith("https:") or not host:
        raise BenchError(f"--peer {name}={url}: expected http://HOST:PORT or http://HOST:PORT#PID")
    return Server(name, host, int(port or 80), (int(pid),) if pid else ())


@contextlib.contextmanager
def running(
    command: list[str],
    *,
    log: Path,
    port: int,
    path: str,
) -> Iterator[int]:
    """Start a program, wait until GET `path` is answered well, yield its pid, end its tree."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
        )
    try:
        wait_ready(process, port=port, path=path, log=log)
        yield process.pid
    finally:
        _end(process)


def wait_ready(
    process: subprocess.Popen[bytes],
    *,
    port: int,
    path: str,
    log: Path,
    deadline: float = 60.0,
) -> None:
    """Poll GET `path` every 5 ms until it is answered: /readyz with 200, others below 500.

    Raises BenchError after `deadline` seconds.
    """
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            with Connection("127.0.0.1", port) as connection:
                status = connection.request("GET", path).status
                if status == 200 or (path != READY and status < 500):
                    return
        except (OSError, WrongAnswerError):
            pass
        time.sleep(0.005)
    tail = log.read_text(errors="replace")[-2000:]
    raise BenchError(f"{process.args!r} did not get ready; its log ends:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@contextlib.contextmanager
def docker_registry(directory: Path) -> Iterator[Server]:
    """Debian's docker-registry 2.8 with a filesystem store."""
    with _docker_registry(directory, PEER, htpasswd=None) as server:
        yield server


@contextlib.contextmanager
def docker_registry_htpasswd(directory: Path) -> Iterator[Server]:
    """The same with bcrypt passwords."""
    with _docker_registry(directory, PEER_HTPASSWD, htpasswd=_htpasswd(directory)) as server:
        yield server


@contextlib.contextmanager
def _docker_registry(directory: Path, name: str, *, htpasswd: Path | None) -> Iterator[Server]:
    port = free_port()
    file = configurations.docker_registry(directory, port=port, htpasswd=htpasswd)
    command = [path_of("docker-registry"), "serve", str(file)]
    with running(command, log=directory / "log", port=port, path="/v2/") as pid:
        yield Server(name, "127.0.0.1", port, (pid,), AUTHORIZATION if htpasswd else "")


@contextlib.contextmanager
def nginx_static(directory: Path) -> Iterator[Server]:
    """nginx serving the pull content as static files under the same paths."""
    port = free_port()
    configurations.write_static(directory / "files")
    file = configurations.nginx_static(directory, port=port)
    command = [path_of("nginx"), "-p", str(directory), "-c", str(file)]
    with running(command, log=directory / "log", port=port, path="/") as pid:
        yield Server(LIMIT, "127.0.0.1", port, (pid,))


def entrepot_command(program: Path, file: Path) -> list[str]:
    """How `./dev serve` starts Entrepot. Raises BenchError if it is not installed."""
    if not program.exists():
        raise BenchError(f"{program} is not there; ./dev bench makes it (or give --entrepot PATH)")
    return [str(program), "serve", str(file)]


@contextlib.contextmanager
def entrepot(
    directory: Path,
    *,
    program: Path,
    name: str = OURS,
    durability: str = "full",
    htpasswd: Path | None = None,
    http: Mapping[str, object] | None = None,
    more: Mapping[str, object] | None = None,
    headers: str = "",
) -> Iterator[Server]:
    """Entrepot as `./dev serve` starts it, with the access log off and full durability."""
    port = free_port()
    file = configurations.entrepot(
        directory,
        port=port,
        durability=durability,
        htpasswd=htpasswd,
        http=http or {},
        more=more or {},
    )
    command = entrepot_command(program, file)
    with running(command, log=directory / "log", port=port, path=READY) as pid:
        yield Server(name, "127.0.0.1", port, (pid,), AUTHORIZATION if htpasswd else headers)


@contextlib.contextmanager
def entrepot_htpasswd(directory: Path, *, program: Path) -> Iterator[Server]:
    """Entrepot with bcrypt passwords of cost 10."""
    file = _htpasswd(directory)
    with entrepot(directory, program=program, name=OURS_HTPASSWD, htpasswd=file) as server:
        yield server


@contextlib.contextmanager
def entrepot_behind_nginx(directory: Path, *, program: Path) -> Iterator[Server]:
    """Entrepot behind nginx, which sends the blobs itself (X-Accel-Redirect)."""
    port = free_port()
    accel = {"accel": "nginx", "accelprefix": "/_blobs/"}
    with entrepot(directory, program=program, http=accel) as inner:
        file = configurations.nginx_proxy(directory, port=port, upstream=inner.port)
        command = [path_of("nginx"), "-p", str(directory), "-c", str(file)]
        with running(command, log=directory / "nginx.log", port=port, path="/v2/") as pid:
            yield Server(OURS_ACCEL, "127.0.0.1", port, (pid, *inner.pids))


def _htpasswd(directory: Path) -> Path:
    file = directory / "htpasswd"
    file.write_text(f"{configurations.HTPASSWD_LINE}\n")
    return file
