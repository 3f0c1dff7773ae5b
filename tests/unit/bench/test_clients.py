"""The benchmark's own HTTP client and its content."""

import hashlib
import socket
import threading

import pytest

from bench.clients import Answer, Connection
from bench.content import frame, make_blob, make_image, with_digest
from bench.errors import WrongAnswerError
from bench.measure import MIB

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n"
)


def answer_once(raw: bytes) -> int:
    """Listen, answer one request of one connection with these bytes, close; return the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connected:
            connected.recv(65536)
            for start in range(0, len(raw), 7):
                connected.sendall(raw[start : start + 7])

    threading.Thread(target=serve, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world",
        CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    ],
    ids=["length", "chunked", "after 100"],
)
def test_a_body_is_read_whole_however_it_arrives(raw: bytes) -> None:
    with Connection("127.0.0.1", answer_once(raw)) as connection:
        assert connection.request("GET", "/").expect(200).body == b"hello world"


def test_downloads_count_and_hash_the_body() -> None:
    body = b"x" * 100_000
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with Connection("127.0.0.1", answer_once(raw)) as connection:
        assert connection.download("/") == len(body)
    with Connection("127.0.0.1", answer_once(raw)) as connection:
        assert connection.download_digest("/") == f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_a_truncated_download_and_a_wrong_status_are_errors() -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nshort"
    with (
        Connection("127.0.0.1", answer_once(short)) as connection,
        pytest.raises(WrongAnswerError, match="middle of a body"),
    ):
        connection.download("/")
    with pytest.raises(WrongAnswerError, match="404"):
        Answer(404, b"HTTP/1.1 404 Not Found").expect(200, 201)


@pytest.mark.parametrize("value", ["/v2/a?state=1", "http://127.0.0.1:5000/v2/a?state=1"])
def test_a_location_may_be_relative_or_absolute(value: str) -> None:
    answer = Answer(202, f"HTTP/1.1 202 Accepted\r\nlocation: {value}\r\nA: b".encode())
    assert answer.location == "/v2/a?state=1"
    assert with_digest(answer.location, "sha256:00") == "/v2/a?state=1&digest=sha256:00"


@pytest.mark.parametrize("size", [2048, 2 * MIB], ids=["small", "large"])
def test_blobs_are_new_each_time_and_their_digests_right(size: int) -> None:
    digests = set()
    for _ in range(3):
        blob = make_blob(size)
        assert len(blob.body) == blob.size == size
        assert blob.digest == f"sha256:{hashlib.sha256(blob.body).hexdigest()}"
        digests.add(blob.digest)
    assert len(digests) == 3


def test_a_framed_body_is_in_chunks_and_ends() -> None:
    assert frame(b"abcdefg", piece=3) == b"3\r\nabc\r\n3\r\ndef\r\n1\r\ng\r\n0\r\n\r\n"


def test_an_image_has_a_config_and_three_layers_that_its_manifest_names() -> None:
    image = make_image("t1")
    assert len(image.blobs) == 4
    for blob in image.blobs:
        assert blob.digest.encode() in image.manifest.body
