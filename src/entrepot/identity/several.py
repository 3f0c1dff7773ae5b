"""Several ways to tell who is calling, tried in their order."""

from collections.abc import Sequence

import structlog

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import (
    EntrepotError,
    ProtocolError,
    UnauthorizedError,
    UnavailableError,
)
from entrepot.identity.authenticator import Authenticator, Recalled

_log = structlog.get_logger("entrepot.identity")


class Several:
    """Asks each authenticator until one says who it is. If none does, and one could not tell
    because something that it needs is away, the caller gets 503 and not in.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = authenticators

    @property
    def challenge(self) -> str | None:
        """See `Authenticator.challenge`: that of the first who has one."""
        challenges = (each.challenge for each in self._authenticators)
        return next((challenge for challenge in challenges if challenge is not None), None)

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:
        """See `Authenticator.authenticate`."""
        refusal = UnauthorizedError()
        away: UnavailableError | None = None
        for authenticator in self._authenticators:
            try:
                return await authenticator.authenticate(authorization, origin)
            except UnauthorizedError as error:
                refusal = error
            except UnavailableError as error:
                away = error
            except ProtocolError:
                raise
            except EntrepotError as error:
                _log.error("a source of identities is away", error=error)
                away = UnavailableError({"reason": "a source of identities is away"})
        raise away or refusal

    def recall(self, authorization: str | None) -> Recalled | None:
        """See `Authenticator.recall`: the first is asked, as nobody is asked before."""
        return self._authenticators[0].recall(authorization)
