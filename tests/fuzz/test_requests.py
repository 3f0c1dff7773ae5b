"""A bounded fuzz run over every route and method, and requests broken in every way by hand.

Whatever is sent: no answer is a 500, none shows a traceback, errors below /v2/ are JSON as
specified, no file outside of the storage root is touched (the fixture compares), and after each
batch every worker still answers.
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from entrepot.api.routes import TABLE
from tests.conformance.answers import assert_error, assert_status
from tests.conformance.pushing import push_blob, start_upload
from tests.fuzz.bounds import BATCH, ROUNDS, SEED
from tests.fuzz.nonsense import (
    BODIES,
    ESCAPES,
    HEADERS,
    METHODS,
    ODDITIES,
    QUERIES,
    TEMPLATES,
    a_path,
    fields_of,
    some_headers,
)
from tests.fuzz.raw import (
    PATIENCE_SECONDS,
    Answer,
    Headers,
    Request,
    Target,
    assert_alive,
    assert_decent,
    break_off,
    exchange,
    hang_up,
    say,
)
from tests.wire.images import EMPTY, OCI_MANIFEST, digest_of

REPO = "fuzz/requests"


@pytest.fixture(autouse=True)
def alive_afterwards(target: Target) -> Iterator[None]:
    """After each test every worker answers."""
    yield
    assert_alive(target)


def send(target: Target, request: Request) -> Answer:
    """One exchange whose answer must be decent."""
    answer = exchange(target, request)
    assert_decent(request, answer)
    return answer


@pytest.mark.parametrize("round_", range(ROUNDS))
def test_any_request(target: Target, round_: int) -> None:
    """Routes, methods, references, queries, headers and bodies, combined at random."""
    dice = random.Random(f"{SEED} {round_}")
    for _ in range(BATCH):
        send(
            target,
            Request(
                dice.choice(METHODS) if dice.random() < 0.3 else dice.choice(METHODS[:6]),
                a_path(dice),
                some_headers(dice),
                dice.choice(BODIES),
            ),
        )


def test_the_run_knows_every_route() -> None:
    """A method that is new to the registry is added to the run; paths are taken from the table."""
    assert {route.method.encode() for route in TABLE} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_every_route_with_every_method(target: Target, method: bytes) -> None:
    """Each route as it is meant, with and without a body."""
    for template in TEMPLATES:
        path = template.replace(b"{name}", REPO.encode()).replace(b"{reference}", b"latest")
        path = path.replace(b"{digest}", EMPTY.digest.encode()).replace(b"{upload}", b"unknown")
        path = re.sub(rb"\{\w+\}", b"unknown", path)
        for body in (b"", b"{}"):
            send(target, Request(method, path, (), body))


@pytest.mark.parametrize("template", [t for t in TEMPLATES if b"{" in t])
def test_every_odd_part_of_every_route(target: Target, template: bytes) -> None:
    """Each odd or escaping text in each place of each route, read and written."""
    for odd in (*ODDITIES, *ESCAPES):
        for part in fields_of(template):
            path = template.replace(part, odd).replace(b"{name}", REPO.encode())
            path = path.replace(b"{reference}", b"latest").replace(b"{upload}", b"unknown")
            path = path.replace(b"{digest}", EMPTY.digest.encode())
            path = re.sub(rb"\{\w+\}", b"unknown", path)
            for method in (b"GET", b"PUT", b"POST", b"DELETE"):
                answer = send(target, Request(method, path))
                assert b"nobody may read" not in answer.body
                assert b"root:" not in answer.body


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_query_of_every_route(target: Target, template: bytes) -> None:
    """Each odd query at each route."""
    path = template.replace(b"{name}", REPO.encode()).replace(b"{reference}", b"latest")
    path = path.replace(b"{digest}", EMPTY.digest.encode()).replace(b"{upload}", b"unknown")
    for query in QUERIES:
        for method in (b"GET", b"POST", b"PUT"):
            send(target, Request(method, path + query))


@pytest.mark.parametrize("header", HEADERS, ids=lambda h: h[0].decode())
def test_every_header_of_every_method(target: Target, header: tuple[bytes, bytes]) -> None:
    """Each odd header with requests that succeed otherwise."""
    repo = REPO.encode()
    digest = EMPTY.digest.encode()
    for method, path, body in (
        (b"GET", b"/v2/", b""),
        (b"POST", b"/v2/%s/blobs/uploads/" % repo, b""),
        (b"POST", b"/v2/%s/blobs/uploads/?digest=%s" % (repo, digest), EMPTY.data),
        (b"GET", b"/v2/%s/blobs/%s" % (repo, digest), b""),
        (b"PUT", b"/v2/%s/manifests/latest" % repo, b"{}"),
        (b"GET", b"/v2/%s/manifests/latest" % repo, b""),
        (b"GET", b"/metrics", b""),
    ):
        answer = send(target, Request(method, path, [header], body))
        assert not any("\r" in value or "\n" in value for _, value in answer.headers)


FRAMINGS: dict[str, tuple[Headers, bytes]] = {
    "length-negative": ([(b"Content-Length", b"-1")], b""),
    "length-float": ([(b"Content-Length", b"1.5")], b"ab"),
    "length-hex": ([(b"Content-Length", b"0x2")], b"ab"),
    "length-plus": ([(b"Content-Length", b"+2")], b"ab"),
    "length-huge": ([(b"Content-Length", b"9" * 40)], b""),
    "length-empty": ([(b"Content-Length", b"")], b""),
    "length-list": ([(b"Content-Length", b"2, 2")], b"ab"),
    "lengths-differ": ([(b"Content-Length", b"2"), (b"Content-Length", b"3")], b"abc"),
    "length-and-chunked": (
        [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")],
        b"3\r\nabc\r\n0\r\n\r\n",
    ),
    "coding-unknown": ([(b"Transfer-Encoding", b"nonsense")], b""),
    "coding-gzip": ([(b"Transfer-Encoding", b"gzip, chunked")], b"0\r\n\r\n"),
    "coding-twice": ([(b"Transfer-Encoding", b"chunked, chunked")], b"0\r\n\r\n"),
    "coding-spaced": ([(b"Transfer-Encoding ", b"chunked")], b"0\r\n\r\n"),
    "chunk-no-number": ([(b"Transfer-Encoding", b"chunked")], b"xyz\r\nabc\r\n0\r\n\r\n"),
    "chunk-negative": ([(b"Transfer-Encoding", b"chunked")], b"-1\r\n\r\n0\r\n\r\n"),
    "chunk-huge": ([(b"Transfer-Encoding", b"chunked")], b"f" * 30 + b"\r\nabc\r\n"),
    "chunk-too-long": ([(b"Transfer-Encoding", b"chunked")], b"2\r\nabcdef\r\n0\r\n\r\n"),
    "chunk-no-crlf": ([(b"Transfer-Encoding", b"chunked")], b"3\nabc\n0\n\n"),
    "chunk-extension": (
        [(b"Transfer-Encoding", b"chunked")],
        b"3;" + b"e" * 20_000 + b"\r\nabc\r\n0\r\n\r\n",
    ),
    "trailers": (
        [(b"Transfer-Encoding", b"chunked")],
        b"3\r\nabc\r\n0\r\nX: y\r\nContent-Length: 9\r\n\r\n",
    ),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_framing(target: Target, http: httpx.Client, name: str) -> None:
    """Lengths and chunks that contradict HTTP, at every route that takes a body."""
    headers, body = FRAMINGS[name]
    upload = start_upload(http, REPO).removeprefix(target.url).encode()
    for method, path in (
        (b"PUT", b"/v2/fuzz/requests/manifests/latest"),
        (b"POST", b"/v2/fuzz/requests/blobs/uploads/?digest=" + digest_of(b"abc").encode()),
        (b"PATCH", upload),
        (b"PUT", upload + b"&digest=" + digest_of(b"abc").encode()),
        (b"GET", b"/v2/"),
    ):
        request = Request(method, path, headers, body)
        assert_decent(request, break_off(target, request))


@pytest.mark.parametrize("sent", [0, 1, 1000, 100_000])
@pytest.mark.parametrize("ending", ["break-off", "hang-up"])
def test_truncated_body(target: Target, http: httpx.Client, sent: int, ending: str) -> None:
    """Less than promised: nothing is stored under the promised digest, and nobody waits."""
    promised = random.Random(sent).randbytes(200_000)
    digest = digest_of(promised).encode()
    upload = start_upload(http, REPO).removeprefix(target.url).encode()
    headers = [(b"Content-Length", b"200000"), (b"Content-Type", OCI_MANIFEST.encode())]
    for method, path in (
        (b"PUT", b"/v2/fuzz/requests/manifests/" + digest),
        (b"POST", b"/v2/fuzz/requests/blobs/uploads/?digest=" + digest),
        (b"PATCH", upload),
        (b"PUT", upload + b"&digest=" + digest),
    ):
        request = Request(method, path, headers, promised[:sent])
        if ending == "hang-up":
            hang_up(target, request)
        else:
            assert_decent(request, break_off(target, request))
    for kind in ("blobs", "manifests"):
        assert_error(http.get(f"/v2/{REPO}/{kind}/{digest.decode()}"), 404)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_oversized_body(target: Target, framing: str) -> None:
    """Bodies far too large where only small ones are meant are refused, or not read."""
    size = 16 << 20
    if framing == "length":
        headers, body = [(b"Content-Length", b"%d" % size)], b"x" * size
    else:
        headers = [(b"Transfer-Encoding", b"chunked")]
        body = (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 16 + b"0\r\n\r\n"
    for method, path in (
        (b"PUT", b"/v2/fuzz/requests/manifests/latest"),
        (b"GET", b"/v2/"),
        (b"DELETE", b"/v2/fuzz/requests/manifests/latest"),
        (b"POST", b"/v2/fuzz/requests/tags/list"),
        (b"PUT", b"/v2/fuzz/requests/blobs/uploads/unknown"),
    ):
        send(target, Request(method, path, headers, body))


LINES: dict[str, bytes] = {
    "nothing": b"\r\n\r\n",
    "noise": bytes(range(256)) * 4,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
    "http2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "http09": b"GET /v2/\r\n\r\n",
    "http10": b"GET /v2/ HTTP/1.0\r\n\r\n",
    "http11-without-host": b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n",
    "http3": b"GET /v2/ HTTP/3.7\r\nHost: x\r\n\r\n",
    "no-version": b"GET /v2/ \r\nHost: x\r\n\r\n",
    "bare-newlines": b"GET /v2/ HTTP/1.1\nHost: x\nConnection: close\n\n",
    "absolute": b"GET http://evil.example/v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "authority": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "relative": b"GET v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "nul": b"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "folded": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: a\r\n b\r\n\r\n",
    "no-colon": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "nul-in-header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\nConnection: close\r\n\r\n",
    "empty-name": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n: x\r\nConnection: close\r\n\r\n",
    "two-hosts": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n",
    "long-path": b"GET /v2/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long-header": b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many-headers": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "unfinished": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n",
    "pipelined": b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
}


@pytest.mark.parametrize("name", LINES)
def test_request_by_hand(target: Target, name: str) -> None:
    """What is hardly HTTP, or none."""
    assert_decent(Request(b"GET", b"/v2/"), say(target, LINES[name]))


SMUGGLED = b"GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n" * 100


@pytest.mark.parametrize("size", [len(SMUGGLED), 8 << 20])
@pytest.mark.parametrize(
    "method, path",
    [
        ("PUT", "/v2/fuzz/requests/manifests/latest"),
        ("PUT", "/v2/fuzz/requests/manifests/.bad"),
        ("PUT", "/v2/UPPER/manifests/latest"),
        ("PUT", "/v2/fuzz/requests/blobs/uploads/unknown?digest=sha256:0"),
        ("PATCH", "/v2/fuzz/requests/blobs/uploads/unknown"),
        ("POST", "/v2/fuzz/requests/blobs/uploads/?digest=nonsense"),
        ("POST", "/v2/fuzz/requests/blobs/uploads/?mount=sha256:0&from=x"),
        ("POST", "/v2/fuzz/requests/tags/list"),
        ("DELETE", "/v2/fuzz/requests/manifests/nothing"),
        ("GET", "/v2/"),
        ("PUT", "/nowhere"),
    ],
)
def test_unread_body_is_no_request(target: Target, method: str, path: str, size: int) -> None:
    """The connection goes on with the next request, or ends: never with the refused body."""
    body = (SMUGGLED * (size // len(SMUGGLED) + 1))[:size]
    connection = http.client.HTTPConnection(target.host, target.port, timeout=PATIENCE_SECONDS)
    try:
        with suppress(ConnectionError):  # refused and closed while we were still sending
            connection.request(method, path, body)
        with suppress(ConnectionError):
            assert b"repositories" not in connection.getresponse().read()
        try:
            connection.request("GET", "/v2/")
            again = connection.getresponse()
        except ConnectionError:
            return
        assert (again.status, again.read()) == (200, b"{}")
    finally:
        connection.close()


def test_idle_connections(target: Target, http: httpx.Client) -> None:
    """Connections that send nothing, half a head or half a body keep no worker from its work."""
    upload = start_upload(http, REPO).removeprefix(target.url).encode()
    beginnings = (
        b"",
        b"GET /v2/ HT",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"PATCH " + upload + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc",
        b"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    )
    with ExitStack() as open_connections:
        for number in range(200):
            connection = socket.create_connection((target.host, target.port), PATIENCE_SECONDS)
            open_connections.enter_context(connection)
            connection.sendall(beginnings[number % len(beginnings)])
        assert_alive(target)


def test_nothing_is_reflected_into_headers(target: Target) -> None:
    """A line break in a path or query can't make a header of its own."""
    for path in (
        b"/v2/fuzz/requests/blobs/uploads/?mount=sha256:x%0d%0aX-Injected:%20yes",
        b"/v2/fuzz%0d%0aX-Injected:%20yes/blobs/uploads/",
        b"/v2/fuzz/requests/tags/list?last=%0d%0aX-Injected:%20yes&n=1",
        b"/v2/_catalog?last=%0d%0aX-Injected:%20yes&n=1",
    ):
        for method in (b"GET", b"POST"):
            answer = send(target, Request(method, path))
            assert all(name.lower() != "x-injected" for name, _ in answer.headers)


def test_many_at_once(target: Target) -> None:
    """Several connections with nonsense at the same time."""
    faults: list[BaseException] = []

    def attack(number: int) -> None:
        dice = random.Random(f"{SEED} thread {number}")
        try:
            for _ in range(60):
                headers, body = some_headers(dice), dice.choice(BODIES)
                send(target, Request(dice.choice(METHODS[:6]), a_path(dice), headers, body))
        except BaseException as fault:  # noqa: BLE001 - told to the main thread
            faults.append(fault)

    threads = [threading.Thread(target=attack, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[0]


def test_content_is_unharmed(target: Target, http: httpx.Client) -> None:
    """After all of this the registry still does its work."""
    push_blob(http, REPO, EMPTY)
    response = http.get(f"/v2/{REPO}/blobs/{EMPTY.digest}")
    assert_status(response, 200)
    assert response.content == EMPTY.data
    catalog = http.get("/v2/_catalog?n=1000").json()["repositories"]
    assert all(re.fullmatch(r"[a-z0-9._/-]+", name) for name in catalog)
