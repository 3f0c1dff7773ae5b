"""Asking for a Bearer token (RFC 6750, 3; Docker's "Token Authentication Specification")."""

from collections.abc import Callable
from typing import Final

from entrepot.api.http import Request
from entrepot.api.links import Links
from entrepot.core.access import Action
from entrepot.core.errors import UnauthorizedError
from entrepot.core.tokens import needed_scope

TOKEN_PATH: Final = "/auth/token"  # noqa: S105 - a path


class Challenges:
    """What a 401 asks for. `realm` gives the address of the token server for a request; with
    `single` every action is a scope of its own, as registry:2's `silly` has it.
    """

    def __init__(
        self, realm: Callable[[Request], str], *, service: str, single: bool = False
    ) -> None:
        self._realm = realm
        self._service = service
        self._single = single

    def to(
        self, request: Request, error: UnauthorizedError, action: Action, repository: str | None
    ) -> str:
        """Return the value of `WWW-Authenticate`."""
        scope = needed_scope(action, repository)
        if self._single:
            resource, _, actions = scope.rpartition(":")
            scope = " ".join(f"{resource}:{action}" for action in actions.split(",") if action)
        challenge = f"Bearer realm={quoted(self._realm(request))},service={quoted(self._service)}"
        if scope:
            challenge += f",scope={quoted(scope)}"
        if error.problem:
            challenge += f",error={quoted(error.problem)}"
        return challenge


def own_realm(links: Links) -> Callable[[Request], str]:
    """Return what gives the address of this registry's own token server."""
    return lambda request: links.absolute(request, TOKEN_PATH)


def redirected_realm(path: str) -> Callable[[Request], str]:
    """Return what gives the address of a token server beside the registry, as registry:3 makes it
    for `autoredirect`: by https, unless a proxy in front says otherwise (registry:2: always https).
    """

    def realm(request: Request) -> str:
        claimed = (request.header(b"x-forwarded-proto") or "").partition(",")[0].strip().lower()
        scheme = claimed if claimed in {"http", "https"} else "https"
        return f"{scheme}://{request.header(b'host') or ''}{path}"

    return realm


def quoted(text: str) -> str:
    """Return a quoted-string (RFC 9110, 5.6.4); what no header may hold becomes `?`."""
    shown = "".join(
        character if character.isascii() and character.isprintable() else "?" for character in text
    )
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
