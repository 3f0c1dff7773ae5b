"""The health board, and the checks that write on it."""

from __future__ import annotations

import http.server
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from entrepot.config import Config
from entrepot.config.schema import FileCheck, Health, HttpCheck, StorageDriverCheck, TcpCheck
from entrepot.core.errors import EntrepotError
from entrepot.health import Check, HealthBoard, HealthCheckError, configured_checks, outcome, watch
from entrepot.server.children import fork
from tests.servers import free_port, wait_until


def fine() -> None:
    """A check that never fails."""


def checks(**given: object) -> list[Check]:
    return configured_checks(Config(health=Health(**given)), storage=fine)  # type: ignore[arg-type]


def only(**given: object) -> Check:
    (check,) = checks(**given)
    return check


def test_a_new_board_is_healthy() -> None:
    board = HealthBoard()
    assert board.healthy
    assert not board.draining
    assert dict(board.failures()) == {}


def test_failures_come_and_go() -> None:
    board = HealthBoard()
    board.report("a", "broken")
    board.report("b", "gone")
    seen = [(board.healthy, dict(board.failures()))]
    board.report("a", None)
    seen.append((board.healthy, dict(board.failures())))
    board.report("b", None)
    board.report("never failed", None)
    seen.append((board.healthy, dict(board.failures())))
    assert seen == [(False, {"a": "broken", "b": "gone"}), (False, {"b": "gone"}), (True, {})]


def test_children_see_what_the_parent_writes_and_the_other_way_round() -> None:
    board = HealthBoard()

    def write(_: int) -> int:
        board.report("child", "says so")
        board.drain()
        return 0

    child = fork(write, name="child")
    os.waitpid(child.pid, 0)
    os.close(child.pipe)
    assert dict(board.failures()) == {"child": "says so"}
    assert board.draining


def test_more_than_the_board_holds_is_still_unhealthy() -> None:
    board = HealthBoard()
    for number in range(100):
        board.report(f"check {number}", "x" * 5000)
    assert not board.healthy
    assert dict(board.failures()) == {"health": "100 checks fail"}


def test_many_changes_are_never_seen_half_done() -> None:
    """A reader gets one of the states that were written, whatever the writer is doing."""
    board = HealthBoard()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            board.report("check", "a" * 500)
            board.report("check", "b" * 900)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2000):
            seen = dict(board.failures())
            assert seen in ({}, {"check": "a" * 500}, {"check": "b" * 900})
    finally:
        stop.set()
        writer.join()


def test_nothing_is_checked_by_default() -> None:
    assert checks() == []


def test_storage_check_is_named_after_the_driver() -> None:
    def failing() -> None:
        raise EntrepotError("no such disk")

    driver = StorageDriverCheck(enabled=True, interval=1.5, threshold=3)
    (check,) = configured_checks(Config(health=Health(storagedriver=driver)), storage=failing)
    assert (check.name, check.interval, check.threshold) == ("storagedriver_filesystem", 1.5, 3)
    assert outcome(check) == "no such disk"


def test_a_file_that_exists_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "down"
    check = only(file=(FileCheck(file=str(path)),))
    assert check.name == str(path)
    assert outcome(check) is None
    path.touch()
    assert outcome(check) == "file exists"


def test_tcp(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addr = f"127.0.0.1:{listener.getsockname()[1]}"
        assert outcome(only(tcp=(TcpCheck(addr=addr, timeout=5.0),))) is None
    addr = f"127.0.0.1:{free_port()}"
    assert outcome(only(tcp=(TcpCheck(addr=addr),))) == f"connection to {addr} failed"
    assert outcome(only(tcp=(TcpCheck(addr="nonsense"),))) == "connection to nonsense failed"


@contextmanager
def web(status: int, seen: list[tuple[str, str | None]]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append((self.command, self.headers.get("X-Probe")))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/health"
        finally:
            server.shutdown()
            thread.join()


def test_http() -> None:
    """A HEAD request with the headers given; another status than expected is a failure."""
    seen: list[tuple[str, str | None]] = []
    with web(204, seen) as uri:
        given = HttpCheck(uri=uri, statuscode=204, headers={"X-Probe": ("yes",)}, timeout=5.0)
        assert outcome(only(http=(given,))) is None
        assert seen == [("HEAD", "yes")]
    with web(503, seen) as uri:
        failure = outcome(only(http=(HttpCheck(uri=uri),)))
        assert failure == "downstream service returned unexpected status: 503"
        assert outcome(only(http=(HttpCheck(uri=uri, statuscode=503),))) is None
    assert outcome(only(http=(HttpCheck(uri=uri),))) == f"error while checking: {uri}"


def test_a_check_that_breaks_is_a_failure() -> None:
    def breaking() -> None:
        raise ZeroDivisionError("oh")

    assert outcome(Check("x", 1.0, 0, breaking)) == "ZeroDivisionError: oh"


@pytest.mark.parametrize("threshold,needed", [(0, 1), (1, 1), (3, 3)])
def test_threshold_is_failures_in_a_row(threshold: int, needed: int) -> None:
    board, stop = HealthBoard(), threading.Event()
    unhealthy_after: list[int] = []
    tried = 0

    def failing() -> None:
        nonlocal tried
        if not board.healthy and not unhealthy_after:
            unhealthy_after.append(tried)
        tried += 1
        raise HealthCheckError("no")

    check = Check("x", 0.001, threshold, failing)
    thread = threading.Thread(target=watch, args=(check,), kwargs={"board": board, "stop": stop})
    thread.start()
    wait_until(lambda: bool(unhealthy_after), what="the failure on the board")
    stop.set()
    thread.join()
    assert unhealthy_after == [needed]
    assert dict(board.failures()) == {"x": "no"}


def test_one_success_ends_it() -> None:
    board, stop = HealthBoard(), threading.Event()
    fails = threading.Event()
    fails.set()

    def run() -> None:
        if fails.is_set():
            raise HealthCheckError("no")

    check = Check("x", 0.001, 2, run)
    thread = threading.Thread(target=watch, args=(check,), kwargs={"board": board, "stop": stop})
    thread.start()
    wait_until(lambda: not board.healthy, what="a failure")
    fails.clear()
    wait_until(lambda: board.healthy, what="health")
    stop.set()
    thread.join()


def test_configuration_of_registry_2_is_what_checks_are_made_of() -> None:
    """Each entry of the `health` section becomes a check with its interval and threshold."""
    health = msgspec.convert(
        {
            "file": [{"file": "/a", "interval": 1.0, "threshold": 2}],
            "http": [{"uri": "http://b/", "interval": 3.0}],
            "tcp": [{"addr": "c:1", "interval": 4.0, "threshold": 5}],
        },
        Health,
    )
    found = configured_checks(Config(health=health), storage=fine)
    assert [(check.name, check.interval, check.threshold) for check in found] == [
        ("/a", 1.0, 2),
        ("http://b/", 3.0, 0),
        ("c:1", 4.0, 5),
    ]
