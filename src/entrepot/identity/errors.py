"""Errors of identity sources; the tree is drawn in `entrepot.core.errors`."""

from entrepot.core.errors import EntrepotError


class LoginUnfinishedError(EntrepotError):
    """A login at a provider ends, or goes on, otherwise than with an identity. `code` is one of
    RFC 8628, 3.5: `authorization_pending`, `slow_down`, `access_denied`, `expired_token`. In a
    browser it is one of the last two.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class IdentityError(EntrepotError):
    """Users can't be read or made; the text says which file and what to do."""
