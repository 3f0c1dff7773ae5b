"""`auth: none`: everybody is nobody in particular."""

from typing import Final

from entrepot.core.access import Identity, Origin
from entrepot.identity.authenticator import Recalled

ANONYMOUS = Identity(name="", method="anonymous", kind="anonymous")
_RECALLED: Final = Recalled(ANONYMOUS)


class Anonymous:
    """Lets everybody in, and does not look at what they send."""

    @property
    def challenge(self) -> None:
        """Nobody is asked for credentials."""
        return

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002 - the contract
        """Return the one anonymous identity; credentials are ignored, as registry:2 does."""
        return ANONYMOUS

    def recall(self, authorization: str | None) -> Recalled:  # noqa: ARG002 - the contract
        """See `Authenticator.recall`."""
        return _RECALLED
