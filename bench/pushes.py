"""The workloads that write. All content is new to the server; making it is not timed."""

from __future__ import annotations

from collections.abc import Callable

from bench.clients import Connection
from bench.content import (
    OCTETS,
    frame,
    make_blob,
    make_image,
    push_blob,
    push_image,
    with_digest,
)
from bench.loads import Prepare, time_one_by_one, time_together
from bench.measure import MIB, Sample
from bench.servers import Server
from bench.settings import Settings

_CLIENTS = 4
_IMAGES_PER_CLIENT = 50
_CHUNK = MIB


def _repeated(
    server: Server, prepare: Callable[[Connection], Callable[[], None]], *, times: int, size: int
) -> Sample:
    """Warm up with a small push, then run on the same connection; rate in MiB/s, CPU per MiB."""
    with server.connect() as connection:
        push_blob(connection, "bench/warm-up", make_blob(16 * MIB))
        return time_one_by_one(server, lambda: prepare(connection), times=times, each=size / MIB)


def push_large(server: Server, settings: Settings) -> Sample:
    """256 MiB by POST and PUT."""
    size = 256 * MIB

    def prepare(connection: Connection) -> Callable[[], None]:
        blob = make_blob(size)
        return lambda: push_blob(connection, f"bench/large-{settings.round}", blob)

    return _repeated(server, prepare, times=settings.times(3), size=size)


def push_streamed(server: Server, settings: Settings) -> Sample:
    """64 MiB by POST, one PATCH in chunked transfer coding, and PUT, as docker pushes."""
    size = 64 * MIB
    repository = f"bench/streamed-{settings.round}"

    def prepare(connection: Connection) -> Callable[[], None]:
        blob = make_blob(size)
        framed = frame(blob.body)

        def push() -> None:
            started = connection.request("POST", f"/v2/{repository}/blobs/uploads/").expect(202)
            sent = connection.request_framed("PATCH", started.location, framed).expect(202)
            finish = with_digest(sent.location, blob.digest)
            connection.request("PUT", finish, OCTETS).expect(201)

        return push

    return _repeated(server, prepare, times=settings.times(8), size=size)


def push_chunks(server: Server, settings: Settings) -> Sample:
    """16 MiB by POST, sixteen PATCHes of 1 MiB with Content-Range, and PUT."""
    size = 16 * _CHUNK
    repository = f"bench/chunks-{settings.round}"

    def prepare(connection: Connection) -> Callable[[], None]:
        blob = make_blob(size)
        chunks = [
            (f"{OCTETS}Content-Range: {start}-{start + _CHUNK - 1}\r\n", blob.body[start:][:_CHUNK])
            for start in range(0, size, _CHUNK)
        ]

        def push() -> None:
            answer = connection.request("POST", f"/v2/{repository}/blobs/uploads/").expect(202)
            for headers, chunk in chunks:
                answer = connection.request("PATCH", answer.location, headers, chunk).expect(202)
            finish = with_digest(answer.location, blob.digest)
            connection.request("PUT", finish, OCTETS).expect(201)

        return push

    return _repeated(server, prepare, times=settings.times(12), size=size)


def push_images(server: Server, settings: Settings) -> Sample:
    """Images of three 2 KiB layers and a config from 4 clients, a connection each; images/s."""
    count = settings.times(_IMAGES_PER_CLIENT)

    def client(number: int) -> Prepare:
        def prepare() -> Callable[[], None]:
            repository = f"bench/images-{settings.round}-{number}"
            images = [make_image(f"t{index}") for index in range(count)]
            connection = server.connect()
            push_image(connection, repository, make_image("warm-up"))

            def push() -> None:
                for image in images:
                    push_image(connection, repository, image)

            return push

        return prepare

    clients = [client(number) for number in range(_CLIENTS)]
    return time_together(server, clients, operations=count * _CLIENTS)
