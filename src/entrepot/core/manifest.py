"""Manifests: what a pushed document is and what it refers to.

Sources: OCI image-spec 1.1 (manifest.md, image-index.md, descriptor.md) and Docker's image manifest
version 2, schema 2. The bytes are the manifest; nothing here ever writes them anew.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, ManifestInvalidError

OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
IMAGES: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST, OCI_ARTIFACT})
INDEXES: Final = frozenset({OCI_INDEX, DOCKER_LIST})
MEDIA_TYPES: Final = IMAGES | INDEXES

_UNTYPED: Final = frozenset({"", "application/json", "application/octet-stream"})
_COMPANION: Final = re.compile(r"(?:sha256|sha512)-[0-9a-f]{64}(?:\.(?:sig|att|sbom))?")
_FOREIGN: Final = (
    "application/vnd.docker.image.rootfs.foreign.",
    "application/vnd.oci.image.layer.nondistributable.",
)


class Platform(msgspec.Struct, frozen=True):
    """What an image of an index runs on (image-index.md)."""

    os: str = ""
    architecture: str = ""


class Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    """What a manifest says of content that it refers to (descriptor.md); `size` is in bytes."""

    media_type: str
    digest: str
    size: int
    urls: tuple[str, ...] | None = None
    platform: Platform | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None

    @property
    def foreign(self) -> bool:
        """Whether the content may be kept elsewhere: a non-distributable layer."""
        return self.media_type.startswith(_FOREIGN)


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    """Every field of every kind of manifest that the registry reads."""

    schema_version: int | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = None
    blobs: tuple[Descriptor, ...] | None = None
    manifests: tuple[Descriptor, ...] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None
    fs_layers: object = None


_decoder: Final = msgspec.json.Decoder(_Document)


class Manifest(msgspec.Struct, frozen=True):
    """What the registry needs to know of a manifest. Made by `parse`, and valid from then on."""

    media_type: str
    artifact_type: str | None
    """What a referrers response calls it: its own, or the config's media type for an image."""
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Digest | None
    annotations: Mapping[str, str]

    def blobs(self) -> Iterator[Digest]:
        """The blobs that the repository must hold: the config and each distributable layer."""
        if self.config is not None:
            yield Digest(self.config.digest)
        for layer in self.layers:
            if not layer.foreign:
                yield Digest(layer.digest)

    @property
    def largest(self) -> int:
        """The bytes of the largest of those blobs, as the manifest has them."""
        held = [layer.size for layer in self.layers if not layer.foreign]
        return max(held, default=0) if self.config is None else max(self.config.size, *held, 0)

    def urls(self) -> Iterator[str]:
        """The addresses outside the registry that layers name."""
        for layer in self.layers:
            yield from layer.urls or ()


def parse(payload: bytes, *, content_type: str | None) -> Manifest:
    """Return what the pushed `payload` is.

    Raises:
        ManifestInvalidError: it is no JSON object of a supported kind, its `mediaType` and the
            request's Content-Type differ, or it could be read as two kinds at once
            (CVE-2021-41190).
        DigestInvalidError: a descriptor's digest is malformed.
    """
    document = _decode(payload)
    media_type = _media_type(document, (content_type or "").partition(";")[0].strip().lower())
    indexed = media_type in INDEXES
    manifest = _index(document, media_type) if indexed else _image(document, media_type)
    if "\0" in (manifest.artifact_type or ""):
        raise ManifestInvalidError({"reason": "an artifact type has no NUL"})
    return manifest


def _decode(payload: bytes) -> _Document:
    try:
        document = _decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestInvalidError({"reason": f"not a manifest: {error}"}) from None
    if document.schema_version == 1 or document.fs_layers is not None:
        raise ManifestInvalidError(
            {
                "reason": "image manifest schema 1 is not supported",
                "hint": "push it again with a client that writes schema 2 or OCI manifests",
            }
        )
    if document.schema_version != 2:
        raise ManifestInvalidError({"reason": "schemaVersion must be 2"})
    return document


