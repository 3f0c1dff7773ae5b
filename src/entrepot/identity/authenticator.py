"""What the rest of Entrepot knows of authentication."""

from typing import NamedTuple, Protocol

from entrepot.core.access import Identity, Origin


class Recalled(NamedTuple):
    """Somebody who was told a moment ago; until when (seconds since 1970) that holds for what they
    sent as long as nobody changes rights or accounts, 0 if it must be asked each time.
    """

    identity: Identity
    until: float = 0.0


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

    def recall(self, authorization: str | None) -> Recalled | None:
        """Return whom `authenticate` told a moment ago, at most a second, if nothing has changed
        since that shows; None wherever it has to be asked. Costs next to nothing, and counts
        nothing.
        """
