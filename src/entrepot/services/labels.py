"""Labels of images, which stand in their configs: read only where somebody needs them."""

from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.digest import Digest
from entrepot.core.manifest import INDEXES, parse, parse_children
from entrepot.core.names import RepositoryName
from entrepot.db.manifests import find_manifest
from entrepot.services.stores import Stores

_LARGEST: Final = 4 << 20
"""Bytes of a config that is read; what is larger has no labels for us."""

_MOST: Final = 10_000
"""Images whose labels are remembered."""


class _Inner(Struct, rename="pascal"):
    labels: dict[str, str] | None = None


class _Config(Struct):
    config: _Inner | None = None


class Labels:
    """Reads the labels of images. An index has those of its first image."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._known: dict[Digest, dict[str, str]] = {}

    async def of(self, name: RepositoryName, digest: Digest) -> dict[str, str]:
        """Return the labels of an image; of anything else there are none.

        Raises:
            StorageError: the config can't be read.
        """
        known = self._known.get(digest)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[digest] = await self._read(name, digest)
        return known

    async def _read(self, name: RepositoryName, digest: Digest) -> dict[str, str]:
        found = await find_manifest(self._stores.index, name, digest)
        if found is None:
            return {}
        if found.media_type in INDEXES:
            children = parse_children(found.payload)
            return await self.of(name, Digest(children[0].digest)) if children else {}
        config = parse(found.payload, content_type=found.media_type).config
        if config is None or config.size > _LARGEST:
            return {}
        reader = await self._stores.blobs.open(Digest(config.digest))
        if reader is None:
            return {}
        try:
            payload = await reader.read(0, _LARGEST)
        finally:
            reader.close()
        try:
            document = msgspec.json.decode(payload, type=_Config)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return {}  # an artifact's config is anything
        return (document.config.labels if document.config else None) or {}