def _media_type(document: _Document, content_type: str) -> str:
    """Settle the media type from the document, the request and, failing both, the shape."""
    own = document.media_type
    if own and content_type not in _UNTYPED and own != content_type:
        raise ManifestInvalidError(
            {"reason": "mediaType and Content-Type differ", "mediaType": own[:256]}
        )
    media_type = own or (content_type if content_type not in _UNTYPED else _shape(document))
    if media_type in DOCKER_SCHEMA1:
        raise ManifestInvalidError({"reason": "image manifest schema 1 is not supported"})
    if media_type not in MEDIA_TYPES:
        raise ManifestInvalidError(
            {"reason": "unsupported media type", "supported": sorted(MEDIA_TYPES)}
        )
    return media_type


def _shape(document: _Document) -> str:
    return OCI_INDEX if document.manifests is not None else OCI_MANIFEST


def _index(document: _Document, media_type: str) -> Manifest:
    if document.config or document.layers is not None or document.blobs is not None:
        raise ManifestInvalidError({"reason": "an index has no config and no layers"})
    # Go clients write an empty list as null, so a missing list is an empty one.
    children = _checked(document.manifests or ())
    return Manifest(
        media_type=media_type,
        artifact_type=document.artifact_type or None,
        config=None,
        layers=(),
        children=children,
        subject=_subject(document),
        annotations=document.annotations or {},
    )


def _image(document: _Document, media_type: str) -> Manifest:
    if document.manifests is not None:
        raise ManifestInvalidError({"reason": "an image manifest has no list manifests"})
    artifact = media_type == OCI_ARTIFACT
    config = document.config
    if config is None and not artifact:
        raise ManifestInvalidError({"reason": "an image manifest needs a config"})
    if config is not None:
        _checked((config,))
    fallback = config.media_type if config is not None else None
    return Manifest(
        media_type=media_type,
        artifact_type=document.artifact_type or fallback,
        config=config,
        layers=_checked((document.blobs if artifact else document.layers) or ()),
        children=(),
        subject=_subject(document),
        annotations=document.annotations or {},
    )


def _checked(descriptors: tuple[Descriptor, ...]) -> tuple[Descriptor, ...]:
    for descriptor in descriptors:
        try:
            Digest.parse(descriptor.digest)
        except DigestInvalidError as error:
            raise ManifestInvalidError(
                {"reason": "malformed digest", "detail": error.detail}
            ) from None
        if descriptor.size < 0:
            raise ManifestInvalidError(
                {"reason": "a size is negative", "digest": descriptor.digest}
            )
    return descriptors


def _subject(document: _Document) -> Digest | None:
    if document.subject is None:
        return None
    _checked((document.subject,))
    return Digest(document.subject.digest)


def fallback_tag(subject: Digest) -> str:
    """Return the tag under which clients without the referrers API keep the list of referrers
    (distribution-spec 1.1.1, "Referrers Tag Schema").
    """
    return f"{subject.algorithm[:32]}-{subject.hex[:64]}"


def companion_tags(subject: Digest) -> tuple[str, ...]:
    """Return the tags under which clients keep what belongs to a manifest: the list of referrers,
    and cosign's signatures, attestations and SBOMs.
    """
    tag = fallback_tag(subject)
    return (tag, f"{tag}.sig", f"{tag}.att", f"{tag}.sbom")


def is_companion_tag(tag: str) -> bool:
    """Whether a tag is made of a digest, as `companion_tags` are."""
    return _COMPANION.fullmatch(tag) is not None


def parse_children(payload: bytes) -> tuple[Descriptor, ...]:
    """Return the descriptors of an index that was accepted before."""
    return _decoder.decode(payload).manifests or ()


# What clients accept ----------------------------------------------------------------------------


def accepts(accept: str | None, media_type: str) -> bool:
    """Whether a client that sent this `Accept` header (joined if it sent several) takes the type.

    No header accepts everything, and so do `*/*` and `application/*`.
    """
    if not accept:
        return True
    wanted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return media_type in wanted or "*/*" in wanted or "application/*" in wanted


def docker_child(payload: bytes) -> Digest | None:
    """Return the linux/amd64 image of a manifest list, what `registry:2` serves to clients that
    accept no lists; None if the list has no such image.
    """
    for child in parse_children(payload):
        platform = child.platform
        if platform and platform.os == "linux" and platform.architecture == "amd64":
            return Digest(child.digest)
    return None
