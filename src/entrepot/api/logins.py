"""Logins and failed ones, for the audit log."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from entrepot.api.http import Request
from entrepot.core.access import Identity
from entrepot.core.audit import Actor, event
from entrepot.core.credentials import is_meant_as_secret
from entrepot.core.errors import (
    CertificateRefusedError,
    CrossSiteError,
    EntrepotError,
    ProtocolError,
    UnauthorizedError,
)
from entrepot.core.guarding import address_subject
from entrepot.core.tokens import TokenRefusedError
from entrepot.identity.basic import parse_basic
from entrepot.identity.errors import LoginUnfinishedError
from entrepot.services.audit import Trail

NOT_BY_LOGIN: Final = frozenset({"anonymous", "token", "silly"})
"""Ways to be known that are no login: a token follows one."""

AGAIN: Final = 600.0
"""Seconds after which a client that sends its password with every request logs in again."""

_MOST: Final = 4096


class Logins:
    """Notes who logs in, from where, with which credential; and who can't."""

    def __init__(self, trail: Trail, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._clock = clock
        self._known: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def succeeded(self, request: Request, identity: Identity) -> None:
        """Note a login, unless the same one was noted in the last ten minutes."""
        if not self._is_new((identity.name, identity.credential, request.address)):
            return
        told = event("login", reason=f"known by {identity.method}")
        self._trail.note(told, by=request.called(identity))

    def failed(self, request: Request, authorization: str | None, error: EntrepotError) -> None:
        """Note that credentials were refused; who brings none is only asked for some. Wrong
        passwords are noted one by one, for there can't be many: locks see to that. Anything else,
        such as a token that has expired or a login while a lock holds, counts once in ten minutes
        from one address.
        """
        if isinstance(error, CertificateRefusedError):
            name = error.name[:256]
        elif authorization is not None:
            name = _claimed(authorization)
        else:
            return
        guessed = type(error) is UnauthorizedError and name
        place = address_subject(request.address)
        if not guessed and not self._is_new((why(error), "refused", place)):
            return
        actor = Actor(name, "unknown", "", address=request.address, request=request.id)
        self._trail.note(event("login", outcome="failure", reason=why(error)), by=actor)

    def certificate_refused(self, address: str, reason: str) -> None:
        """Note that a client showed a certificate that didn't even open a connection."""
        if self._is_new((reason, "refused", address_subject(address))):
            told = f"the client certificate was refused: {reason}"
            actor = Actor("", "unknown", "", address=address)
            self._trail.note(event("login", outcome="failure", reason=told), by=actor)

    def _is_new(self, key: tuple[str, str, str]) -> bool:
        """Tell whether something was not noted in the last ten minutes, and remember it."""
        now = self._clock()
        if now < self._known.get(key, 0.0):
            return False
        self._known[key] = now + AGAIN
        self._known.move_to_end(key)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return True


def why(error: EntrepotError) -> str:
    """Return why credentials were refused, as far as that is known and no secret."""
    if isinstance(error, TokenRefusedError):
        return str(error)
    if isinstance(error, CrossSiteError):
        return error.why
    if isinstance(error, LoginUnfinishedError):
        cause = error.__cause__
        return f"the login at the provider ended: {cause if cause is not None else error.code}"
    detail = error.detail if isinstance(error, ProtocolError) else None
    if isinstance(detail, dict) and "reason" in detail:
        return str(detail["reason"])
    return "the credentials are wrong, or no longer good"


def _claimed(authorization: str) -> str:
    """Return the name in Basic credentials, never the password."""
    credential = parse_basic(authorization)
    name = credential[0].decode("utf-8", "replace")[:256] if credential else ""
    return "a secret in place of a name" if is_meant_as_secret(name) else name
