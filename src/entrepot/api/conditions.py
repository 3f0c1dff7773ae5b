"""Conditional requests (RFC 9110, 13): a digest is the entity tag of what it names."""

from entrepot.api.http import Headers, Request, Response
from entrepot.core.digest import Digest


def unchanged(request: Request, digest: Digest) -> bool:
    """Whether the client said by `If-None-Match` that it has the content; quoted, weak and bare
    digests are understood, as in `registry:2`.
    """
    header = request.header(b"if-none-match")
    if header is None:
        return False
    known = (tag.strip().removeprefix("W/").strip('"') for tag in header.split(","))
    return any(tag in (digest, "*") for tag in known)


def not_modified(headers: Headers) -> Response:
    """Return 304 with what `headers` say of the content, but its length and type."""
    kept = [(k, v) for k, v in headers if k not in (b"content-length", b"content-type")]
    return Response(304, kept)


def range_applies(request: Request, digest: Digest) -> bool:
    """Whether a `Range` counts: it does unless `If-Range` names other content."""
    header = request.header(b"if-range")
    return header is None or header.strip('"') == digest
