"""Logins in a browser, for one process."""

from collections.abc import Callable
from pathlib import Path

from entrepot.api.context import BrowserEndpoint
from entrepot.api.route import Route
from entrepot.app.authentication import Authentication
from entrepot.app.openid import open_browser_logins
from entrepot.config import Config
from entrepot.identity import Authenticator
from entrepot.services.stores import Stores


def page_routes(config: Config) -> tuple[Route, ...]:
    """Return the routes of the pages, none where nobody logs in with a browser."""
    if not config.has_pages:
        return ()
    from entrepot.web.routes import TABLE

    return TABLE


def open_browser(
    config: Config,
    stores: Stores,
    known: Authentication,
    *,
    secret: str,
    shared: Path,
    limit: Callable[[Authenticator], Authenticator],
) -> BrowserEndpoint | None:
    """Return what lets people in who have a browser, or None where nobody logs in with one;
    requests with a session are let through by `limit`, and so are names and passwords.
    """
    if not config.has_pages or known.directory is None:
        return None
    from entrepot.services.browser_sessions import BrowserSessions, Lives

    given, auth = config.auth.sessions, config.auth
    sessions = BrowserSessions(
        stores.index,
        now=stores.now,
        trail=stores.trail,
        standing=known.directory,
        lives=Lives(lifetime=given.lifetime, idle=given.idle),
        used=known.seen.note,
    )
    by_name = auth.local is not None or auth.htpasswd is not None or auth.ldap is not None
    return BrowserEndpoint(
        sessions=sessions,
        authenticator=limit(sessions),
        logins=open_browser_logins(known.providers, secret=secret, now=stores.now, shared=shared),
        passwords=limit(known.authenticator) if by_name else None,
        secret=secret.encode(),
    )
