"""Pages: templates with texts in the browser's language, and what else each answer says.

No page loads anything, from here or elsewhere: its style is in it, and the policy that goes with
it lets nothing else in. Whatever comes from outside is escaped by the templates.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from entrepot.api.context import BrowserEndpoint, Context
from entrepot.api.errors import STATUS
from entrepot.api.http import Headers, Request, Response, empty_response
from entrepot.core.errors import NotFoundError, ProtocolError, UnauthorizedError
from entrepot.core.local_paths import parse_local_path
from entrepot.web.texts import Texts, find_texts

LOGIN: Final = "/auth/login"
ACCOUNT: Final = "/account"

_FOLDER: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_FOLDER / "style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_ALWAYS: Final[Headers] = [
    (b"cache-control", b"no-store"),
    (b"vary", b"accept-language, cookie"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # With `no-referrer` browsers would send no Origin with forms, either.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'".encode(),
    ),
]


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


_environment: Final = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["shown"] = _shown


def endpoint_of(context: Context) -> BrowserEndpoint:
    """Return what lets people in who have a browser."""
    if context.browser is None:
        raise NotFoundError
    return context.browser


def texts_of(request: Request) -> Texts:
    """Return the texts in the language that a browser asks for."""
    return find_texts(request.header(b"accept-language") or "")


def page(
    context: Context,
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Sequence[tuple[bytes, bytes]] = (),
    **values: object,
) -> Response:
    """Return a page made of a template and `values`."""
    texts = texts_of(request)
    made = _environment.get_template(template).render(
        t=texts, style=_STYLE, url=context.links.local, **values
    )
    body = made.encode("utf-8")
    fixed = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"content-language", texts.language.encode()),
    ]
    return Response(status, [*fixed, *_ALWAYS, *headers], body)


def redirect(address: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    """Send a browser elsewhere; `address` holds printable ASCII only."""
    return empty_response(303, [(b"location", address.encode("ascii")), *_ALWAYS, *headers])


def told_on_page(context: Context, request: Request, error: ProtocolError) -> Response:
    """Tell people of an error; whoever isn't known is sent to log in."""
    if isinstance(error, UnauthorizedError):
        return redirect(context.links.local(LOGIN) + _next_of(request))
    status = STATUS[type(error)]
    texts = texts_of(request)
    detail = error.detail if isinstance(error.detail, dict) else {}
    kept = error.headers.get("Retry-After")
    return page(
        context,
        request,
        "message.html",
        status=status,
        headers=[] if kept is None else [(b"retry-after", kept.encode())],
        title=texts.errors.get(status, texts.errors[500]),
        text=str(detail.get("reason", "")),
        request_id=request.id if status >= 500 else "",
    )


def _next_of(request: Request) -> str:
    """Return the parameter that leads back to the page that was asked for."""
    query = request.scope["query_string"].decode("latin-1")
    wanted = parse_local_path(request.path + (f"?{query}" if query else ""))
    if request.method != "GET" or wanted is None:
        return ""
    return "?" + urlencode({"next": wanted})
