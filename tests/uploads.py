"""What can be seen of unfinished uploads from outside."""

from __future__ import annotations

from pathlib import Path

from tests.objectstores import SeaweedFS
from tests.servers import Registry


class Uploads:
    """What unfinished uploads hold, as files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> set[str]:
        """The names of those that hold anything."""
        return {path.name for path in self._folder.iterdir()}

    def held(self, location: str) -> bytes | None:
        """What an upload holds, by its address, or None if that can't be seen."""
        return (self._folder / name_of(location)).read_bytes()


class UploadsInObjects(Uploads):
    """The same as objects and parts."""

    def __init__(self, seaweedfs: SeaweedFS, root: str) -> None:
        self._seaweedfs = seaweedfs
        self._prefix = f"{root}/entrepot/uploads/"

    def all(self) -> set[str]:
        keys = self._seaweedfs.listing("tests", self._prefix)
        return {key.removeprefix(self._prefix).partition("/")[0] for key in keys}

    def held(self, location: str) -> bytes | None:  # noqa: ARG002
        return None


def name_of(location: str) -> str:
    """The name of an upload, from its address."""
    return location.partition("?")[0].rpartition("/")[2]


def uploads_of(registry: Registry, seaweedfs: SeaweedFS | None) -> Uploads:
    """Those of a registry, whose bucket is `tests` if it has one."""
    objects = registry.config["storage"].get("s3")
    if objects and seaweedfs:
        return UploadsInObjects(seaweedfs, objects["rootdirectory"])
    return Uploads(registry.root / "entrepot" / "uploads")
