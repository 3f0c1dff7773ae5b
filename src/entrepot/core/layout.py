"""Where `registry:2` keeps what (its registry/storage/paths.go): paths made and understood.

    docker/registry/v2/
      blobs/ALGORITHM/AB/ABCD…/data                                bytes of blobs and of manifests
      repositories/NAME/
        _layers/ALGORITHM/HEX/link                                 the repository serves a blob
        _manifests/revisions/ALGORITHM/HEX/link                    it has a manifest
        _manifests/tags/TAG/current/link                           where a tag points
        _manifests/tags/TAG/index/ALGORITHM/HEX/link               where it pointed, and points

A link's content is a digest. Paths are relative to the storage root, with `/` between their parts.
"""

from typing import Final

from entrepot.core.digest import Digest
from entrepot.core.errors import DigestInvalidError
from entrepot.core.names import RepositoryName, Tag

ROOT: Final = "docker/registry/v2"
BLOBS: Final = f"{ROOT}/blobs"
REPOSITORIES: Final = f"{ROOT}/repositories"

LINK_SIZE: Final = 1024
"""More bytes than a link may have."""


def blob_path(digest: Digest) -> str:
    """Return where the bytes of a blob or manifest lie."""
    encoded = digest.hex
    return f"{BLOBS}/{digest.algorithm}/{encoded[:2]}/{encoded}/data"


def repository_path(name: str) -> str:
    """Return the folder of a repository, in which other repositories may lie."""
    return f"{REPOSITORIES}/{name}" if name else REPOSITORIES


def layers_path(name: RepositoryName) -> str:
    """Return the folder of the links to the blobs that a repository serves."""
    return f"{REPOSITORIES}/{name}/_layers"


def revisions_path(name: RepositoryName) -> str:
    """Return the folder of the links to a repository's manifests."""
    return f"{REPOSITORIES}/{name}/_manifests/revisions"


def tags_path(name: RepositoryName) -> str:
    """Return the folder of a repository's tags."""
    return f"{REPOSITORIES}/{name}/_manifests/tags"


def layer_link(name: RepositoryName, digest: Digest) -> str:
    """Return the link by which a repository serves a blob."""
    return f"{layers_path(name)}/{digest.algorithm}/{digest.hex}/link"


def revision_link(name: RepositoryName, digest: Digest) -> str:
    """Return the link by which a repository has a manifest."""
    return f"{revisions_path(name)}/{digest.algorithm}/{digest.hex}/link"


def tag_path(name: RepositoryName, tag: Tag) -> str:
    """Return the folder of a tag."""
    return f"{tags_path(name)}/{tag}"


def current_link(name: RepositoryName, tag: Tag) -> str:
    """Return the link that says where a tag points."""
    return f"{tag_path(name, tag)}/current/link"


def history_link(name: RepositoryName, tag: Tag, digest: Digest) -> str:
    """Return the link that says that a tag points, or pointed, at a manifest."""
    return f"{tag_path(name, tag)}/index/{digest.algorithm}/{digest.hex}/link"


def linked_digest(path: str) -> Digest:
    """Return the digest that the path of a link names: `…/ALGORITHM/HEX/link`.

    Raises:
        DigestInvalidError: it names none.
    """
    parts = path.split("/")
    return Digest.parse(":".join(parts[-3:-1]) if parts[-1] == "link" else path)


def blob_digest(path: str) -> Digest:
    """Return the digest that the path of a blob names: `…/ALGORITHM/AB/ABCD…/data`.

    Raises:
        DigestInvalidError: it names none.
    """
    parts = path.split("/")
    digest = Digest.parse(":".join((*parts[-4:-3], *parts[-2:-1])))
    if not path.endswith(blob_path(digest)):
        raise DigestInvalidError({"path": path[:256]})
    return digest


def read_link(content: bytes) -> Digest:
    """Return the digest that a link holds.

    Raises:
        DigestInvalidError: it holds something else.
    """
    return Digest.parse(content.decode("latin-1").strip())
