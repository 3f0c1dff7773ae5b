"""Images, artifacts and indexes made on the spot: plain functions from values to bytes.

Everything is deterministic: the same arguments give the same bytes, so that a test names its
content by a seed and two tests with different seeds never share a blob. Layers are true tar
archives with true diff ids, so that real clients can unpack what is built here.

    >>> app = image("my-test")
    >>> app.manifest.digest, [blob.digest for blob in app.blobs]
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
Fields: TypeAlias = Mapping[str, Json]

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_NONDISTRIBUTABLE: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
OCI_LAYER_NONDISTRIBUTABLE_GZIP: Final = OCI_LAYER_NONDISTRIBUTABLE + "+gzip"
OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
DOCKER_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED: Final = "application/vnd.docker.distribution.manifest.v1+prettyjws"

OCTETS: Final = "application/octet-stream"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of `data` as `algorithm:hex` (image-spec, descriptor.md, "Digests")."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def fallback_tag(digest: str) -> str:
    """The tag at which clients without the referrers API keep a subject's referrers.

    Distribution-spec, "Referrers Tag Schema": at most 32 characters of the algorithm and 64 of the
    encoded part, with characters that no tag may have replaced.
    """
    algorithm, _, encoded = digest.partition(":")
    tag = f"{algorithm[:32]}-{encoded[:64]}"
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in tag)


def random_bytes(size: int, seed: str) -> bytes:
    """`size` bytes that don't compress, the same ones for the same `seed`."""
    return random.Random(seed).randbytes(size)


def encode(document: Json) -> bytes:
    """`document` as the compact JSON that most clients push."""
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Content:
    """A blob or a manifest: its bytes, what they are, and the algorithm that names them."""

    media_type: str
    data: bytes
    algorithm: str = "sha256"

    @property
    def digest(self) -> str:
        return digest_of(self.data, self.algorithm)

    def descriptor(self, **fields: Json) -> dict[str, Json]:
        """The descriptor of this content, with `fields` added (image-spec, descriptor.md)."""
        described: dict[str, Json] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.data),
        }
        return {**described, **fields}


@dataclass(frozen=True)
class Image:
    """A manifest or index and everything that must be in the repository before it can be pushed."""

    manifest: Content
    blobs: tuple[Content, ...] = ()
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def every_manifest(self) -> tuple[Content, ...]:
        """All manifests in the order in which they may be pushed: children first."""
        below = tuple(m for child in self.children for m in child.every_manifest())
        return (*below, self.manifest)

    def every_blob(self) -> tuple[Content, ...]:
        """All blobs of this image and of its children."""
        return (*self.blobs, *(b for child in self.children for b in child.every_blob()))


EMPTY: Final = Content(OCI_EMPTY, b"{}")
"""The empty descriptor's content (image-spec, manifest.md, "Guidance for an Empty Descriptor")."""


def empty(algorithm: str = "sha256") -> Content:
    """The empty descriptor's content under another algorithm."""
    return Content(OCI_EMPTY, b"{}", algorithm)


def tar_with(text: str) -> bytes:
    """A tar archive with one file that says `text`; no times and no owners, so always the same."""
    data = text.encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("made-for.txt")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def layer(text: str, *, algorithm: str = "sha256") -> Content:
    """An uncompressed layer with one file that says `text`."""
    return Content(OCI_LAYER, tar_with(text), algorithm)


def gzip_layer(
    text: str, *, algorithm: str = "sha256", media_type: str = OCI_LAYER_GZIP
) -> Content:
    """A gzip-compressed layer with one file that says `text`."""
    return Content(media_type, gzip.compress(tar_with(text), mtime=0), algorithm)


def diff_id(blob: Content) -> str:
    """The digest of a layer's uncompressed archive, as an image configuration lists it."""
    plain = gzip.decompress(blob.data) if blob.data.startswith(b"\x1f\x8b") else blob.data
    return digest_of(plain, blob.algorithm)


def config(
    layers: Sequence[Content],
    *,
    author: str,
    architecture: str = "amd64",
    os: str = "linux",
    media_type: str = OCI_CONFIG,
    algorithm: str = "sha256",
    fields: Fields | None = None,
) -> Content:
    """An image configuration over `layers`; `author` makes it unique."""
    document: dict[str, Json] = {
        "architecture": architecture,
        "os": os,
        "author": author,
        "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id(blob) for blob in layers]},
    }
    return Content(media_type, encode({**document, **(fields or {})}), algorithm)


