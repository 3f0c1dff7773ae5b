"""The token server: Docker's "Token Authentication Specification" and its OAuth2 form, and RFC 8693
for those who bring the token of another issuer.
"""

import base64
from typing import Final

from msgspec.structs import asdict

from entrepot.api.context import Context, TokenEndpoint
from entrepot.api.errors import error_response
from entrepot.api.forms import Form, first_of, read_form
from entrepot.api.http import Headers, Request, Response, json_response
from entrepot.core.access import Identity
from entrepot.core.errors import (
    CertificateRefusedError,
    NotFoundError,
    ProtocolError,
    RequestInvalidError,
    UnauthorizedError,
)
from entrepot.core.tokens import Issued, ScopeInvalidError, TokenRefusedError, Wish, parse_scopes
from entrepot.identity import IdentityError
from entrepot.identity.errors import LoginUnfinishedError

KEYS_SECONDS: Final = 300
"""For how long the public keys may be kept; a key is published much longer before its first use."""

_LONGEST_CLIENT: Final = 256
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - its name
_SUBJECT_TYPES: Final = frozenset(
    {
        "urn:ietf:params:oauth:token-type:jwt",
        "urn:ietf:params:oauth:token-type:id_token",
        _ACCESS_TOKEN,
    }
)
_REFUSED: Final = frozenset({"access_denied", "expired_token"})
"""How a login by device ends without one; otherwise it goes on."""

_SECRET: Final[Headers] = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]
_ANONYMOUS: Final = Identity("", "anonymous", "anonymous")


class _OAuthError(Exception):
    """An answer as RFC 6749, 5.2 wants it."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(description)
        self.code = code
        self.status = status


async def get_token(context: Context, request: Request) -> Response:
    """Give a token to whoever brings a name and a password, or nothing at all."""
    endpoint = _endpoint(context)
    try:
        wish = _wish(endpoint, request.query, offline=first_of(request.query, "offline_token"))
        identity = await _find_caller(context, endpoint, request)
        request.actor = identity.name
        return _answer(await endpoint.server.issue(identity, wish, by=request.called_from))
    except UnauthorizedError as error:
        error.headers["WWW-Authenticate"] = 'Basic realm="Entrepot"'
        return error_response(error)
    except _OAuthError as error:
        return _refusal(error)


async def post_token(context: Context, request: Request) -> Response:
    """Give a token for one of the grants of OAuth 2."""
    endpoint = _endpoint(context)
    try:
        form = await _form(request)
        wish = _wish(endpoint, form, offline=str(first_of(form, "access_type") == "offline"))
        grant = first_of(form, "grant_type")
        if grant == "password":
            return await _by_password(context, endpoint, request, form, wish)
        if grant == "refresh_token":
            return await _by_refresh_token(context, endpoint, request, form, wish)
        if grant == _EXCHANGE:
            return await _by_exchange(context, endpoint, request, form, wish)
        if grant == _DEVICE:
            return await _by_device(context, endpoint, request, form, wish)
        known = f"password, refresh_token, {_EXCHANGE} or {_DEVICE}"
        raise _OAuthError("unsupported_grant_type", f"grant_type is not {known}")
    except UnauthorizedError:
        return _refusal(_OAuthError("invalid_grant", "wrong user name or password", status=401))
    except TokenRefusedError as error:
        context.logins.failed(request, "", error)
        return _refusal(_OAuthError("invalid_grant", "the token is not accepted", status=401))
    except _OAuthError as error:
        return _refusal(error)


async def post_device(context: Context, request: Request) -> Response:
    """Begin a login at an OpenID Connect provider (RFC 8628, 3.1): a code to enter there."""
    devices = _endpoint(context).devices
    if devices is None:
        raise NotFoundError({"reason": "this registry has no OpenID Connect provider"})
    try:
        name = first_of(await _form(request), "provider")
        begun = await devices.begin(name, context.origins.of(request))
    except IdentityError as error:
        return _refusal(_OAuthError("invalid_request", str(error)))
    except _OAuthError as error:
        return _refusal(error)
    content = {name: value for name, value in asdict(begun).items() if value != ""}
    return json_response(200, content, headers=_SECRET)


async def post_revoke(context: Context, request: Request) -> Response:
    """End a refresh token (RFC 7009); the answer is the same whether there was one."""
    endpoint = _endpoint(context)
    try:
        token = first_of(await _form(request), "token")
    except _OAuthError as error:
        return _refusal(error)
    request.address = context.origins.of(request).address
    await endpoint.server.revoke(token, by=request.called_from)
    return json_response(200, {}, headers=_SECRET)


async def get_keys(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Give the public keys that tokens are verified by, as a JSON Web Key Set (RFC 7517)."""
    keys = await _endpoint(context).server.keys.key_set()
    return json_response(200, keys, headers=[_kept()], kind=b"application/jwk-set+json")


async def get_certificates(context: Context, request: Request) -> Response:  # noqa: ARG001
    """Give the same keys as certificates in PEM, for another registry's `rootcertbundle`."""
    pem = await _endpoint(context).server.keys.certificates()
    kind = (b"content-type", b"application/pem-certificate-chain")
    return Response(200, [kind, (b"content-length", b"%d" % len(pem)), _kept()], pem)


