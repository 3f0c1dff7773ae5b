"""What is pushed and pulled: random bytes that no server has seen, and image manifests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from bench.clients import Connection
from bench.measure import MIB

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_TAIL = 64

OCTETS = "Content-Type: application/octet-stream\r\n"


@dataclass(frozen=True)
class Blob:
    """Bytes, their digest and number. A large blob's bytes change when the next like it is made."""

    digest: str
    body: bytes | memoryview
    size: int


@dataclass(frozen=True)
class Image:
    """Blobs (the config first) and the manifest that names them."""

    tag: str
    blobs: tuple[Blob, ...]
    manifest: Blob


class _LargeBlob:
    """Makes large blobs that differ in their last bytes only, so that each costs one short hash."""

    def __init__(self, size: int) -> None:
        self._bytes = bytearray(os.urandom(size))
        self._hash = hashlib.sha256(memoryview(self._bytes)[: size - _TAIL])

    def make(self) -> Blob:
        self._bytes[-_TAIL:] = os.urandom(_TAIL)
        complete = self._hash.copy()
        complete.update(memoryview(self._bytes)[-_TAIL:])
        return Blob(f"sha256:{complete.hexdigest()}", memoryview(self._bytes), len(self._bytes))


@cache
def _large(size: int) -> _LargeBlob:
    return _LargeBlob(size)


def make_blob(size: int) -> Blob:
    """A blob of `size` bytes that nobody has; from 1 MiB on it lives until the next of its size."""
    if size >= MIB:
        return _large(size).make()
    return _blob(os.urandom(size))


def _blob(body: bytes) -> Blob:
    return Blob(f"sha256:{hashlib.sha256(body).hexdigest()}", body, len(body))


def make_manifest(config: Blob, layers: Sequence[Blob]) -> Blob:
    """The OCI image manifest of a config and layers."""

    def descriptor(blob: Blob, media_type: str) -> dict[str, str | int]:
        return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}

    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(config, _CONFIG_TYPE),
            "layers": [descriptor(layer, _LAYER_TYPE) for layer in layers],
        }
    ).encode()
    return _blob(body)


def make_image(tag: str, *, layers: int = 3, layer_size: int = 2048) -> Image:
    """An image of small unique layers and a config of about the size docker makes."""
    config = make_blob(1500)
    parts = tuple(make_blob(layer_size) for _ in range(layers))
    return Image(tag, (config, *parts), make_manifest(config, parts))


def frame(body: bytes | memoryview, *, piece: int = 32768) -> bytes:
    """A body in chunked transfer coding, in the 32 KiB pieces that docker sends."""
    parts: list[bytes | memoryview] = []
    for start in range(0, len(body), piece):
        part = body[start : start + piece]
        parts += (b"%x\r\n" % len(part), part, b"\r\n")
    parts.append(b"0\r\n\r\n")
    return b"".join(parts)


def with_digest(location: str, digest: str) -> str:
    """The URL that finishes an upload."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def push_blob(connection: Connection, repository: str, blob: Blob) -> None:
    """POST, PUT."""
    started = connection.request("POST", f"/v2/{repository}/blobs/uploads/").expect(202)
    finish = with_digest(started.location, blob.digest)
    connection.request("PUT", finish, OCTETS, blob.body).expect(201)


@dataclass(frozen=True)
class RepeatedBlob:
    """A blob larger than its client: one piece over and over."""

    digest: str
    piece: bytes | memoryview
    times: int


def make_repeated_blob(piece_size: int, *, times: int) -> RepeatedBlob:
    """A blob of `times` pieces that nobody has; it lives until the next large blob of that size."""
    piece = make_blob(piece_size).body
    whole = hashlib.sha256()
    for _ in range(times):
        whole.update(piece)
    return RepeatedBlob(f"sha256:{whole.hexdigest()}", piece, times)


def push_repeated(connection: Connection, repository: str, blob: RepeatedBlob) -> None:
    """POST, PUT."""
    started = connection.request("POST", f"/v2/{repository}/blobs/uploads/").expect(202)
    finish = with_digest(started.location, blob.digest)
    pieces = [blob.piece] * blob.times
    connection.request_pieces("PUT", finish, OCTETS, pieces).expect(201)


def push_manifest(connection: Connection, repository: str, tag: str, manifest: Blob) -> None:
    """PUT a manifest under a tag."""
    path = f"/v2/{repository}/manifests/{tag}"
    headers = f"Content-Type: {MANIFEST_TYPE}\r\n"
    connection.request("PUT", path, headers, manifest.body).expect(201)


def push_image(connection: Connection, repository: str, image: Image) -> None:
    """All blobs one after the other, then the manifest."""
    for blob in image.blobs:
        push_blob(connection, repository, blob)
    push_manifest(connection, repository, image.tag, image.manifest)


@dataclass(frozen=True)
class PullContent:
    """What every server is filled with once, the same bytes everywhere."""

    repository: str
    tag: str
    manifest: Blob
    config: Blob
    small: Blob
    medium: Blob
    large: Blob

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Everything but the manifest."""
        return (self.config, self.small, self.medium, self.large)


@cache
def pull_content() -> PullContent:
    """One image with layers of 4 KiB, 1 MiB and 256 MiB, made once per run."""
    config, small = make_blob(1500), make_blob(4096)
    medium, large = _blob(os.urandom(MIB)), _blob(os.urandom(256 * MIB))
    manifest = make_manifest(config, (small, medium, large))
    return PullContent("bench/pull", "latest", manifest, config, small, medium, large)


def fill(connection: Connection) -> None:
    """Push the pull content through the registry's own API."""
    content = pull_content()
    for blob in content.blobs:
        push_blob(connection, content.repository, blob)
    push_manifest(connection, content.repository, content.tag, content.manifest)
