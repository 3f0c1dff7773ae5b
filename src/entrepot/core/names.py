"""Names of repositories and tags (OCI distribution-spec 1.1.1, "Pulling manifests")."""

import re
from functools import lru_cache
from typing import Final, Self

from entrepot.core.digest import Digest
from entrepot.core.errors import NameInvalidError, TagInvalidError

NAME_LENGTH: Final = 255
"""The most characters in a repository's name, slashes included."""

TAG_LENGTH: Final = 128

_NAME: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


class RepositoryName(str):
    """The name of a repository: path components of lower-case letters, digits and separators."""

    __slots__ = ()

    @classmethod
    @lru_cache(maxsize=4096)
    def parse(cls, text: str) -> Self:
        """Return the name that `text` is, or raise `NameInvalidError`."""
        if len(text) > NAME_LENGTH or _NAME.fullmatch(text) is None:
            raise NameInvalidError({"name": text[: NAME_LENGTH + 1]})
        return cls(text)


class Tag(str):
    """A tag: a moving pointer to a manifest, with at most 128 characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tag that `text` is, or raise `TagInvalidError`."""
        if _TAG.fullmatch(text) is None:
            raise TagInvalidError({"tag": text[: TAG_LENGTH + 1]})
        return cls(text)


Reference = Tag | Digest


@lru_cache(maxsize=4096)
def parse_reference(text: str) -> Reference:
    """Return what a `<reference>` in a manifest's path is: a digest if it has a colon, else a tag.

    Raises:
        DigestInvalidError: it has a colon but is no digest.
        TagInvalidError: it is neither.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)
