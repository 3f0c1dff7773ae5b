"""`auth: silly`, registry:2's authentication for its own tests: whoever sends an Authorization
header, whatever it says, is `silly` and may do everything.
"""

from typing import Final

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import UnauthorizedError
from entrepot.identity.authenticator import Recalled

METHOD: Final = "silly"
_SILLY: Final = Identity("silly", METHOD, administrator=True)


class Silly:
    """Lets everybody in who sends the header."""

    challenge = None

    async def authenticate(self, authorization: str | None, origin: Origin) -> Identity:  # noqa: ARG002 - the contract
        """See `Authenticator.authenticate`."""
        if not authorization:
            raise UnauthorizedError
        return _SILLY

    def recall(self, authorization: str | None) -> Recalled | None:
        """See `Authenticator.recall`."""
        return Recalled(_SILLY) if authorization else None
