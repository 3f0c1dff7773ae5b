"""`auth.oidc`: people who log in at an OpenID Connect provider: with the device flow (RFC 8628), or
in a browser, with an authorization code and PKCE (RFC 7636).

What makes an ID token good (OpenID Connect Core 1.0, 3.1.3.7):

1. It comes from the provider itself, by the endpoint that its own discovery document names.
2. The signature is by one of its keys, and the algorithm one with a public key.
3. It is the issuer's, for this client and no other, and its time is now.
4. What it doesn't say is asked of the provider's userinfo, which must be about the same subject
   (5.3.2).
5. It has the nonce of the browser's login, if it comes from one (3.1.3.7, 11).
"""

import base64
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec
import structlog
from msgspec import Struct

from entrepot.core.access import Identity
from entrepot.core.accounts import AccountError, check_user_name
from entrepot.core.errors import UnreachableError
from entrepot.core.tokens import (
    TokenRefusedError,
    TokenRules,
    check_claims,
    find_claim,
    read_claims,
)
from entrepot.identity.errors import IdentityError, LoginUnfinishedError
from entrepot.identity.jws import ALGORITHMS, read_token, verify
from entrepot.identity.key_sources import KeySource
from entrepot.identity.remote_keys import fetch, send
from entrepot.telemetry import Metrics

METHOD: Final = "oidc"

_ALGORITHMS: Final = frozenset(name for name in ALGORITHMS if not name.startswith("HS"))
_DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_UNFINISHED: Final = frozenset(
    {"authorization_pending", "slow_down", "access_denied", "expired_token"}
)
_REFRESH: Final = 300.0
_MOST_GROUPS: Final = 500

_log = structlog.get_logger("entrepot.identity")

Adopt = Callable[[Identity], Awaitable[Identity | None]]


class ProviderRules(Struct, frozen=True):
    """A provider, and who its people are here; see `config.schema_openid.OpenIdProvider`."""

    name: str
    issuer: str
    clientid: str
    clientsecret: str
    scopes: tuple[str, ...]
    username: str
    prefix: str
    groups: str
    mapping: Mapping[str, tuple[str, ...]]
    domains: tuple[str, ...]
    cafile: str
    leeway: float


