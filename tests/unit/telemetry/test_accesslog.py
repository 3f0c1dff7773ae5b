"""The access log: its two forms, and how it is written."""

import json
import os
import re
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.config.schema import AccessLog as AccessLogConfig
from entrepot.config.schema import Log
from entrepot.telemetry import Access, AccessLog

ENTRY = Access(
    client="10.1.2.3",
    method="GET",
    path="/v2/library/debian/manifests/12",
    query="ns=docker.io",
    status=200,
    request_bytes=0,
    response_bytes=1500,
    seconds=0.0012,
    request_id="r1",
    user="alice",
    user_agent="docker/28.1.0",
)
NOON = 1_780_000_000.25


class Reader:
    """Reads the other end of a pipe to which an access log is written."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def lines(self, count: int) -> list[str]:
        """Wait for `count` lines, at most ten seconds."""
        data = b""
        while data.count(b"\n") < count:
            ready, _, _ = select.select([self.descriptor], [], [], 10)
            assert ready, f"only {data!r} arrived"
            data += os.read(self.descriptor, 65536)
        return data.decode().splitlines()


@contextmanager
def access_log(
    form: Literal["json", "text"] = "json",
    fields: dict[str, Any] | None = None,
    most_waiting: int = 1_000_000,
) -> Iterator[tuple[AccessLog, Reader]]:
    reading, writing = os.pipe()
    config = Log(accesslog=AccessLogConfig(format=form), fields=fields or {})
    log = AccessLog(config, descriptor=writing, clock=lambda: NOON, most_waiting=most_waiting)
    try:
        yield log, Reader(reading)
    finally:
        log.close()
        os.close(writing)
        os.close(reading)


def test_ecs() -> None:
    with access_log(fields={"service": "registry", "password": "x"}) as (log, reader):
        log.access(ENTRY)
        log.flush()
        (line,) = reader.lines(1)
    assert json.loads(line) == {
        "@timestamp": "2026-05-28T20:26:40.250Z",
        "log.level": "info",
        "message": "request",
        "client.address": "10.1.2.3",
        "http.request.method": "GET",
        "url.path": "/v2/library/debian/manifests/12",
        "url.query": "ns=docker.io",
        "http.response.status_code": 200,
        "event.duration": 1_200_000,
        "http.request.body.bytes": 0,
        "http.response.body.bytes": 1500,
        "event.outcome": "success",
        "http.version": "1.1",
        "http.request.id": "r1",
        "user.name": "alice",
        "user_agent.original": "docker/28.1.0",
        "ecs.version": "8.11.0",
        "service.name": "entrepot",
        "event.dataset": "entrepot.access",
        "labels.service": "registry",
        "labels.password": "***",
    }


def test_combined() -> None:
    """Apache's combined form, as registry:2 writes it."""
    with access_log("text") as (log, reader):
        log.access(ENTRY)
        log.access(Access(client="::1", method="PUT", path='/v2/"x\\', status=404, seconds=1))
        log.flush()
        lines = reader.lines(2)
    assert lines == [
        (
            "10.1.2.3 - alice [28/May/2026:20:26:40 +0000] "
            '"GET /v2/library/debian/manifests/12?ns=docker.io HTTP/1.1" 200 1500 '
            '"" "docker/28.1.0"'
        ),
        '::1 - - [28/May/2026:20:26:40 +0000] "PUT /v2/\\"x\\\\ HTTP/1.1" 404 0 "" ""',
    ]


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_masked(form: Literal["json", "text"]) -> None:
    with access_log(form) as (log, reader):
        log.access(
            msgspec.structs.replace(
                ENTRY, query="_state=secret1&n=1", referer="https://a:secret2@host/?token=secret3"
            )
        )
        log.flush()
        (line,) = reader.lines(1)
    assert "secret" not in line
    assert "n=1" in line


TEXTS = st.text(alphabet=st.characters(codec=None), max_size=400)


