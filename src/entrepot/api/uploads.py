"""Uploads over HTTP (distribution-spec 1.1.1, end-4, end-5, end-6, end-11, end-13 and end-14)."""

from collections.abc import AsyncIterator
from typing import NoReturn
from uuid import UUID

from entrepot.api.context import Context
from entrepot.api.http import Headers, Request, Response, empty_response
from entrepot.core.access import Action
from entrepot.core.digest import ALGORITHMS, Digest
from entrepot.core.errors import (
    BlobUploadInvalidError,
    BlobUploadUnknownError,
    DigestInvalidError,
    NameInvalidError,
    RangeInvalidError,
)
from entrepot.core.names import RepositoryName
from entrepot.core.ranges import chunk_range
from entrepot.core.upload_state import UploadState
from entrepot.services.mounting import find_source
from entrepot.services.uploads import Part, held_range


async def post_upload(context: Context, request: Request, name: str) -> Response:
    """Begin an upload; or mount a blob; or take a whole blob in this one request."""
    repository = RepositoryName.parse(name)
    mounted = await _mount(context, request, repository)
    if mounted is not None:
        return _created(context, request, name, mounted)
    algorithm = request.parameter("digest-algorithm")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise DigestInvalidError({"algorithm": algorithm[:64], "supported": list(ALGORITHMS)})
    given = request.parameter("digest")
    if given is None:
        await context.uploads.check(repository)
    state = context.uploads.begin(repository)
    context.metrics.upload_started()
    if given is not None:
        digest = Digest.parse(given)
        if request.content_length != 0 or digest == Digest.of(b"", algorithm=digest.algorithm):
            await _finish(context, request, state, digest)
            return _created(context, request, name, digest)
    return empty_response(202, _where(context, request, state))


async def _mount(context: Context, request: Request, repository: RepositoryName) -> Digest | None:
    """Mount what the request asks for; whatever stands against it, an upload begins instead."""
    mount = request.parameter("mount")
    if mount is None:
        return None
    source = request.parameter("from")
    try:
        digest = Digest.parse(mount)
        origin = RepositoryName.parse(source) if source else None
    except (DigestInvalidError, NameInvalidError):
        return None
    visible = await context.access.visible(request.identity, Action.PULL)
    if visible is not None:
        if origin is None:
            origin = await find_source(context.stores, visible, digest, near=repository)
        if origin is None or not visible.shows(origin):
            return None
    caller = request.caller
    if not await context.uploads.mount(repository, digest, source=origin, by=caller):
        return None
    context.metrics.upload_finished("mounted")
    return digest


async def get_upload(context: Context, request: Request, name: str, upload: str) -> Response:
    """Say how much of an upload the registry holds."""
    state, _ = await _find(context, request, name, upload)
    await context.uploads.check_going_on(state)
    return Response(204, _where(context, request, state))


async def patch_upload(context: Context, request: Request, name: str, upload: str) -> Response:
    """Add a chunk, or a stream of any length, to an upload."""
    state, told = await _find(context, request, name, upload)
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if kind not in {"", "application/octet-stream"}:
        raise BlobUploadInvalidError({"content-type": kind[:128], "expected": "octet-stream"})
    try:
        state = await context.uploads.append(state, _part(request, told))
    except RangeInvalidError as error:
        _refuse(context, request, state, error)
    finally:
        context.metrics.blob_bytes("in", request.received)
    return empty_response(202, _where(context, request, state))


async def put_upload(context: Context, request: Request, name: str, upload: str) -> Response:
    """Finish an upload, with its last bytes if there are any."""
    state, told = await _find(context, request, name, upload)
    given = request.parameter("digest")
    if given is None:
        raise DigestInvalidError({"reason": "the parameter digest is missing"})
    digest = Digest.parse(given)
    await _finish(context, request, state, digest, told)
    return _created(context, request, name, digest)


async def delete_upload(context: Context, request: Request, name: str, upload: str) -> Response:
    """Cancel an upload."""
    state, _ = await _find(context, request, name, upload)
    await context.uploads.cancel(state)
    context.metrics.upload_finished("cancelled")
    return Response(204, [(b"docker-upload-uuid", str(state.upload).encode())])


async def _finish(
    context: Context,
    request: Request,
    state: UploadState,
    digest: Digest,
    told: int | None = None,
) -> None:
    try:
        await context.uploads.finish(state, _part(request, told), digest, by=request.caller)
    except RangeInvalidError as error:
        _refuse(context, request, state, error)
    except DigestInvalidError:
        context.metrics.upload_finished("failed")
        raise
    finally:
        context.metrics.blob_bytes("in", request.received)
    context.metrics.upload_finished("completed")


async def _find(
    context: Context, request: Request, name: str, upload: str
) -> tuple[UploadState, int | None]:
    """Find an upload; the second value is where it ends by the address, if that tells."""
    try:
        known = UUID(upload)
    except ValueError:
        raise BlobUploadUnknownError({"upload": upload[:64]}) from None
    repository = RepositoryName.parse(name)
    signed = request.parameter("_state")
    if signed is None and context.access.enabled:
        # The state alone says for which repository the upload was begun.
        raise BlobUploadUnknownError({"upload": str(known)})
    return await context.uploads.find(repository, known, signed=signed)


def _part(request: Request, told: int | None) -> Part:
    """Return what a request sends. Bytes without a range belong where the address says: an earlier
    request that is late must not add its own to what came instead.
    """
    body: AsyncIterator[bytes] = request.body()
    position = chunk_range(request.header(b"content-range"))
    length = request.content_length
    return Part(body, position, length, begin=None if length == 0 else told)


def _location(context: Context, request: Request, state: UploadState) -> bytes:
    """Return the address under which an upload goes on, which carries its state."""
    path = f"/v2/{state.name}/blobs/uploads/{state.upload}?_state={context.uploads.sign(state)}"
    return context.links.to(request, path)


def _where(context: Context, request: Request, state: UploadState) -> Headers:
    """Return the headers that tell where an upload goes on, and how much of it is held."""
    return [
        (b"location", _location(context, request, state)),
        (b"range", held_range(state.offset).encode()),
        (b"docker-upload-uuid", str(state.upload).encode()),
    ]


def _refuse(
    context: Context, request: Request, state: UploadState, error: RangeInvalidError
) -> NoReturn:
    """Refuse a chunk, and tell where the upload does go on."""
    error.headers["Location"] = _location(context, request, state).decode()
    raise error


def _created(context: Context, request: Request, name: str, digest: Digest) -> Response:
    headers = [
        (b"location", context.links.to(request, f"/v2/{name}/blobs/{digest}")),
        (b"docker-content-digest", digest.encode()),
    ]
    return empty_response(201, headers)
