"""What keeps the server from starting."""

from entrepot.core.errors import EntrepotError


class StartError(EntrepotError):
    """The server can't start: an address is taken, a certificate unusable, a worker died."""
