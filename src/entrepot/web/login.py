"""`/auth/login` and `/auth/callback`: how somebody gets a session."""

import base64
import secrets
from typing import Final

from entrepot.api.context import BrowserEndpoint, Context
from entrepot.api.cookies import SESSION, read_cookie, set_cookie
from entrepot.api.forms import first_of, read_form
from entrepot.api.http import Request, Response
from entrepot.api.same_site import check_same_site
from entrepot.core.access import Identity
from entrepot.core.errors import (
    CrossSiteError,
    NotFoundError,
    ObjectUnknownError,
    ProtocolError,
    RequestInvalidError,
    TooManyRequestsError,
    UnauthorizedError,
)
from entrepot.core.form_tokens import NOT_OURS, form_token, is_form_token
from entrepot.core.local_paths import parse_local_path
from entrepot.identity import IdentityError
from entrepot.identity.errors import LoginUnfinishedError
from entrepot.services.browser_logins import SECONDS, BrowserLogins, Returned
from entrepot.web.pages import ACCOUNT, LOGIN, endpoint_of, page, redirect, texts_of

_UNDER_WAY: Final = "entrepot-login"
"""The cookie of a login at a provider that is not finished."""

_FORM: Final = "entrepot-form"
"""The cookie of a browser that got the form for a name and password."""

_STAY: Final = frozenset({"ended", "choose"})
"""Parameters with which the only provider isn't gone to at once: that would log in again whoever
has just logged out, and refuse again whom it has just refused."""

_FORM_SECONDS: Final = 3600
_BY_PASSWORD: Final = frozenset({"local", "htpasswd", "ldap"})
"""Who was known so may have a session; a robot and a limited secret may not."""


async def show(context: Context, request: Request) -> Response:
    """Show the ways to log in, or take the only one if it is a provider."""
    browser = endpoint_of(context)
    names = browser.logins.names if browser.logins is not None else ()
    wanted = request.parameter("provider")
    only = len(names) == 1 and browser.passwords is None and _STAY.isdisjoint(request.query)
    if browser.logins is not None and (wanted or only):
        return await _to_provider(context, request, browser.logins, wanted or names[0])
    return _ways(context, request, browser, back_to=_back_to(request.parameter("next")))


async def by_password(context: Context, request: Request) -> Response:
    """Let somebody in by name and password."""
    browser = endpoint_of(context)
    if browser.passwords is None:
        raise NotFoundError
    origin = context.origins.of(request)
    request.address = origin.address
    try:
        check_same_site(request, context.links)
    except CrossSiteError as error:
        context.logins.failed(request, "", error)
        raise
    form = await read_form(request)
    back_to, texts = _back_to(first_of(form, "next")), texts_of(request)
    cookie = read_cookie(request, _FORM, secure=context.links.is_secure(request))
    if not is_form_token(first_of(form, "token"), cookie, secret=browser.secret):
        context.logins.failed(request, "", CrossSiteError(NOT_OURS))
        return _ways(context, request, browser, back_to=back_to, status=400, error=texts.form_old)
    name, password = first_of(form, "name"), first_of(form, "password")
    credential = "" if ":" in name else f"{name}:{password}"
    authorization = f"Basic {base64.b64encode(credential.encode()).decode()}"
    try:
        identity = await browser.passwords.authenticate(authorization, origin)
        if identity.method not in _BY_PASSWORD:
            raise UnauthorizedError
        return await _enter(context, request, identity, back_to=back_to)
    except ProtocolError as error:
        context.logins.failed(request, authorization, error)
        if isinstance(error, UnauthorizedError):
            status, said = 403, texts.wrong
        elif isinstance(error, TooManyRequestsError):
            status, said = 429, texts.locked
        else:
            raise
    return _ways(context, request, browser, back_to=back_to, status=status, error=said, name=name)


