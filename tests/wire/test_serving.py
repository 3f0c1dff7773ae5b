"""Processes, sockets and signals: what happens to connections while servers and workers end."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.footing import Footing
from tests.programs import run
from tests.servers import (
    Registry,
    RegistryStartError,
    children,
    default_config,
    free_port,
    start_registry,
    wait_until,
)

MIB = 1 << 20


def workers(registry: Registry) -> set[int]:
    """The process ids of the worker processes that live."""
    return children(registry, "entrepot-worker")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_workers(registry: Registry) -> set[int]:
    """The process ids of the workers, once they all serve."""
    wait_until(lambda: '"message":"serving"' in registry.log(), what="the last worker")
    return workers(registry)


def push_blob(registry: Registry, content: bytes) -> str:
    """Push a blob to the repository `serving` in one request; its path."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    answer = httpx.post(
        f"{registry.url}/v2/serving/blobs/uploads/", params={"digest": digest}, content=content
    )
    assert answer.status_code == 201, answer.text
    return f"/v2/serving/blobs/{digest}"


class SlowDownload:
    """A client that has asked for a blob and reads it at its leisure."""

    def __init__(self, registry: Registry, path: str) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", registry.port))
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {registry.host}\r\n\r\n".encode())
        self._received = self._socket.recv(4096)
        assert self._received.startswith(b"HTTP/1.1 200 "), self._received

    def rest(self, size: int) -> bytes:
        """Everything that comes: the body, if it is complete, has `size` bytes."""
        pieces = [self._received]
        head, _, _ = self._received.partition(b"\r\n\r\n")
        missing = len(head) + 4 + size - len(self._received)
        with self._socket:
            while missing > 0 and (piece := self._socket.recv(MIB)):
                pieces.append(piece)
                missing -= len(piece)
        return b"".join(pieces)[len(head) + 4 :]


class SlowUpload:
    """A client in the middle of the body of a monolithic upload."""

    def __init__(self, registry: Registry, content: bytes) -> None:
        self._content = content
        digest = hashlib.sha256(content).hexdigest()
        self._socket = socket.create_connection(("127.0.0.1", registry.port), timeout=20)
        head = (
            f"POST /v2/serving/blobs/uploads/?digest=sha256:{digest} HTTP/1.1\r\n"
            f"Host: {registry.host}\r\nContent-Length: {len(content)}\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        assert self._socket.recv(4096).startswith(b"HTTP/1.1 100 ")
        self._socket.sendall(content[:10])

    def rest(self) -> bytes:
        """Send what is missing; the answer's status line, or b"" if the server has gone."""
        with self._socket:
            try:
                self._socket.sendall(self._content[10:])
                return self._socket.recv(4096).partition(b"\r\n")[0]
            except OSError:
                return b""


def connects(registry: Registry) -> bool:
    try:
        socket.create_connection(("127.0.0.1", registry.port), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def asking(registry: Registry) -> Iterator[list[str]]:
    """Ask for /v2/ on new connections, one after the other; what went wrong."""
    wrong: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = httpx.get(f"{registry.url}/v2/", timeout=60)
                if answer.status_code != 200:
                    wrong.append(answer.text)
            except httpx.HTTPError as error:
                wrong.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def test_a_killed_worker_is_replaced_and_the_others_go_on(footing: Footing, tmp_path: Path) -> None:
    """kill -9 of one worker, three times: there are two again, and nobody is refused."""
    with footing.start(tmp_path / "r", workers=2) as registry:
        for _ in range(3):
            before = all_workers(registry)
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda v=victim: not is_alive(v), what="the worker's death")  # type: ignore[misc]
            assert httpx.get(f"{registry.url}/v2/").status_code == 200
            wait_until(
                lambda b=before: len(workers(registry) - b) == 1,  # type: ignore[misc]
                what="another worker",
            )
        assert "a worker ended unexpectedly" in registry.log()


@pytest.mark.chosen_kind("sockets")
def test_connections_are_spread_over_the_workers(tmp_path: Path) -> None:
    """Of 64 connections made at once two workers have 32 each, or nearly so."""
    with start_registry(tmp_path / "r", workers=2) as registry, ExitStack() as held:
        before = {pid: sockets(pid) for pid in all_workers(registry)}
        for _ in range(64):
            address = ("127.0.0.1", registry.port)
            held.enter_context(socket.create_connection(address, timeout=10))
        wait_until(
            lambda: sum(map(sockets, before)) - sum(before.values()) >= 64, what="64 connections"
        )
        # Either may have one in eight more before it leaves any to the other.
        assert min(sockets(pid) - count for pid, count in before.items()) >= 29


def sockets(pid: int) -> int:
    """How many sockets a process holds."""
    links = Path(f"/proc/{pid}/fd").iterdir()
    return sum(link.readlink().name.startswith("socket:") for link in links)


def test_requests_wait_while_no_worker_lives(footing: Footing, tmp_path: Path) -> None:
    """All workers killed at once: a request that comes then is answered by the next ones."""
    with footing.start(tmp_path / "r", workers=2) as registry:
        for pid in all_workers(registry):
            os.kill(pid, signal.SIGKILL)
        assert httpx.get(f"{registry.url}/v2/", timeout=60).status_code == 200


def test_no_worker_outlives_the_server(footing: Footing, tmp_path: Path) -> None:
    """kill -9 of the supervising process ends the workers, and the port is free for the next."""
    with footing.start(tmp_path / "r", workers=2) as registry:
        orphans = all_workers(registry)
        os.kill(registry.process.pid, signal.SIGKILL)
        registry.process.wait()
        wait_until(lambda: not any(map(is_alive, orphans)), what="the workers' end")
        registry.wait_until_closed()
        registry.start()
        assert httpx.get(f"{registry.url}/v2/").status_code == 200


@pytest.mark.chosen_kind("sockets")
def test_a_taken_port_is_an_error_that_says_so(registry: Registry, tmp_path: Path) -> None:
    configuration = tmp_path / "config.yml"
    config = default_config(tmp_path / "root", port=registry.port, workers=1)
    configuration.write_text(yaml.safe_dump(config))
    ended = run("serve", str(configuration))
    assert ended.returncode == 1
    assert f"can't listen on {registry.host}: another program listens there" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "root").exists(), "nothing is touched before the address is ours"


