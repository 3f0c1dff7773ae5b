"""Errors of identity sources; the tree is drawn in `entrepot.core.errors`."""

from entrepot.core.errors import EntrepotError


class IdentityError(EntrepotError):
    """Users can't be read or made; the text says which file and what to do."""
