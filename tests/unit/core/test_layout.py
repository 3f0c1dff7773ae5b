"""Paths of registry:2's storage, as its registry/storage/paths.go writes them."""

from __future__ import annotations

import pytest

from entrepot.core import layout
from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError
from entrepot.core.names import RepositoryName, Tag

NAME, TAG = RepositoryName("team/app"), Tag("v1")
DIGEST = Digest("sha256:" + "ab" * 32)
LONG = Digest("sha512:" + "cd" * 64)
BASE = "docker/registry/v2/repositories/team/app"


@pytest.mark.parametrize(
    "made,path",
    [
        (layout.blob_path(DIGEST), f"docker/registry/v2/blobs/sha256/ab/{'ab' * 32}/data"),
        (layout.blob_path(LONG), f"docker/registry/v2/blobs/sha512/cd/{'cd' * 64}/data"),
        (layout.repository_path(NAME), BASE),
        (layout.repository_path(""), "docker/registry/v2/repositories"),
        (layout.layer_link(NAME, DIGEST), f"{BASE}/_layers/sha256/{'ab' * 32}/link"),
        (
            layout.revision_link(NAME, DIGEST),
            f"{BASE}/_manifests/revisions/sha256/{'ab' * 32}/link",
        ),
        (layout.current_link(NAME, TAG), f"{BASE}/_manifests/tags/v1/current/link"),
        (
            layout.history_link(NAME, TAG, DIGEST),
            f"{BASE}/_manifests/tags/v1/index/sha256/{'ab' * 32}/link",
        ),
    ],
)
def test_paths(made: str, path: str) -> None:
    assert made == path


@pytest.mark.parametrize("digest", [DIGEST, LONG])
def test_paths_are_understood(digest: Digest) -> None:
    assert layout.blob_digest(layout.blob_path(digest)) == digest
    assert layout.blob_digest(f"some/prefix/{layout.blob_path(digest)}") == digest
    assert layout.linked_digest(layout.revision_link(NAME, digest)) == digest
    assert layout.linked_digest(layout.layer_link(NAME, digest)) == digest


@pytest.mark.parametrize(
    "path",
    [
        "",
        "data",
        layout.blob_path(DIGEST).replace("/data", "/other"),
        layout.blob_path(DIGEST).replace("/ab/", "/cd/"),
        layout.blob_path(DIGEST).replace("sha256", "md5"),
        layout.current_link(NAME, TAG),
    ],
)
def test_paths_of_no_blob(path: str) -> None:
    with pytest.raises(DigestInvalidError):
        layout.blob_digest(path)


@pytest.mark.parametrize(
    "path", ["", "link", layout.current_link(NAME, TAG), layout.blob_path(DIGEST)]
)
def test_paths_of_no_link(path: str) -> None:
    with pytest.raises(DigestInvalidError):
        layout.linked_digest(path)


@pytest.mark.parametrize("content", [DIGEST.encode(), DIGEST.encode() + b"\n"])
def test_links_are_read(content: bytes) -> None:
    assert layout.read_link(content) == DIGEST


@pytest.mark.parametrize("content", [b"", b"\xff" * 71, b"sha256:", DIGEST.upper().encode()])
def test_links_that_are_none(content: bytes) -> None:
    with pytest.raises(DigestInvalidError):
        layout.read_link(content)