@pytest.mark.chosen_kind("a file in place of a directory")
def test_a_storage_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    """The preparation, in a process of its own, fails: status 1 and a reason, no traceback."""
    (tmp_path / "r").write_text("a file where a directory should be")
    with (
        pytest.raises(RegistryStartError, match="status 1") as caught,
        start_registry(tmp_path / "r"),
    ):
        pass
    assert "the server can't start" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_sigterm_lets_running_requests_finish(footing: Footing, tmp_path: Path) -> None:
    """Connections are refused at once and idle ones closed; an upload and a download go on."""
    blob = os.urandom(24 * MIB)
    with footing.start(
        tmp_path / "r", workers=2, config={"http": {"draintimeout": "60s"}}
    ) as registry:
        download = SlowDownload(registry, push_blob(registry, blob))
        content = os.urandom(1000)
        upload = SlowUpload(registry, content)
        idle = socket.create_connection(("127.0.0.1", registry.port), timeout=20)
        registry.process.terminate()
        wait_until(lambda: not connects(registry), what="the refusal of connections")
        with idle:
            assert idle.recv(100) == b"", "idle connections don't hold the end up"
        assert registry.process.poll() is None
        assert download.rest(len(blob)) == blob
        assert upload.rest() == b"HTTP/1.1 201 Created"
        assert registry.process.wait(60) == 0
        registry.start()
        assert httpx.get(registry.url + push_blob(registry, content)).content == content


def test_what_outlasts_the_drain_is_cut(footing: Footing, tmp_path: Path) -> None:
    """After `http.draintimeout` the server ends, with status 0, whatever still runs."""
    with footing.start(
        tmp_path / "r", workers=2, config={"http": {"draintimeout": "500ms"}}
    ) as registry:
        upload = SlowUpload(registry, bytes(MIB))
        registry.process.terminate()
        assert registry.process.wait(60) == 0
        assert upload.rest() == b""
        assert "requests were cut" in registry.log()
        assert "Traceback" not in registry.log()


