"""What the rest of Entrepot knows of authentication."""

from typing import Protocol

from entrepot.core.access import Identity, Origin


class Authenticator(Protocol):
    """Tells who sends a request."""

    @property
    def challenge(self) -> str | None:
        """The value of `WWW-Authenticate` that goes with a 401, or None if nobody gets one."""

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """Return who sent a request with this `Authorization` header (None: without one).

        Raises `core.errors.UnauthorizedError` if that can't be told, without saying why, and
        `core.errors.TooManyRequestsError` if it can't be told now; `core.errors.UnavailableError`
        if somebody who could tell is away. Never raises anything else because of what the header
        holds, and never holds up the event loop.
        """

    def recall(self, authorization: str | None) -> Identity | None:
        """Return whom `authenticate` told a moment ago, at most a second, if nothing has changed
        since that shows; None wherever it has to be asked. Costs next to nothing, and counts
        nothing.
        """
