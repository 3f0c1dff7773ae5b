"""Logins in a browser at an OpenID Connect provider: authorization code with PKCE.

1. `begin` sends the browser to the provider, with a random state and nonce, and the hash of a
   random verifier (RFC 7636). These and where the browser wants to go are in a cookie, sealed, for
   ten minutes: nothing is kept here, so that any process may go on.
2. The browser comes back. The state must be the one in its cookie (RFC 6749, 10.12), so that nobody
   can bring another browser into their session, and the provider the one that it was sent to.
3. The provider must say that it is who it is, if it ever does (`iss`, RFC 9207).
4. The code is exchanged with the verifier, which nobody but this browser has; the provider takes a
   code once.
5. The ID token must be good (`identity.openid`), and have the nonce.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.access import Identity, Origin
from entrepot.core.errors import UnreachableError
from entrepot.core.sealing import NONCE_BYTES, SealBrokenError, seal, unseal
from entrepot.identity import Authenticator, IdentityError
from entrepot.identity.errors import LoginUnfinishedError
from entrepot.identity.openid import Provider, find_provider
from entrepot.services.devices import away

SECONDS: Final = 600
"""How long a login may take."""

_PURPOSE: Final = "a login in a browser"
_SECOND: Final = 1_000_000
_LONGEST: Final = 8192
_LONGEST_CODE: Final = 4096
_EXPIRED: Final = "expired_token"


class _State(Struct, frozen=True, array_like=True):
    provider: str
    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    back_to: str
    until: int


class Returned(Struct, frozen=True):
    """What a browser brings back from the provider (RFC 6749, 4.1.2; RFC 9207, 2)."""

    code: str
    state: str
    issuer: str
    error: str


class BrowserLogins:
    """Logins in a browser at `providers`. `limit` lets only so many requests from one address
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
        self.names = tuple(provider.name for provider in providers)
        self._providers = providers
        self._secret = secret
        self._limit = limit
        self._now = now

    async def begin(
        self, name: str, *, redirect_uri: str, back_to: str, origin: Origin
    ) -> tuple[str, str]:
        """Return where the provider `name` wants the browser, and the cookie that it must bring
        back to `redirect_uri`.

        Raises:
            IdentityError: there is no such provider.
            TooManyRequestsError: too many logins were begun.
            UnavailableError: the provider is away.
        """
        await self._limit.authenticate(None, origin)
        provider = find_provider(self._providers, name)
        state = _State(
            provider=provider.name,
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=redirect_uri,
            back_to=back_to,
            until=self._now() + SECONDS * _SECOND,
        )
        digest = hashlib.sha256(state.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        try:
            page = await provider.page(
                redirect_uri=redirect_uri, state=state.state, nonce=state.nonce, challenge=challenge
            )
        except (UnreachableError, IdentityError) as error:
            raise away(provider, error) from error
        sealed = seal(
            msgspec.json.encode(state),
            secret=self._secret,
            purpose=_PURPOSE,
            nonce=secrets.token_bytes(NONCE_BYTES),
        )
        return page, base64.urlsafe_b64encode(sealed).decode()

    async def finish(
        self, name: str, returned: Returned, *, cookie: str, origin: Origin
    ) -> tuple[Identity, str]:
        """Return who came back from the provider `name`, and where they want to go.

        Raises:
            LoginUnfinishedError: nobody, because they don't want to or the provider or the
                registry doesn't let them in (`access_denied`), or because this browser began no
                such login, or too long ago (`expired_token`).
            TooManyRequestsError: this is asked too often.
            UnavailableError: the provider is away.
        """
        await self._limit.authenticate(None, origin)
        state = self._open(cookie)
        same = hmac.compare_digest(state.state.encode(), returned.state.encode())
        if not same or state.provider != name or self._now() > state.until:
            raise LoginUnfinishedError(_EXPIRED)
        try:
            provider = find_provider(self._providers, state.provider)
        except IdentityError as error:
            raise LoginUnfinishedError(_EXPIRED) from error
        try:
            await provider.check_issuer(returned.issuer)
            if returned.error or not 0 < len(returned.code) <= _LONGEST_CODE:
                raise LoginUnfinishedError("access_denied")
            identity = await provider.redeem(
                returned.code,
                redirect_uri=state.redirect_uri,
                verifier=state.verifier,
                nonce=state.nonce,
            )
        except (UnreachableError, IdentityError) as error:
            raise away(provider, error) from error
        return identity, state.back_to

    def _open(self, cookie: str) -> _State:
        try:
            sealed = base64.urlsafe_b64decode(cookie[:_LONGEST].encode("ascii"))
            opened = unseal(sealed, secret=self._secret, purpose=_PURPOSE)
        except (SealBrokenError, UnicodeEncodeError, binascii.Error) as error:
            raise LoginUnfinishedError(_EXPIRED) from error
        return msgspec.json.decode(opened, type=_State)