def test_a_second_sigterm_ends_at_once(footing: Footing, tmp_path: Path) -> None:
    with footing.start(
        tmp_path / "r", workers=2, config={"http": {"draintimeout": "300s"}}
    ) as registry:
        upload = SlowUpload(registry, bytes(MIB))
        registry.process.terminate()
        wait_until(lambda: not connects(registry), what="the refusal of connections")
        registry.process.send_signal(signal.SIGINT)
        assert registry.process.wait(60) == 0
        assert upload.rest() == b""


def test_sighup_replaces_the_workers_without_losing_a_request(
    footing: Footing, tmp_path: Path
) -> None:
    """New workers answer; the old ones finish what they had begun, and leave."""
    blob = os.urandom(24 * MIB)
    with footing.start(tmp_path / "r", workers=2) as registry:
        download = SlowDownload(registry, push_blob(registry, blob))
        before = all_workers(registry)
        with asking(registry) as wrong:
            registry.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(workers(registry) - before) == 2, what="two new workers")
            wait_until(lambda: len(workers(registry) & before) < 2, what="an old worker's end")
        assert wrong == []
        assert download.rest(len(blob)) == blob
        wait_until(lambda: not workers(registry) & before, what="the old workers' end")
        assert httpx.get(f"{registry.url}/v2/").status_code == 200


@pytest.mark.chosen_kind("sockets")
def test_an_empty_host_is_every_interface(tmp_path: Path) -> None:
    """An address like :5000 answers on IPv4 and IPv6, and warns that anybody may push."""
    with start_registry(tmp_path / "r", config={"http": {"addr": f":{free_port()}"}}) as registry:
        assert httpx.get(f"{registry.url}/v2/").status_code == 200
        if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
            assert httpx.get(f"http://[::1]:{registry.port}/v2/").status_code == 200
        assert "no authentication: whoever can reach this address may push" in registry.log()


@pytest.mark.chosen_kind("sockets")
def test_loopback_without_authentication_is_no_warning(registry: Registry) -> None:
    assert "no authentication" not in registry.log()


@contextmanager
def unix_registry(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A registry on a Unix socket, and a client of it that has seen it answer."""
    path, configuration = folder / "registry.sock", folder / "config.yml"
    config = default_config(folder / "root", port=0, workers=2)
    config["http"] |= {"addr": str(path), "net": "unix"}
    configuration.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "entrepot", "serve", str(configuration)]
    client = httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://registry", timeout=10
    )

    def answers() -> bool:
        return is_listened_to(path) and client.get("/v2/").status_code == 200

    with (
        client,
        (folder / "log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until(answers, what="an answer on the socket")
            yield process, client
        finally:
            process.kill()
            wait_until(lambda: not is_listened_to(path), what="the end of the workers")


def is_listened_to(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.mark.chosen_kind("sockets")
def test_unix_socket(tmp_path: Path) -> None:
    """`net: unix` serves on a path; the one that a killed server left is replaced."""
    path = tmp_path / "registry.sock"
    with unix_registry(tmp_path) as (process, _):
        process.kill()
    assert path.exists()
    with unix_registry(tmp_path) as (process, client):
        assert client.post("/v2/a/blobs/uploads/").status_code == 202
        client.close()
        process.terminate()
        assert process.wait(60) == 0
    assert not path.exists()


@pytest.mark.chosen_kind("heads of requests")
def test_silent_and_slow_heads_are_cut_off(tmp_path: Path) -> None:
    """A client that doesn't send the head of a request in time loses its connection."""
    limits = {"limits": {"headertimeout": "300ms", "keepalivetimeout": "300ms"}}
    with start_registry(tmp_path / "r", config={"http": limits}) as registry:
        for sent in (b"", b"GET /v2/ HTTP/1.1\r\nHo"):
            with socket.create_connection(("127.0.0.1", registry.port), timeout=20) as client:
                client.sendall(sent)
                assert client.recv(100) == b""


@pytest.mark.chosen_kind("files beside the storage")
def test_temporary_files_are_gone_after_the_end(tmp_path: Path) -> None:
    shared = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    before = set(shared.glob("entrepot-metrics-*"))
    with start_registry(tmp_path / "r") as registry:
        made = set(shared.glob("entrepot-metrics-*")) - before
        registry.stop()
    for directory in made:
        owner = (directory / "server").read_text() if directory.exists() else ""
        assert owner.strip() != str(registry.process.pid)
    shutil.rmtree(tmp_path / "r")
