"""Logins by device: a program shows a code, its user enters it in a browser (RFC 8628).

Nothing is kept in between: what the provider must be asked again is in the code that the program
gets, sealed, so that any process may go on.
"""

import base64
import binascii
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import UnavailableError, UnreachableError
from entrepot.core.sealing import NONCE_BYTES, SealBrokenError, seal, unseal
from entrepot.identity import Authenticator, IdentityError
from entrepot.identity.errors import LoginUnfinishedError
from entrepot.identity.openid import Begun, Provider, find_provider

_PURPOSE: Final = "a login by device"
_LONGEST: Final = 4096
_SECOND: Final = 1_000_000

_log = structlog.get_logger("entrepot.identity")


class _State(Struct, frozen=True, array_like=True):
    provider: str
    device_code: str
    until: int


class Devices:
    """Logins by device at `providers`. `limit` lets only so many requests from one address
    through, for nobody has logged in yet. `now` is in microseconds since 1970.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        secret: bytes,
        limit: Authenticator,
        now: Callable[[], int],
    ) -> None:
        self._providers = providers
        self._secret = secret
        self._limit = limit
        self._now = now

    async def begin(self, name: str, origin: Origin) -> Begun:
        """Begin a login at the provider `name`, which may be empty if there is one only.

        Raises:
            IdentityError: there is no such provider; the text names those that there are.
            TooManyRequestsError: too many of them were begun.
            UnavailableError: the provider is away.
        """
        await self._limit.authenticate(None, origin)
        provider = find_provider(self._providers, name)
        try:
            begun = await provider.begin()
        except (UnreachableError, IdentityError) as error:
            raise away(provider, error) from error
        until = self._now() + int(begun.expires_in * _SECOND)
        state = msgspec.json.encode(_State(provider.name, begun.device_code, until))
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = seal(state, secret=self._secret, purpose=_PURPOSE, nonce=nonce)
        code = base64.urlsafe_b64encode(sealed).decode("ascii")
        return msgspec.structs.replace(begun, device_code=code)

    async def finish(self, code: str, origin: Origin) -> Identity:
        """Return who entered the code.

        Raises:
            LoginUnfinishedError: nobody has yet, or nobody will any more.
            TooManyRequestsError: this is asked too often.
            UnavailableError: the provider is away.
        """
        await self._limit.authenticate(None, origin)
        try:
            sealed = base64.urlsafe_b64decode(code[:_LONGEST].encode("ascii"))
            opened = unseal(sealed, secret=self._secret, purpose=_PURPOSE)
        except (SealBrokenError, UnicodeEncodeError, binascii.Error) as error:
            raise LoginUnfinishedError("expired_token") from error
        state = msgspec.json.decode(opened, type=_State)
        if self._now() > state.until:
            raise LoginUnfinishedError("expired_token")
        try:
            provider = find_provider(self._providers, state.provider)
        except IdentityError as error:
            raise LoginUnfinishedError("expired_token") from error
        try:
            return await provider.finish(state.device_code)
        except (UnreachableError, IdentityError) as error:
            raise away(provider, error) from error


def away(provider: Provider, error: Exception) -> UnavailableError:
    """Return what a client is told when a provider is away; the log names it."""
    _log.error("an OpenID Connect provider is away", provider=provider.name, error=error)
    return UnavailableError({"reason": "the provider that knows who you are is away"})
