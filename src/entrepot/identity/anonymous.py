"""`auth: none`: everybody is nobody in particular."""

from entrepot.core.access import Identity, Origin

ANONYMOUS = Identity(name="", method="anonymous", kind="anonymous")


class Anonymous:
    """Lets everybody in, and does not look at what they send."""

    @property
    def challenge(self) -> None:
        """Nobody is asked for credentials."""
        return

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002 - the contract
        """Return the one anonymous identity; credentials are ignored, as registry:2 does."""
        return ANONYMOUS

    def recall(self, authorization: str | None) -> Identity:  # noqa: ARG002 - the contract
        """See `Authenticator.recall`."""
        return ANONYMOUS