def manifest(
    config: Content,
    layers: Sequence[Content],
    *,
    media_type: str = OCI_MANIFEST,
    algorithm: str = "sha256",
    fields: Fields | None = None,
) -> Content:
    """An image manifest; `fields` are added last and replace fields of the same name."""
    document: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.descriptor(),
        "layers": [blob.descriptor() for blob in layers],
    }
    return Content(media_type, encode({**document, **(fields or {})}), algorithm)


def image(
    seed: str,
    *,
    layer_count: int = 2,
    architecture: str = "amd64",
    os: str = "linux",
    algorithm: str = "sha256",
    fields: Fields | None = None,
) -> Image:
    """An OCI image with `layer_count` gzip layers."""
    layers = [gzip_layer(f"{seed} layer {n}", algorithm=algorithm) for n in range(layer_count)]
    made = config(layers, author=seed, architecture=architecture, os=os, algorithm=algorithm)
    return Image(manifest(made, layers, algorithm=algorithm, fields=fields), (made, *layers))


def bulky_image(seed: str) -> Image:
    """An image whose layers, of 30 KiB each, are too large for the index to keep them."""
    layers = [Content(OCI_LAYER_GZIP, random_bytes(30_000, f"{seed} {n}")) for n in range(2)]
    made = config(layers, author=seed)
    return Image(manifest(made, layers), (made, *layers))


def docker_image(seed: str, *, architecture: str = "amd64", os: str = "linux") -> Image:
    """A Docker schema 2 image with one layer."""
    layers = [gzip_layer(f"{seed} layer", media_type=DOCKER_LAYER)]
    made = config(layers, author=seed, architecture=architecture, os=os, media_type=DOCKER_CONFIG)
    return Image(manifest(made, layers, media_type=DOCKER_MANIFEST), (made, *layers))


def artifact(
    seed: str,
    *,
    artifact_type: str | None = "application/vnd.example.sbom.v1",
    config: Content = EMPTY,
    subject: Content | None = None,
    annotations: Mapping[str, str] | None = None,
    algorithm: str = "sha256",
) -> Image:
    """An OCI artifact with one layer; without `artifact_type` the config's type says what it is."""
    layers = [Content("application/vnd.example.data", f"{seed} data".encode(), algorithm)]
    fields: dict[str, Json] = {}
    if artifact_type is not None:
        fields["artifactType"] = artifact_type
    if subject is not None:
        fields["subject"] = subject.descriptor()
    if annotations is not None:
        fields["annotations"] = annotations
    made = manifest(config, layers, algorithm=algorithm, fields=fields)
    return Image(made, (config, *layers))


def index(
    children: Sequence[Image],
    *,
    platforms: Sequence[Fields | None] = (),
    media_type: str = OCI_INDEX,
    algorithm: str = "sha256",
    fields: Fields | None = None,
) -> Image:
    """An index (or Docker list) over `children`; the n-th platform goes with the n-th child."""
    entries: list[Json] = []
    for number, child in enumerate(children):
        platform = platforms[number] if number < len(platforms) else None
        extra: dict[str, Json] = {} if platform is None else {"platform": platform}
        entries.append(child.manifest.descriptor(**extra))
    document: dict[str, Json] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": entries,
    }
    made = Content(media_type, encode({**document, **(fields or {})}), algorithm)
    return Image(made, children=tuple(children))


AMD64: Final[Fields] = {"os": "linux", "architecture": "amd64"}
ARM64: Final[Fields] = {"os": "linux", "architecture": "arm64"}


def multi_platform(seed: str, *, algorithm: str = "sha256", fields: Fields | None = None) -> Image:
    """An OCI index over an amd64 and an arm64 image."""
    children = [
        image(f"{seed} amd64", algorithm=algorithm),
        image(f"{seed} arm64", architecture="arm64", algorithm=algorithm),
    ]
    return index(children, platforms=[AMD64, ARM64], algorithm=algorithm, fields=fields)


def docker_list(seed: str) -> Image:
    """A Docker manifest list over an arm64 and an amd64 image, in this order."""
    children = [
        docker_image(f"{seed} arm64", architecture="arm64"),
        docker_image(f"{seed} amd64"),
    ]
    return index(children, platforms=[ARM64, AMD64], media_type=DOCKER_LIST)


def schema1(seed: str, *, media_type: str = DOCKER_SCHEMA1) -> Content:
    """A Docker schema 1 manifest without a signature: what a registry of today must refuse."""
    document: Json = {
        "schemaVersion": 1,
        "name": seed,
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest_of(b"{}")}],
        "history": [{"v1Compatibility": "{}"}],
    }
    return Content(media_type, encode(document))


def inline(blob: Content) -> dict[str, Json]:
    """A descriptor that carries its content in `data` (image-spec, descriptor.md)."""
    return blob.descriptor(data=base64.b64encode(blob.data).decode())
