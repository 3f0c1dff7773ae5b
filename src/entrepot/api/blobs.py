"""Blobs over HTTP (distribution-spec 1.1.1, end-2 and end-10)."""

from collections.abc import AsyncIterator
from typing import Final

from entrepot.api.conditions import not_modified, range_applies, unchanged
from entrepot.api.context import Context
from entrepot.api.http import Headers, Request, Response, empty_response
from entrepot.core.digest import Digest
from entrepot.core.errors import BlobDamagedError, BlobUnknownError
from entrepot.core.names import RepositoryName
from entrepot.core.ranges import ByteRange, requested_range
from entrepot.services import delete, pull
from entrepot.storage import BlobReader

PIECE: Final = 1_048_576
"""Bytes that are read and sent at once; smaller blobs go in one piece."""


_RANGES: Final = (b"accept-ranges", b"bytes")


def _headers(digest: Digest) -> Headers:
    encoded = digest.encode()
    return [
        (b"content-type", b"application/octet-stream"),
        (b"docker-content-digest", encoded),
        (b"etag", b'"%b"' % encoded),
        (b"cache-control", b"max-age=31536000"),
        _RANGES,
    ]


async def head_blob(context: Context, request: Request, name: str, digest: str) -> Response:
    """Say whether the repository has a blob, and its size."""
    wanted = Digest.parse(digest)
    try:
        repository = RepositoryName.parse(name)
        size = await pull.blob_size(context.stores, repository, wanted, as_of=request.as_of)
    except BlobDamagedError as error:
        # Clients ask this before they push: so they send the blob again, which repairs it.
        raise BlobUnknownError(error.detail) from error
    headers = _headers(wanted)
    if unchanged(request, wanted):
        return not_modified(headers)
    return Response(200, [*headers, (b"content-length", b"%d" % size)])


async def get_blob(context: Context, request: Request, name: str, digest: str) -> Response:
    """Give a blob, or a part of it."""
    wanted = Digest.parse(digest)
    repository = RepositoryName.parse(name)
    headers = _headers(wanted)
    path = context.stores.blobs.path(wanted) if context.accelerate else None
    if path is not None:
        await pull.blob_size(context.stores, repository, wanted, as_of=request.as_of)
        if unchanged(request, wanted):
            return not_modified(headers)
        headers.remove(_RANGES)  # nginx says so itself
        headers.append((b"x-accel-redirect", f"{context.accelerate}{path}".encode()))
        return empty_response(200, headers)
    elsewhere = await context.stores.blobs.address(wanted)
    if elsewhere is not None:
        return await _redirect(context, request, repository, wanted, elsewhere)
    reader = await pull.open_blob(context.stores, repository, wanted, as_of=request.as_of)
    try:
        if unchanged(request, wanted):
            reader.close()
            return not_modified(headers)
        asked = request.header(b"range") if range_applies(request, wanted) else None
        part = requested_range(asked, size=reader.size)
        return await _content(reader, headers, part)
    except BaseException:
        reader.close()
        raise


async def _redirect(
    context: Context, request: Request, name: RepositoryName, digest: Digest, address: str
) -> Response:
    """Send the client to the store, which is not asked whether it has the blob."""
    await pull.blob_size(context.stores, name, digest, as_of=request.as_of)
    if unchanged(request, digest):
        return not_modified(_headers(digest))
    headers = [(b"location", address.encode()), (b"docker-content-digest", digest.encode())]
    return empty_response(307, [*headers, (b"cache-control", b"no-store")])


async def _content(reader: BlobReader, headers: Headers, part: ByteRange | None) -> Response:
    start, stop = part or (0, reader.size)
    headers.append((b"content-length", b"%d" % (stop - start)))
    if part is not None:
        headers.append((b"content-range", f"bytes {part}/{reader.size}".encode()))
    status = 200 if part is None else 206
    if stop - start <= PIECE:
        data = await reader.read(start, stop - start)
        reader.close()
        return Response(status, headers, data)
    return Response(status, headers, _pieces(reader, start, stop))


async def _pieces(reader: BlobReader, start: int, stop: int) -> AsyncIterator[bytes]:
    try:
        while start < stop:
            data = await reader.read(start, min(PIECE, stop - start))
            if not data:
                return
            start += len(data)
            yield data
    finally:
        reader.close()


async def delete_blob(context: Context, request: Request, name: str, digest: str) -> Response:
    """Stop the repository from serving a blob."""
    repository = RepositoryName.parse(name)
    parsed = Digest.parse(digest)
    await delete.delete_blob(context.stores, repository, parsed, by=request.caller)
    return empty_response(202, [])
