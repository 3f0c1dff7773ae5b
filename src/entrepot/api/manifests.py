"""Manifests over HTTP (distribution-spec 1.1.1, end-3, end-7 and end-9)."""

from functools import lru_cache

from entrepot.api.conditions import not_modified, unchanged
from entrepot.api.context import Context
from entrepot.api.http import Headers, Request, Response, empty_response
from entrepot.core.audit import event
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    ManifestTooLargeError,
    ManifestUnknownError,
    SizeInvalidError,
    TagInvalidError,
    TooManyTagsError,
)
from entrepot.core.names import RepositoryName, Tag, parse_reference
from entrepot.services import delete, pull, push

MAX_TAGS = 64
"""Tags in one push; the specification asks for ten at least."""


async def get_manifest(context: Context, request: Request, name: str, reference: str) -> Response:
    """Give a manifest by tag or digest."""
    repository = RepositoryName.parse(name)
    try:
        wanted = parse_reference(reference)
    except TagInvalidError:
        raise ManifestUnknownError({"name": name, "reference": reference[:256]}) from None
    accept = request.header(b"accept")
    pulls = int(request.method == "GET")
    found = await pull.resolve(
        context.stores, repository, wanted, accept=accept, pulls=pulls, as_of=request.as_of
    )
    headers = _headers(found.digest, found.media_type, len(found.payload))
    if unchanged(request, found.digest):
        return not_modified(headers)
    if context.stores.trail.pulls and pulls:
        told = event(
            "manifest.pull",
            repository=repository,
            tag=wanted if isinstance(wanted, Tag) else "",
            digest=found.digest,
        )
        context.stores.trail.note(told, by=request.caller)
    return Response(200, headers, found.payload)


@lru_cache(maxsize=4096)
def _headers(digest: Digest, media_type: str, size: int) -> Headers:
    """Return what answers with a manifest say of it; not to be changed."""
    encoded = digest.encode()
    return [
        (b"content-type", media_type.encode()),
        (b"content-length", b"%d" % size),
        (b"docker-content-digest", encoded),
        (b"etag", b'"%b"' % encoded),
    ]


async def put_manifest(context: Context, request: Request, name: str, reference: str) -> Response:
    """Store a manifest under a tag, or under its digest and any number of `tag` parameters."""
    repository = RepositoryName.parse(name)
    wanted = parse_reference(reference)
    tags = () if isinstance(wanted, Tag) else _tags(request)
    pushed = push.PushedManifest(
        name=repository,
        reference=wanted,
        payload=await _payload(context, request),
        content_type=request.header(b"content-type"),
        tags=tags,
        actor=request.caller,
    )
    stored = await push.put_manifest(context.stores, pushed, rules=context.rules)
    digest, manifest = stored.digest, stored.manifest
    headers = [
        (b"location", context.links.to(request, f"/v2/{name}/manifests/{digest}")),
        (b"docker-content-digest", digest.encode()),
    ]
    if manifest.subject is not None:
        headers.append((b"oci-subject", manifest.subject.encode()))
    headers += [(b"oci-tag", tag.encode()) for tag in tags]
    headers += [(b"warning", f'299 - "{text}"'.encode()) for text in stored.warnings]
    return empty_response(201, headers)


def _tags(request: Request) -> tuple[Tag, ...]:
    given = request.query.get("tag", [])
    if len(given) > MAX_TAGS:
        raise TooManyTagsError({"tags": len(given), "most": MAX_TAGS})
    return tuple(dict.fromkeys(Tag.parse(tag) for tag in given))


async def _payload(context: Context, request: Request) -> bytes:
    """Read the body, in memory, up to the limit for manifests."""
    most = context.limits.manifest
    length = request.content_length
    if length is not None and length > most:
        raise ManifestTooLargeError({"bytes": length, "most": most})
    payload = bytearray()
    async for data in request.body():
        payload += data
        if len(payload) > most:
            raise ManifestTooLargeError({"most": most})
    if length is not None and len(payload) != length:
        raise SizeInvalidError({"announced": length, "received": len(payload)})
    return bytes(payload)


async def delete_manifest(
    context: Context, request: Request, name: str, reference: str
) -> Response:
    """Delete a tag alone, or a manifest by digest with all its tags."""
    repository = RepositoryName.parse(name)
    wanted = parse_reference(reference)
    await delete.delete_reference(context.stores, repository, wanted, by=request.caller)
    return empty_response(202, [])
