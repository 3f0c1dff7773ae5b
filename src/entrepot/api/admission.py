"""Whether a request is let in: who sends it, and may they do what its route is for?

It is decided before anything is looked for. So a repository that somebody may not read answers them
like one that does not exist, and takes as long.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from entrepot.api.context import BrowserEndpoint, Context
from entrepot.api.cookies import SESSION, read_cookie
from entrepot.api.http import Request
from entrepot.api.logins import NOT_BY_LOGIN, why
from entrepot.api.route import BY_SESSION, WEB, Route
from entrepot.api.same_site import check_same_site, is_by_browser
from entrepot.api.v1.operation import Operation
from entrepot.core.access import Action, Identity, Origin
from entrepot.core.audit import event
from entrepot.core.decision import Decision
from entrepot.core.errors import (
    BlobUnknownError,
    CertificateRefusedError,
    DeniedError,
    InsufficientScopeError,
    ManifestUnknownError,
    NameUnknownError,
    ProtocolError,
    UnauthorizedError,
)
from entrepot.core.names import RepositoryName

_NOBODY: Final = Identity("", "anonymous", kind="anonymous")
_WITHOUT_TAG: Final = (None,)
_AGAIN: Final = "entrepot.again"
"""Where our own server keeps what is noted of requests that come again byte for byte."""


class _LetIn(NamedTuple):
    """Why a request by a token was let in, which holds for the same bytes on the same connection as
    long as `access` says so: `until` is in microseconds since 1970.
    """

    identity: Identity
    address: str
    decision: Decision
    as_of: int
    until: int


def recall(context: Context, request: Request, route: Route, fields: tuple[str, ...]) -> bool:
    """Tell whether a request is let in because all is at hand that `identify` and `authorize` would
    find out: nearly every pull is like one a moment ago. A refusal never is.
    """
    again = request.scope.get(_AGAIN)
    if again:
        before: _LetIn = again[_LetIn]
        if context.access.holds(before.as_of, before.until):
            identity, request.address, request.decision, request.as_of, _ = before
            context.metrics.authentication(identity.method, "remembered")
            request.identity, request.actor = identity, identity.name
            return True
    if not route.tells_revision:
        return False
    found = context.authenticator.recall(request.header(b"authorization"))
    if found is None:
        return False
    identity, ends = found
    decided = context.access.enabled or identity.scopes is not None
    until = _known_until(context, request, route, fields, identity) if decided else 0
    if decided and not until:
        return False
    if identity.kind != "anonymous":
        context.metrics.authentication(identity.method, "remembered")
    request.address = context.origins.address_of(request)
    if identity.method not in NOT_BY_LOGIN:
        context.logins.succeeded(request, identity)
    request.identity, request.actor = identity, identity.name
    if again is not None and request.as_of is not None and request.decision is not None and ends:
        until = min(until, int(ends * 1_000_000))
        again[_LetIn] = _LetIn(identity, request.address, request.decision, request.as_of, until)
    return True


async def identify(context: Context, request: Request, route: Route, origin: Origin) -> None:
    """Find out who sends a request: nobody in particular if it brings no credentials and access
    control decides what those may do.

    Raises:
        UnauthorizedError: the credentials are no good, or there must be some.
        CrossSiteError: another site sent the request, with the cookie of a session, or what a
            browser adds by itself as well: its certificate.
    """
    authorization = request.header(b"authorization")
    if context.browser is not None and (
        route.label == WEB or (authorization is None and route.label in BY_SESSION)
    ):
        identity = await _by_session(context, context.browser, request, origin)
        if identity is not None or route.label == WEB:
            request.identity = identity or _NOBODY
            request.actor = request.identity.name
            return
    try:
        identity = await context.authenticator.authenticate(authorization, origin)
    except UnauthorizedError as error:
        brought = authorization is not None or isinstance(error, CertificateRefusedError)
        if brought or not context.access.enabled:
            context.logins.failed(request, authorization, error)
            raise
        identity = _NOBODY
    except ProtocolError as error:
        context.logins.failed(request, authorization, error)
        raise
    if identity.method not in NOT_BY_LOGIN:
        context.logins.succeeded(request, identity)
    request.identity = identity
    request.actor = identity.name
    if identity.method == "certificate" and is_by_browser(request):
        check_same_site(request, context.links)


async def _by_session(
    context: Context, browser: BrowserEndpoint, request: Request, origin: Origin
) -> Identity | None:
    """Return whose session the request has the cookie of; None if there is no such session."""
    secure = context.links.is_secure(request)
    cookie = read_cookie(request, SESSION, secure=secure)
    if not cookie:
        return None
    try:
        identity = await browser.authenticator.authenticate(cookie, origin)
    except UnauthorizedError:
        return None
    request.identity, request.actor = identity, identity.name
    check_same_site(request, context.links)
    return identity


async def authorize(
    context: Context, request: Request, route: Route, fields: tuple[str, ...]
) -> None:
    """Return if whoever sends the request may do what the route is for. For a pull that may be
    decided by what was known some time ago: `request.as_of` then says as of which revision.

    Raises:
        UnauthorizedError: nobody is known, or the token is not for this: other credentials help.
        DeniedError: it may be read, but this may not be done; the detail says why.
        ProtocolError: it may not be read, so it does not exist.
    """
    identity, access = request.identity, context.access
    if isinstance(route.handler, Operation):
        try:
            await route.handler.authorize(context, request, route.action, fields)
        except ProtocolError:
            if request.decision is not None and not request.decision.allowed:
                note_denial(context, request, route, fields)
            raise
        return
    if identity.scopes is None and not access.enabled:
        return
    if route.tells_revision:
        if _known_until(context, request, route, fields, identity):
            return
        await access.look()
    repository = RepositoryName.parse(fields[0]) if route.on_repository else None
    for tag in _tags(request, route, fields):
        decision = await access.decide(identity, route.action, repository=repository, tag=tag)
        request.decision = decision
        if not decision.allowed:
            note_denial(context, request, route, fields)
            raise await _refusal(context, identity, route, fields, decision)


def note_denial(
    context: Context,
    request: Request,
    route: Route,
    fields: tuple[str, ...],
    error: ProtocolError | None = None,
) -> None:
    """Note a refusal, unless somebody without credentials is asked for some. `error` says why it
    was refused after the action itself was allowed.
    """
    if request.identity.kind == "anonymous":
        return
    reference = fields[1][:256] if route.label in {"manifest", "blob"} else ""
    told = event(
        f"{route.label}.{route.action.value}",
        outcome="denied",
        repository=fields[0] if route.on_repository else "",
        tag="" if ":" in reference else reference,
        digest=reference if ":" in reference else "",
        target="" if route.on_repository else request.path[:1024],
        reason=why(error) if error is not None else "",
    )
    context.stores.trail.note(told, by=request.caller)


def _known_until(
    context: Context, request: Request, route: Route, fields: tuple[str, ...], identity: Identity
) -> int:
    """Return until when (microseconds since 1970) a pull of content is allowed by what was decided
    for one like it; 0 if it is not.
    """
    access = context.access
    tag = fields[1] if route.label == "manifest" and ":" not in fields[1] else None
    known = access.recall(identity, (Action.PULL, fields[0], True, tag))
    if known is None or not known[0].allowed:
        return 0
    request.decision, request.as_of = known[0], access.revision
    return known[1]


def _tags(request: Request, route: Route, fields: tuple[str, ...]) -> Sequence[str | None]:
    """Return the tags that a request is about, or None for no tag in particular."""
    if route.label != "manifest":
        return _WITHOUT_TAG
    if ":" not in fields[1]:
        return (fields[1],)
    named = request.query.get("tag") if route.action is Action.PUSH else None
    return named or _WITHOUT_TAG


async def _refusal(
    context: Context,
    identity: Identity,
    route: Route,
    fields: tuple[str, ...],
    decision: Decision,
) -> ProtocolError:
    by_token = identity.method == "token"
    if by_token and (decision.limited or identity.kind == "anonymous"):
        return InsufficientScopeError()
    if identity.kind == "anonymous":
        return UnauthorizedError()
    if route.on_repository:
        reading = await context.access.decide(identity, Action.PULL, repository=fields[0])
        if not reading.allowed:
            return _unknown(route, fields)
    return DeniedError({"reason": decision.reason})


def _unknown(route: Route, fields: tuple[str, ...]) -> ProtocolError:
    """Return what the route says of something that does not exist."""
    if route.label == "manifest":
        return ManifestUnknownError({"name": fields[0], "reference": fields[1][:256]})
    if route.label == "blob":
        return BlobUnknownError({"digest": fields[1][:256]})
    return NameUnknownError({"name": fields[0]})
