"""The pages: the lines of THE table (`entrepot.api.routes`) that people see in a browser."""

from typing import Final

from entrepot.api.route import WEB, Handler, Route
from entrepot.core.access import Action
from entrepot.web import account, login
from entrepot.web.pages import ACCOUNT, LOGIN, told_on_page


def _page(method: str, path: str, action: Action, handler: Handler) -> Route:
    return Route(method, path, action, handler, WEB, told_on_page)


TABLE: Final = (
    _page("GET", LOGIN, Action.LOGIN, login.show),
    _page("POST", LOGIN, Action.LOGIN, login.by_password),
    _page("GET", "/auth/callback/{provider}", Action.LOGIN, login.come_back),
    _page("POST", "/auth/logout", Action.CONNECT, account.log_out),
    _page("GET", ACCOUNT, Action.CONNECT, account.show),
    _page("POST", f"{ACCOUNT}/tokens", Action.CONNECT, account.make_token),
    _page("POST", f"{ACCOUNT}/tokens/{{token}}/revoke", Action.CONNECT, account.revoke_token),
    _page("POST", f"{ACCOUNT}/sessions/{{session}}/end", Action.CONNECT, account.end_session),
)
