"""A storage in `registry:2`'s layout, written by hand: also as `registry:2` never would."""

from __future__ import annotations

import os
from pathlib import Path

from tests.wire.images import Content, Image, digest_of

ROOT = "docker/registry/v2"


class Volume:
    """The storage below `root`. Links get the times that they are given, in seconds since 1970."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / ROOT

    def blob_path(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.base / "blobs" / algorithm / encoded[:2] / encoded / "data"

    def put(self, data: bytes, *, algorithm: str = "sha256") -> str:
        digest = digest_of(data, algorithm)
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    def link(self, folder: str, digest: str, *, at: float | None = None) -> Path:
        """A link below `repositories`."""
        path = self.base / "repositories" / folder / "link"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest)
        if at is not None:
            os.utime(path, (at, at))
        return path

    def layer(self, name: str, digest: str) -> Path:
        return self.link(f"{name}/_layers/{_folder(digest)}", digest)

    def revision(self, name: str, digest: str, *, at: float | None = None) -> Path:
        return self.link(f"{name}/_manifests/revisions/{_folder(digest)}", digest, at=at)

    def tag(self, name: str, tag: str, digest: str, *, at: float | None = None) -> None:
        """Point a tag at a digest, as a push does."""
        self.link(f"{name}/_manifests/tags/{tag}/current", digest, at=at)
        self.link(f"{name}/_manifests/tags/{tag}/index/{_folder(digest)}", digest, at=at)

    def manifest(self, name: str, content: Content, *, at: float | None = None) -> str:
        self.revision(name, self.put(content.data, algorithm=content.algorithm), at=at)
        return content.digest

    def push(self, name: str, image: Image, *tags: str, at: float | None = None) -> str:
        """All of an image, and tags."""
        for blob in image.blobs:
            self.layer(name, self.put(blob.data, algorithm=blob.algorithm))
        for child in image.children:
            self.push(name, child, at=at)
        self.manifest(name, image.manifest, at=at)
        for tag in tags:
            self.tag(name, tag, image.digest, at=at)
        return image.digest

    def files(self) -> dict[str, tuple[bytes, int]]:
        """Everything below the layout's root: content and time of each file."""
        return {
            path.relative_to(self.base).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in self.base.rglob("*")
            if path.is_file()
        }


def _folder(digest: str) -> str:
    return digest.replace(":", "/")
