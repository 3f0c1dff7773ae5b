"""Repositories and what is in them, as the callers of `/api/v1` name them."""

from entrepot.core.errors import (
    DigestInvalidError,
    ObjectUnknownError,
    RequestInvalidError,
    TagInvalidError,
)
from entrepot.core.names import Reference, parse_reference


def parse_given(text: str) -> Reference:
    """Return a tag or a digest. Raises RequestInvalidError."""
    try:
        return parse_reference(text)
    except (DigestInvalidError, TagInvalidError) as error:
        raise RequestInvalidError({"reason": f"{text!r} is no tag and no digest"}) from error


def unknown(repository: str, reference: str = "") -> ObjectUnknownError:
    """Return the error for a repository that there is not, or that has nothing called so."""
    what = f"{repository}, or nothing in it called {reference}" if reference else repository
    return ObjectUnknownError({"reason": f"there is no repository {what}"})