@pytest.mark.parametrize("form", ["json", "text"])
@settings(max_examples=50)
@given(
    entries=st.lists(
        st.builds(
            Access,
            client=TEXTS,
            method=TEXTS,
            path=TEXTS.map(lambda text: text * 20),
            query=TEXTS,
            protocol=TEXTS,
            status=st.integers(100, 599),
            seconds=st.floats(0, 1000),
            request_id=TEXTS,
            user=TEXTS,
            user_agent=TEXTS,
            referer=TEXTS,
        ),
        max_size=5,
    )
)
def test_whatever_a_client_sends_is_one_line(
    form: Literal["json", "text"], entries: list[Access]
) -> None:
    """One request is one line, whole, printable, not long, whatever stands in it."""
    with access_log(form) as (log, reader):
        for entry in entries:
            log.access(entry)
        log.flush()
        lines = reader.lines(len(entries)) if entries else []
    assert len(lines) == len(entries)
    assert all(line.isprintable() and len(line) < 8192 for line in lines)
    if form == "json":
        assert [json.loads(line)["http.response.status_code"] for line in lines] == [
            entry.status for entry in entries
        ]


def test_lines_arrive_by_themselves() -> None:
    """Nobody has to flush: lines are written within a second."""
    with access_log() as (log, reader):
        log.access(ENTRY)
        assert len(reader.lines(1)) == 1


def test_close_writes_what_waits_and_later_lines() -> None:
    with access_log() as (log, reader):
        log.access(ENTRY)
        log.close()
        log.access(ENTRY)
        assert len(reader.lines(2)) == 2


def test_many_threads_write_whole_lines() -> None:
    with access_log() as (log, reader):

        def serve() -> None:
            for _ in range(200):
                log.access(ENTRY)

        threads = [threading.Thread(target=serve) for _ in range(4)]
        for thread in threads:
            thread.start()
        lines = reader.lines(800)
        for thread in threads:
            thread.join()
    assert len(lines) == 800
    assert all(json.loads(line)["user.name"] == "alice" for line in lines)


def test_a_write_is_no_longer_than_a_pipe_takes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the lines of several processes on one pipe never mix."""
    sizes = []
    write = os.write

    def note(descriptor: int, data: bytes) -> int:
        sizes.append(len(data))
        assert data.endswith(b"\n")
        return write(descriptor, data)

    with access_log() as (log, reader):
        monkeypatch.setattr("entrepot.telemetry.accesslog.os.write", note)
        for _ in range(50):
            log.access(ENTRY)
        log.flush()
        assert len(reader.lines(50)) == 50
    assert max(sizes) <= select.PIPE_BUF
    assert len(sizes) < 50


def test_a_reader_that_stops_holds_up_nobody() -> None:
    """With a full pipe lines are given up, not requests, and memory stays bounded."""
    with access_log(most_waiting=100_000) as (log, reader):
        for _ in range(2000):
            log.access(ENTRY)
        assert log._waiting_bytes < 200_000
        arrived = len(reader.lines(100))
        while select.select([reader.descriptor], [], [], 1.5)[0]:
            arrived += os.read(reader.descriptor, 65536).count(b"\n")
    assert arrived < 2000


def test_a_reader_that_is_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = AccessLog(Log(), descriptor=writing)
    log.access(ENTRY)
    log.flush()
    log.close()
    os.close(writing)


def test_terminal_shows_each_line_at_once() -> None:
    """On a terminal a line does not wait for others."""
    controller, terminal = os.openpty()
    log = AccessLog(Log(accesslog=AccessLogConfig(format="text")), descriptor=terminal)
    try:
        assert log._write_at == 0
        log.access(ENTRY)
        assert re.match(rb"10\.1\.2\.3 - alice", os.read(controller, 4096))
    finally:
        log.close()
        os.close(terminal)
        os.close(controller)
