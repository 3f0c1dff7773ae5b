"""Which manifests were pulled, how often, under which tag. Times are microseconds since 1970."""

from typing import NamedTuple

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName


class Pulled(NamedTuple):
    """A manifest as it was asked for: by a tag, or by its digest, where `tag` is empty."""

    name: RepositoryName
    digest: Digest
    tag: str


class TagUse(NamedTuple):
    """A tag with the manifest that it points at: since when, how often and when last that was
    pulled, if it was; `size` in bytes, with everything that it needs.
    """

    tag: str
    digest: Digest
    media_type: str
    pushed_at: int
    pulled_at: int | None
    pulls: int
    size: int