async def come_back(context: Context, request: Request, provider: str) -> Response:
    """Let somebody in who comes back from a provider."""
    browser = endpoint_of(context)
    if browser.logins is None:
        raise NotFoundError
    secure = context.links.is_secure(request)
    origin = context.origins.of(request)
    request.address = origin.address
    returned = Returned(
        code=_single(request, "code"),
        state=_single(request, "state"),
        issuer=_single(request, "iss"),
        error=_single(request, "error"),
    )
    cookie = read_cookie(request, _UNDER_WAY, secure=secure)
    try:
        identity, back_to = await browser.logins.finish(
            provider, returned, cookie=cookie, origin=origin
        )
        return await _enter(context, request, identity, provider=provider, back_to=back_to)
    except (LoginUnfinishedError, UnauthorizedError) as error:
        expired = isinstance(error, LoginUnfinishedError) and error.code == "expired_token"
        context.logins.failed(request, "", error)
    texts = texts_of(request)
    return page(
        context,
        request,
        "message.html",
        status=400 if expired else 403,
        headers=[set_cookie(_UNDER_WAY, "", secure=secure, seconds=0)],
        title=texts.login_old if expired else texts.login_refused,
        text=texts.login_old_why if expired else texts.login_refused_why,
        request_id="",
    )


async def _to_provider(
    context: Context, request: Request, logins: BrowserLogins, name: str
) -> Response:
    back_to = _back_to(request.parameter("next"))
    redirect_uri = context.links.absolute(request, f"/auth/callback/{name}")
    if "://" not in redirect_uri:
        raise RequestInvalidError({"reason": "the request names no host"})
    try:
        address, cookie = await logins.begin(
            name, redirect_uri=redirect_uri, back_to=back_to, origin=context.origins.of(request)
        )
    except IdentityError as error:
        raise ObjectUnknownError({"reason": "there is no such provider"}) from error
    secure = context.links.is_secure(request)
    return redirect(address, [set_cookie(_UNDER_WAY, cookie, secure=secure, seconds=SECONDS)])


async def _enter(
    context: Context, request: Request, identity: Identity, *, back_to: str, provider: str = ""
) -> Response:
    """Give somebody a session, and send them on."""
    browser, secure = endpoint_of(context), context.links.is_secure(request)
    request.actor = identity.name
    cookie = await browser.sessions.begin(identity, provider=provider, by=request.called(identity))
    seconds = browser.sessions.lives.lifetime
    return redirect(
        back_to or context.links.local(ACCOUNT),
        [
            set_cookie(SESSION, cookie, secure=secure, seconds=seconds),
            set_cookie(_UNDER_WAY, "", secure=secure, seconds=0),
            set_cookie(_FORM, "", secure=secure, seconds=0),
        ],
    )


def _ways(
    context: Context,
    request: Request,
    browser: BrowserEndpoint,
    *,
    back_to: str,
    status: int = 200,
    error: str = "",
    name: str = "",
) -> Response:
    """Return the page with the ways to log in."""
    secure = context.links.is_secure(request)
    cookie = read_cookie(request, _FORM, secure=secure) or secrets.token_urlsafe(32)
    return page(
        context,
        request,
        "login.html",
        status=status,
        headers=[set_cookie(_FORM, cookie, secure=secure, seconds=_FORM_SECONDS)],
        providers=browser.logins.names if browser.logins is not None else (),
        passwords=browser.passwords is not None,
        token=form_token(cookie, secret=browser.secret),
        action=context.links.local(LOGIN),
        back_to=back_to,
        ended=request.parameter("ended") is not None,
        error=error,
        name=name,
    )


def _back_to(wanted: str | None) -> str:
    """Return where somebody wants to go, if that is a page here."""
    return parse_local_path(wanted or "") or ""


def _single(request: Request, name: str) -> str:
    """Return a parameter of the query that may be there once (RFC 6749, 3.1)."""
    values = request.query.get(name, [])
    return values[0] if len(values) == 1 else ""
