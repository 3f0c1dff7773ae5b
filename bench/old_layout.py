"""Writes a storage as `registry:2` leaves it, of any size: made up, and right in every byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bench.content import MANIFEST_TYPE

ROOT = "docker/registry/v2"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_SHARED = 1000


def write_old_layout(root: Path, *, manifests: int, per_repository: int = 200) -> None:
    """`manifests` tagged images of a config and three layers, two of which others have as well."""
    base = root / ROOT
    shared = [_put(base, f"layer {number}".encode() * 64) for number in range(_SHARED)]
    for number in range(manifests):
        name = f"team{number // per_repository % 10}/app{number // per_repository:05}"
        own = [_put(base, f"{kind} {number}".encode() * 64) for kind in ("config", "layer")]
        layers = [own[1], shared[number % _SHARED], shared[(number // per_repository) % _SHARED]]
        digest = _put(base, _manifest(own[0], layers))
        _link(base, f"{name}/_manifests/revisions/{_folder(digest)}", digest)
        tag = f"{name}/_manifests/tags/v{number % per_repository}"
        _link(base, f"{tag}/current", digest)
        _link(base, f"{tag}/index/{_folder(digest)}", digest)
        for blob in (own[0], *layers):
            _link(base, f"{name}/_layers/{_folder(blob)}", blob)


def _manifest(config: str, layers: list[str]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor(_CONFIG_TYPE, config),
        "layers": [_descriptor(_LAYER_TYPE, layer) for layer in layers],
    }
    return json.dumps(document, indent=3).encode()


_sizes: dict[str, int] = {}


def _descriptor(kind: str, digest: str) -> dict[str, object]:
    return {"mediaType": kind, "size": _sizes[digest], "digest": digest}


def _put(base: Path, data: bytes) -> str:
    encoded = hashlib.sha256(data).hexdigest()
    path = base / "blobs" / "sha256" / encoded[:2] / encoded / "data"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    digest = f"sha256:{encoded}"
    _sizes[digest] = len(data)
    return digest


def _folder(digest: str) -> str:
    return digest.replace(":", "/")


def _link(base: Path, folder: str, digest: str) -> None:
    path = base / "repositories" / folder / "link"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(digest)