async def _by_password(
    context: Context, endpoint: TokenEndpoint, request: Request, form: Form, wish: Wish
) -> Response:
    name, password = first_of(form, "username"), first_of(form, "password")
    if not name or not password or ":" in name:
        raise UnauthorizedError
    credential = base64.b64encode(f"{name}:{password}".encode()).decode("ascii")
    identity = await _login(context, endpoint, request, f"Basic {credential}")
    request.actor = identity.name
    return _answer(await endpoint.server.issue(identity, wish, by=request.called_from))


async def _by_refresh_token(
    context: Context, endpoint: TokenEndpoint, request: Request, form: Form, wish: Wish
) -> Response:
    request.address = context.origins.of(request).address
    token = first_of(form, "refresh_token")
    identity, issued = await endpoint.server.refresh(token, wish, by=request.called_from)
    context.logins.succeeded(request, identity)
    request.actor = identity.name
    return _answer(issued)


async def _by_exchange(
    context: Context, endpoint: TokenEndpoint, request: Request, form: Form, wish: Wish
) -> Response:
    """RFC 8693, 2: the token of another issuer becomes one of ours."""
    if first_of(form, "subject_token_type") not in _SUBJECT_TYPES:
        known = ", ".join(sorted(_SUBJECT_TYPES))
        raise _OAuthError("invalid_request", f"subject_token_type is none of {known}")
    if endpoint.exchange is None:
        raise _OAuthError("unsupported_grant_type", "tokens of other issuers are not accepted")
    request.address = context.origins.of(request).address
    identity = await endpoint.exchange(first_of(form, "subject_token"))
    context.logins.succeeded(request, identity)
    request.actor = identity.name
    issued = await endpoint.server.issue(identity, wish, by=request.called_from)
    return _answer(issued, {"issued_token_type": _ACCESS_TOKEN})


async def _by_device(
    context: Context, endpoint: TokenEndpoint, request: Request, form: Form, wish: Wish
) -> Response:
    """RFC 8628, 3.4: whoever entered the code in a browser gets a token."""
    if endpoint.devices is None:
        raise _OAuthError("unsupported_grant_type", "there is no OpenID Connect provider")
    origin = context.origins.of(request)
    request.address = origin.address
    try:
        identity = await endpoint.devices.finish(first_of(form, "device_code"), origin)
    except LoginUnfinishedError as error:
        if error.code in _REFUSED:
            context.logins.failed(request, "", error)
        raise _OAuthError(error.code, "the login is not done") from error
    context.logins.succeeded(request, identity)
    request.actor = identity.name
    if context.browser is not None:
        await context.browser.sessions.note_groups(identity, by=request.called(identity))
    return _answer(await endpoint.server.issue(identity, wish, by=request.called_from))


async def _find_caller(context: Context, endpoint: TokenEndpoint, request: Request) -> Identity:
    """Return who asks: nobody in particular if there is neither a password nor a certificate."""
    authorization = request.header(b"authorization")
    try:
        return await _login(context, endpoint, request, authorization)
    except CertificateRefusedError:
        raise
    except UnauthorizedError:
        if authorization is not None:
            raise
        return _ANONYMOUS


async def _login(
    context: Context, endpoint: TokenEndpoint, request: Request, authorization: str | None
) -> Identity:
    origin = context.origins.of(request)
    request.address = origin.address
    try:
        identity = await endpoint.logins.authenticate(authorization, origin)
    except ProtocolError as error:
        context.logins.failed(request, authorization, error)
        raise
    context.logins.succeeded(request, identity)
    return identity


def _endpoint(context: Context) -> TokenEndpoint:
    if context.tokens is None:
        raise NotFoundError({"reason": "this registry issues no tokens"})
    return context.tokens


def _wish(endpoint: TokenEndpoint, fields: Form, *, offline: str) -> Wish:
    services = endpoint.server.terms.services
    service = first_of(fields, "service") or services[0]
    if service not in services:
        raise _OAuthError("invalid_request", f"service is not {services[0]}")
    client = first_of(fields, "client_id")
    if len(client) > _LONGEST_CLIENT or not client.isprintable():
        raise _OAuthError("invalid_request", "client_id is too long or holds what it may not")
    try:
        scopes = parse_scopes(fields.get("scope", ()))
    except ScopeInvalidError as error:
        raise _OAuthError("invalid_scope", str(error)) from error
    return Wish(service, client, scopes, offline=offline.lower() in {"true", "1"})


async def _form(request: Request) -> Form:
    try:
        return await read_form(request)
    except RequestInvalidError as error:
        raise _OAuthError("invalid_request", "expected a form, URL-encoded") from error


def _answer(issued: Issued, more: dict[str, object] | None = None) -> Response:
    content: dict[str, object] = {
        "token": issued.token,
        "access_token": issued.token,
        "token_type": "Bearer",
        "scope": issued.scope,
        "expires_in": issued.expires_in,
        "issued_at": issued.issued_at,
        **(more or {}),
    }
    if issued.refresh_token is not None:
        content["refresh_token"] = issued.refresh_token
    return json_response(200, content, headers=_SECRET)


def _refusal(error: _OAuthError) -> Response:
    """Return an answer that both OAuth's clients and the registry's understand."""
    code = "UNAUTHORIZED" if error.status == 401 else "UNSUPPORTED"
    content = {
        "error": error.code,
        "error_description": str(error),
        "errors": [{"code": code, "message": str(error), "detail": None}],
    }
    return json_response(error.status, content, headers=_SECRET)


def _kept() -> tuple[bytes, bytes]:
    return b"cache-control", b"public, max-age=%d" % KEYS_SECONDS