class Begun(Struct, frozen=True):
    """What the provider says to somebody who wants to log in (RFC 8628, 3.2)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str = ""
    expires_in: float = 600
    interval: float = 5


class _Endpoints(Struct, frozen=True):
    issuer: str
    token_endpoint: str
    authorization_endpoint: str = ""
    device_authorization_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _Answer(Struct, frozen=True):
    id_token: str
    access_token: str = ""


class Provider:
    """One provider; `keys` gives its keys. `adopt` has the last word on who somebody is."""

    def __init__(
        self,
        rules: ProviderRules,
        keys: KeySource,
        *,
        adopt: Adopt,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = rules.name
        self._rules = rules
        self._keys = keys
        self._adopt = adopt
        self._count = metrics.authentication
        self._clock = clock
        self._tokens = TokenRules((rules.issuer,), (rules.clientid,), rules.leeway)
        self._known: _Endpoints | None = None
        self._fresh_until = 0.0

    async def begin(self) -> Begun:
        """Ask for a code that somebody enters at the provider.

        Raises:
            UnreachableError: the provider is away, or can't do that.
        """
        found = await self._endpoints()
        if not found.device_authorization_endpoint:
            raise UnreachableError(f"{self._rules.issuer} knows no login by device")
        scopes = " ".join(("openid", *self._rules.scopes))
        url = found.device_authorization_endpoint
        status, content = await self._post(found, url, {"scope": scopes})
        if status != 200:
            raise self._failed(f"answers {status} {_error(content)} to a login by device")
        try:
            begun = msgspec.json.decode(content, type=Begun)
        except msgspec.DecodeError as error:
            raise self._failed("begins a login by device with something else") from error
        for address in (begun.verification_uri, begun.verification_uri_complete):
            if address and urlsplit(address).scheme not in {"http", "https"}:
                raise self._failed("names no page for a login by device")
        return begun

    async def finish(self, device_code: str) -> Identity:
        """Return who entered the code.

        Raises:
            LoginUnfinishedError: nobody has yet, or nobody will any more.
            UnreachableError: the provider is away.
        """
        found = await self._endpoints()
        form = {"grant_type": _DEVICE_GRANT, "device_code": device_code}
        status, content = await self._post(found, found.token_endpoint, form)
        if status != 200:
            code = "expired_token" if _error(content) == "invalid_grant" else _error(content)
            if code in _UNFINISHED:
                raise LoginUnfinishedError(code)
            raise self._failed(f"answers {status} {code} to a login by device")
        return await self._admit(found, content)

    async def page(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Return the address to which a browser is sent to log in (OpenID Connect Core 1.0,
        3.1.2.1; RFC 7636, 4.3); `challenge` is the hash of the verifier.

        Raises:
            UnreachableError: the provider is away, or can't do that.
        """
        found = await self._endpoints()
        page = urlsplit(found.authorization_endpoint)
        if page.scheme not in {"http", "https"} or not _is_plain(found.authorization_endpoint):
            raise self._failed("names no page for a login in a browser")
        asked = {
            "response_type": "code",
            "client_id": self._rules.clientid,
            "redirect_uri": redirect_uri,
            "scope": " ".join(("openid", *self._rules.scopes)),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        query = "&".join(filter(None, (page.query, urlencode(asked))))
        return page._replace(query=query, fragment="").geturl()

    async def check_issuer(self, issuer: str) -> None:
        """Make sure that an answer is this provider's, by what it says of itself (RFC 9207, 2.4).

        Raises:
            LoginUnfinishedError: it is another one's, or doesn't say so though it must.
            UnreachableError: the provider is away.
        """
        found = await self._endpoints()
        silent = not issuer and not found.authorization_response_iss_parameter_supported
        if not silent and issuer != self._rules.issuer:
            self._refused("the answer to a login is another issuer's")
            raise LoginUnfinishedError("access_denied")

    async def redeem(self, code: str, *, redirect_uri: str, verifier: str, nonce: str) -> Identity:
        """Return who got an authorization code (RFC 6749, 4.1.3).

        Raises:
            LoginUnfinishedError: the code is no good, or whoever it is may not get in.
            UnreachableError: the provider is away.
        """
        found = await self._endpoints()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        status, content = await self._post(found, found.token_endpoint, form)
        if status != 200 and _error(content) == "invalid_grant":
            self._refused("the provider doesn't take the code")
            raise LoginUnfinishedError("expired_token")
        if status != 200:
            raise self._failed(f"answers {status} {_error(content)} to a login in a browser")
        return await self._admit(found, content, nonce=nonce)

    async def _admit(
        self, found: _Endpoints, content: bytes, *, nonce: str | None = None
    ) -> Identity:
        try:
            answer = msgspec.json.decode(content, type=_Answer)
        except msgspec.DecodeError as error:
            raise self._failed("gives no ID token") from error
        try:
            identity = await self._identity(found, answer, nonce)
        except TokenRefusedError as refusal:
            self._refused(str(refusal))
            raise LoginUnfinishedError("access_denied") from refusal
        self._count(METHOD, "verified")
        return identity

    def _refused(self, reason: str) -> None:
        _log.info("login by OpenID Connect refused", provider=self.name, reason=reason)
        self._count(METHOD, "refused")

    async def _identity(self, found: _Endpoints, answer: _Answer, nonce: str | None) -> Identity:
        said = await self._verified(answer.id_token)
        if nonce is not None and said.get("nonce") != nonce:
            raise TokenRefusedError("the token is for another login")
        wanted = {self._rules.username, self._rules.groups, "email" if self._rules.domains else ""}
        missing = [name for name in wanted if name and find_claim(said, name) is None]
        if missing and found.userinfo_endpoint and answer.access_token:
            said = {**await self._userinfo(found, answer.access_token, said["sub"]), **said}
        self._check_domain(said)
        name = find_claim(said, self._rules.username)
        try:
            name = self._rules.prefix + check_user_name(name if isinstance(name, str) else "")
        except AccountError as error:
            raise TokenRefusedError(f"the claim {self._rules.username}: {error}") from error
        identity = await self._adopt(Identity(name, METHOD, groups=self._groups(said)))
        if identity is None:
            raise TokenRefusedError(f"{name} is disabled here, or has a password here")
        return identity

    async def _verified(self, token: str) -> dict[str, Any]:
        """Return what a good ID token says, or raise TokenRefusedError."""
        now = self._clock()
        unverified = read_token(token, algorithms=_ALGORITHMS)
        claims = read_claims(unverified.payload)
        check_claims(claims, self._tokens, now=now)
        keys = await self._keys.keys(unverified.header)
        verify(unverified, keys.find(unverified.header, now=now))
        said: dict[str, Any] = msgspec.json.decode(unverified.payload)
        several = not isinstance(claims.aud, str) and len(claims.aud) > 1
        if not claims.sub or said.get("azp", self._rules.clientid) != self._rules.clientid:
            raise TokenRefusedError("the token is nobody's, or was issued to another client")
        if several and "azp" not in said:
            raise TokenRefusedError("the token is for several, and doesn't say for whom it is")
        return said

    async def _userinfo(self, found: _Endpoints, token: str, subject: str) -> dict[str, Any]:
        status, content = await send(
            "GET",
            found.userinfo_endpoint,
            cafile=self._rules.cafile,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        )
        if status != 200:
            raise self._failed(f"answers {status} to a request for userinfo")
        try:
            said = msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._failed("gives userinfo that is no JSON object") from error
        if said.get("sub") != subject:
            raise TokenRefusedError("the userinfo is about somebody else")
        return said

    def _check_domain(self, said: Mapping[str, Any]) -> None:
        if not self._rules.domains:
            return
        email = said.get("email")
        domain = email.rpartition("@")[2].lower() if isinstance(email, str) else ""
        if said.get("email_verified") is not True:
            raise TokenRefusedError("the e-mail address is not verified (email_verified)")
        if domain not in {allowed.lower() for allowed in self._rules.domains}:
            raise TokenRefusedError("the e-mail address is in none of auth.oidc.domains")

    def _groups(self, said: Mapping[str, Any]) -> tuple[str, ...]:
        """Return somebody's groups. A group that is left out may be one that is denied something:
        what isn't there whole is refused.
        """
        if not self._rules.groups:
            return ()
        elsewhere = said.get("_claim_names")
        if isinstance(elsewhere, dict) and self._rules.groups in elsewhere:
            raise TokenRefusedError("somebody is in more groups than the provider lists")
        value = find_claim(said, self._rules.groups)
        theirs = [] if value is None else value if isinstance(value, list) else [value]
        if len(theirs) > _MOST_GROUPS or not all(
            isinstance(name, str) and name.isprintable() for name in theirs
        ):
            raise TokenRefusedError(f"the claim {self._rules.groups} is no list of groups")
        if not self._rules.mapping:
            return tuple(sorted({name for name in theirs if name}))
        return tuple(
            sorted(ours for ours, meant in self._rules.mapping.items() if {*meant} & {*theirs})
        )

    async def _endpoints(self) -> _Endpoints:
        """Return what the discovery document names, which is asked for every five minutes."""
        if self._known is not None and self._clock() < self._fresh_until:
            return self._known
        issuer = self._rules.issuer
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        content = await fetch(url, cafile=self._rules.cafile)
        try:
            found = msgspec.json.decode(content, type=_Endpoints)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._failed("has no discovery document") from error
        if found.issuer != issuer:
            raise self._failed("has the discovery document of another issuer")
        own = (
            found.token_endpoint,
            found.authorization_endpoint,
            found.device_authorization_endpoint,
            found.userinfo_endpoint,
        )
        if issuer.startswith("https:") and any(
            url and urlsplit(url).scheme != "https" for url in own
        ):
            raise self._failed("leads to endpoints without https")
        self._known, self._fresh_until = found, self._clock() + _REFRESH
        return found

    async def _post(
        self, found: _Endpoints, url: str, form: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Send a form as our client (RFC 6749, 2.3.1)."""
        rules = self._rules
        headers = {"Accept": "application/json"}
        form = {**form, "client_id": rules.clientid}
        methods = found.token_endpoint_auth_methods_supported
        if rules.clientsecret and "client_secret_basic" in methods:
            pair = f"{quote_plus(rules.clientid)}:{quote_plus(rules.clientsecret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif rules.clientsecret:
            form["client_secret"] = rules.clientsecret
        return await send("POST", url, cafile=rules.cafile, form=form, headers=headers)

    def _failed(self, what: str) -> UnreachableError:
        return UnreachableError(f"{self._rules.issuer} {what}")


def _is_plain(url: str) -> bool:
    """Tell whether a URL can be sent in a header."""
    return url.isascii() and url.isprintable() and " " not in url


def _error(content: bytes) -> str:
    """Return the code of an answer that is an error (RFC 6749, 5.2)."""
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return ""
    code = said.get("error", "") if isinstance(said, dict) else ""
    return code if isinstance(code, str) and code.isascii() and code.isprintable() else ""


def find_provider(providers: Sequence[Provider], name: str) -> Provider:
    """Return the provider of this name, or the only one if it is empty. Raises IdentityError."""
    found = [provider for provider in providers if name in ("", provider.name)]
    if len(found) != 1:
        names = ", ".join(provider.name for provider in providers)
        raise IdentityError(f"say which provider is meant: {names}")
    return found[0]
