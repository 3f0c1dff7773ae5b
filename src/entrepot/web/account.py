"""`/account`: who somebody is here, their personal access tokens and their sessions."""

from contextlib import suppress
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.api.context import Context
from entrepot.api.cookies import SESSION, read_cookie, set_cookie
from entrepot.api.forms import Form, first_of, read_form
from entrepot.api.http import Request, Response
from entrepot.api.v1 import users
from entrepot.api.v1.forms import TokenMade, TokenMake, moment
from entrepot.api.v1.operation import Call
from entrepot.core.accounts import AccountError, AccountUnknownError, BrowserSession
from entrepot.core.errors import CrossSiteError, ObjectUnknownError
from entrepot.core.form_tokens import NOT_OURS, form_token, is_form_token
from entrepot.services.browser_sessions import SESSION as OF_SESSION
from entrepot.web.pages import ACCOUNT, LOGIN, endpoint_of, page, redirect, texts_of

DAYS: Final = (7, 30, 90, 365)
"""How long a token may be made for."""

_USUAL_DAYS: Final = 90
_DAY: Final = 86_400
ACTIONS: Final = {"pull": "pull", "push": "pull,push"}
"""What a token may be limited to; without one of these it may do what its owner may."""


class Session(Struct, frozen=True):
    """What is shown of a session."""

    id: int
    provider: str
    address: str
    created_at: datetime
    seen_at: datetime
    current: bool


async def show(context: Context, request: Request) -> Response:
    """Show who somebody is."""
    return await _page(context, request)


async def make_token(context: Context, request: Request) -> Response:
    """Make a personal access token, and show it this once."""
    form = await _checked_form(context, request)
    try:
        wanted = msgspec.convert(_wanted(form), TokenMake)
        made = await users.create_token(_call(context, request), request.identity.name, wanted)
    except (AccountError, msgspec.ValidationError) as error:
        return await _page(context, request, status=400, error=str(error))
    return await _page(context, request, made=made)


async def revoke_token(context: Context, request: Request, token: str) -> Response:
    """Remove a personal access token."""
    await _checked_form(context, request)
    with suppress(AccountUnknownError):
        await users.revoke_token(_call(context, request), request.identity.name, _number(token))
    return redirect(context.links.local(ACCOUNT))


async def end_session(context: Context, request: Request, session: str) -> Response:
    """End another session of somebody."""
    await _checked_form(context, request)
    await _end(context, request, _number(session))
    return redirect(context.links.local(ACCOUNT))


async def log_out(context: Context, request: Request) -> Response:
    """End the session that somebody is using."""
    await _checked_form(context, request)
    await _end(context, request, _own(request))
    secure = context.links.is_secure(request)
    address = context.links.local(f"{LOGIN}?ended")
    return redirect(address, [set_cookie(SESSION, "", secure=secure, seconds=0)])


async def _end(context: Context, request: Request, session: int) -> None:
    with suppress(AccountUnknownError):
        sessions = endpoint_of(context).sessions
        await sessions.end(request.identity.name, session, by=request.caller)


async def _page(
    context: Context,
    request: Request,
    *,
    status: int = 200,
    error: str = "",
    made: TokenMade | None = None,
) -> Response:
    browser, me = endpoint_of(context), request.identity
    sessions = [_shown(found, _own(request)) for found in await browser.sessions.list(me.name)]
    tokens = await users.list_tokens(_call(context, request), me.name)
    return page(
        context,
        request,
        "account.html",
        status=status,
        me=me,
        way=next((found.provider for found in sessions if found.current), "") or me.method,
        tokens=tokens.items,
        sessions=sessions,
        host=context.links.origin(request).partition("://")[2],
        days=DAYS,
        usual_days=_USUAL_DAYS,
        token=form_token(_cookie(context, request), secret=browser.secret),
        error=error,
        made=made,
    )


def _shown(session: BrowserSession, own: int) -> Session:
    return Session(
        id=session.id,
        provider=session.provider,
        address=session.address,
        created_at=moment(session.created_at),
        seen_at=moment(session.seen_at),
        current=session.id == own,
    )


def _wanted(form: Form) -> dict[str, object]:
    """Return what a form asks for, as the API has it."""
    wanted: dict[str, object] = {"name": first_of(form, "name").strip()}
    pattern = first_of(form, "repositories").strip() or "**"
    actions = ACTIONS.get(first_of(form, "actions"))
    if actions is not None:
        wanted["scopes"] = [f"{pattern}:{actions}"]
    days = first_of(form, "days")
    if days in {str(number) for number in DAYS}:
        wanted["expires_in"] = int(days) * _DAY
    return wanted


async def _checked_form(context: Context, request: Request) -> Form:
    """Return the form, if it is from a page that was made for this session."""
    form = await read_form(request)
    cookie, secret = _cookie(context, request), endpoint_of(context).secret
    if not is_form_token(first_of(form, "token"), cookie, secret=secret):
        raise CrossSiteError(NOT_OURS, told=texts_of(request).form_old)
    return form


def _cookie(context: Context, request: Request) -> str:
    return read_cookie(request, SESSION, secure=context.links.is_secure(request))


def _call(context: Context, request: Request) -> Call:
    return Call(context.accounts, request.identity, request.caller, context.stores)


def _own(request: Request) -> int:
    """Return the id of the session that a request comes with."""
    return int(request.identity.credential.removeprefix(f"{OF_SESSION}:"))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ObjectUnknownError({"reason": "there is no such thing"})
    return int(text)
