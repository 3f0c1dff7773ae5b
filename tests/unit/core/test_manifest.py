"""Manifests as bytes in, facts out: no server, no store."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core import manifest as core
from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError, ManifestInvalidError
from tests.wire import images
from tests.wire.images import Content, Fields, Image, Json

DIGEST = images.digest_of(b"content")
BLOB: dict[str, Json] = {"mediaType": "application/x", "digest": DIGEST, "size": 7}


def parse(content: Content) -> core.Manifest:
    return core.parse(content.data, content_type=content.media_type)


def refused(document: Json, *, content_type: str | None = None) -> ManifestInvalidError:
    """Why `document` is no manifest."""
    with pytest.raises(ManifestInvalidError) as caught:
        core.parse(images.encode(document), content_type=content_type)
    return caught.value


def image_document(**fields: Json) -> dict[str, Json]:
    document: dict[str, Json] = {"schemaVersion": 2, "config": BLOB, "layers": [BLOB]}
    return {**document, **fields}


# What is understood -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image", [images.image("core"), images.docker_image("core")], ids=["oci", "docker"]
)
def test_an_image(image: Image) -> None:
    found = parse(image.manifest)
    assert found.media_type == image.manifest.media_type
    assert set(found.blobs()) == {blob.digest for blob in image.blobs}
    assert found.children == ()
    assert found.subject is None
    assert found.config is not None
    assert found.artifact_type == found.config.media_type


@pytest.mark.parametrize(
    "index", [images.multi_platform("core"), images.docker_list("core")], ids=["oci", "docker"]
)
def test_an_index(index: Image) -> None:
    found = parse(index.manifest)
    assert found.media_type == index.manifest.media_type
    assert [child.digest for child in found.children] == [c.digest for c in index.children]
    assert [c.platform and c.platform.os for c in found.children] == ["linux", "linux"]
    assert list(found.blobs()) == []


def test_an_artifact() -> None:
    subject = images.image("core").manifest
    made = images.artifact("core", subject=subject, annotations={"a": "b"})
    found = parse(made.manifest)
    assert found.artifact_type == "application/vnd.example.sbom.v1"
    assert found.subject == subject.digest
    assert found.annotations == {"a": "b"}


def test_the_former_artifact_manifest_needs_no_config() -> None:
    document: Json = {"schemaVersion": 2, "mediaType": core.OCI_ARTIFACT, "blobs": [BLOB]}
    found = core.parse(images.encode(document), content_type=None)
    assert list(found.blobs()) == [DIGEST]
    assert found.artifact_type is None


@pytest.mark.parametrize(
    "kind",
    [
        images.OCI_LAYER_NONDISTRIBUTABLE,
        images.OCI_LAYER_NONDISTRIBUTABLE_GZIP,
        images.DOCKER_FOREIGN_LAYER,
    ],
)
def test_foreign_layers_are_no_blobs_of_the_repository(kind: str) -> None:
    urls: list[Json] = ["https://example.com/layer", "https://example.com/mirror"]
    foreign = {**BLOB, "mediaType": kind, "digest": images.digest_of(b"x"), "urls": urls}
    found = core.parse(images.encode(image_document(layers=[BLOB, foreign])), content_type=None)
    assert list(found.blobs()) == [DIGEST, DIGEST]
    assert list(found.urls()) == urls


@pytest.mark.parametrize(
    "content_type, fields, expected",
    [
        (None, {}, core.OCI_MANIFEST),
        ("", {}, core.OCI_MANIFEST),
        ("application/json", {}, core.OCI_MANIFEST),
        ("application/octet-stream", {}, core.OCI_MANIFEST),
        (core.DOCKER_MANIFEST, {}, core.DOCKER_MANIFEST),
        (core.OCI_MANIFEST + "; charset=utf-8", {}, core.OCI_MANIFEST),
        (core.OCI_MANIFEST.upper(), {}, core.OCI_MANIFEST),
        (None, {"mediaType": core.DOCKER_MANIFEST}, core.DOCKER_MANIFEST),
        ("application/json", {"mediaType": core.DOCKER_MANIFEST}, core.DOCKER_MANIFEST),
    ],
)
def test_the_media_type(content_type: str | None, fields: Fields, expected: str) -> None:
    payload = images.encode(image_document(**fields))
    assert core.parse(payload, content_type=content_type).media_type == expected


def test_an_index_by_its_shape() -> None:
    payload = images.encode({"schemaVersion": 2, "manifests": []})
    assert core.parse(payload, content_type=None).media_type == core.OCI_INDEX


@pytest.mark.parametrize("manifests", [{}, {"manifests": None}, {"manifests": []}])
def test_an_index_without_children(manifests: Fields) -> None:
    payload = images.encode({"schemaVersion": 2, "mediaType": core.OCI_INDEX, **manifests})
    assert core.parse(payload, content_type=None).children == ()


def test_unknown_fields_are_let_be() -> None:
    payload = images.encode(image_document(future={"a": [1, None]}, schema="x"))
    assert core.parse(payload, content_type=None).media_type == core.OCI_MANIFEST


# What is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        1,
        "text",
        {"schemaVersion": 3},
        {"schemaVersion": "2"},
        {"schemaVersion": 2},
        {"schemaVersion": 2, "layers": []},
        image_document(config=None),
        image_document(config={}),
        image_document(config={"mediaType": "a", "digest": DIGEST}),
        image_document(config={**BLOB, "size": -1}),
        image_document(config={**BLOB, "size": "7"}),
        image_document(config={**BLOB, "digest": "sha256:short"}),
        image_document(layers=[{**BLOB, "digest": "sha384:" + "a" * 96}]),
        image_document(layers={}),
        image_document(layers=[None]),
        image_document(subject={}),
        image_document(subject={**BLOB, "digest": "x"}),
        image_document(artifactType="application/x\0"),
        image_document(config={**BLOB, "mediaType": "application/x\0"}),
        image_document(annotations=[]),
        image_document(annotations={"a": 1}),
        image_document(manifests=[]),
        image_document(mediaType="text/plain"),
        image_document(mediaType=core.OCI_INDEX),
        {"schemaVersion": 2, "mediaType": core.OCI_INDEX, "manifests": [], "layers": []},
        {"schemaVersion": 2, "mediaType": core.OCI_INDEX, "manifests": [], "config": BLOB},
        {"schemaVersion": 2, "mediaType": core.OCI_INDEX, "manifests": [{**BLOB, "size": -1}]},
        {"schemaVersion": 2, "mediaType": core.OCI_INDEX, "manifests": [{**BLOB, "digest": ""}]},
    ],
)
def test_what_is_no_manifest(document: Json) -> None:
    refused(document)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xfe", b"{", b'{"schemaVersion": 2', b"[" * 100_000, b'{"a": "\xff"}', b"\0"],
    ids=["empty", "no utf-8", "brace", "cut", "deep", "bad string", "nul"],
)
def test_what_is_no_json(payload: bytes) -> None:
    with pytest.raises(ManifestInvalidError):
        core.parse(payload, content_type=None)


@pytest.mark.parametrize("kind", sorted(core.DOCKER_SCHEMA1))
def test_schema_1_is_refused_with_what_to_do(kind: str) -> None:
    made = images.schema1("core", media_type=kind)
    with pytest.raises(ManifestInvalidError) as caught:
        parse(made)
    assert "schema 1 is not supported" in str(caught.value)
    assert "schema 2 or OCI" in str(caught.value)


def test_schema_1_by_its_content_type() -> None:
    error = refused(image_document(), content_type=images.DOCKER_SCHEMA1)
    assert "schema 1 is not supported" in str(error)


def test_two_types_at_once() -> None:
    """CVE-2021-41190: what two readers would read as two kinds is refused."""
    error = refused(image_document(mediaType=core.OCI_MANIFEST), content_type=core.DOCKER_MANIFEST)
    assert "differ" in str(error)


def test_an_unsupported_type_names_the_supported_ones() -> None:
    error = refused(image_document(), content_type="application/vnd.example")
    assert core.OCI_MANIFEST in str(error.detail)


# Any input --------------------------------------------------------------------------------------

FIELDS = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "blobs",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "digest",
    "size",
    "urls",
    "platform",
    "os",
    "architecture",
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=10),
    st.sampled_from([DIGEST, core.OCI_MANIFEST, core.OCI_INDEX, core.DOCKER_LIST, 2]),
)
TREES = st.recursive(
    LEAVES,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(FIELDS), below, max_size=6)
        | st.just(BLOB)
    ),
    max_leaves=20,
)
DOCUMENTS = st.fixed_dictionaries(
    {"schemaVersion": st.just(2)},
    optional={name: TREES for name in FIELDS if name != "schemaVersion"},
)


@given(
    document=DOCUMENTS,
    content_type=st.one_of(st.none(), st.sampled_from(sorted(core.MEDIA_TYPES)), st.text()),
)
def test_any_document_is_valid_or_refused(document: Json, content_type: str | None) -> None:
    """And what is valid holds only valid digests, so that nothing checks them again."""
    try:
        found = core.parse(json.dumps(document).encode(), content_type=content_type)
    except (ManifestInvalidError, DigestInvalidError):
        return
    assert found.media_type in core.MEDIA_TYPES
    for blob in found.blobs():
        assert Digest.parse(blob) == blob
    for child in found.children:
        assert Digest.parse(child.digest) == child.digest
        assert child.size >= 0
    assert found.subject is None or Digest.parse(found.subject)


@given(st.binary(max_size=200))
def test_any_bytes_are_valid_or_refused(payload: bytes) -> None:
    with pytest.raises(ManifestInvalidError):
        core.parse(payload, content_type=None)


# What clients accept ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept, taken",
    [
        (None, True),
        ("", True),
        ("*/*", True),
        ("application/*", True),
        ("text/html, */*;q=0.8", True),
        (core.DOCKER_LIST, True),
        (f"text/html,{core.DOCKER_LIST} ; q=0.1", True),
        (core.DOCKER_LIST.upper(), True),
        (core.DOCKER_MANIFEST, False),
        (f"{core.DOCKER_MANIFEST}, {core.OCI_INDEX}", False),
        ("text/*", False),
        (core.DOCKER_LIST + "x", False),
    ],
)
def test_accepting(accept: str | None, taken: bool) -> None:
    assert core.accepts(accept, core.DOCKER_LIST) is taken


def test_the_child_for_docker_is_linux_amd64() -> None:
    made = images.docker_list("core")
    assert core.docker_child(made.manifest.data) == made.children[1].digest


def test_a_list_without_one_for_docker() -> None:
    arm, none = images.docker_image("arm"), images.docker_image("none")
    made = images.index([arm, none], platforms=[images.ARM64], media_type=core.DOCKER_LIST)
    assert core.docker_child(made.manifest.data) is None
    empty = images.index([], media_type=core.DOCKER_LIST)
    assert core.docker_child(empty.manifest.data) is None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_fallback_tag(algorithm: str) -> None:
    digest = Digest.of(b"subject", algorithm=algorithm)
    assert core.fallback_tag(digest) == images.fallback_tag(digest)
