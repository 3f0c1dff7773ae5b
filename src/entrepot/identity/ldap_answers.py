"""What is peculiar to Active Directory: why it refuses, values in pieces, names with a domain."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

_REASONS: Final = {
    "530": "it may not log in at this time",
    "531": "it may not log in from here",
    "532": "its password has expired",
    "533": "it is disabled",
    "701": "it has expired",
    "773": "its password must be changed first",
    "775": "it is locked",
}
"""Windows' error codes in hexadecimal digits, as they come with a refused bind (winerror.h). A
wrong password and a name that isn't there have some as well, which say no more than the refusal.
"""

_CODE: Final = re.compile(r"\bAcceptSecurityContext error, data ([0-9a-f]{1,8})\b", re.IGNORECASE)
_RANGE: Final = re.compile(r"([^;]+);range=([0-9]{1,9})-(\*|[0-9]{1,9})", re.IGNORECASE)


class Piece(Struct, frozen=True):
    """Some values of an attribute."""

    key: str
    """What the attribute is called in the answer."""
    name: str
    first: int
    after: int | None
    """Where the next piece begins; None after the last."""


def reason_of(diagnostics: str) -> str | None:
    """Return why an account is refused whatever its password, None if the text doesn't say so:
    `80090308: LdapErr: DSID-0C090453, comment: AcceptSecurityContext error, data 775, v4563`.
    """
    found = _CODE.search(diagnostics)
    return _REASONS.get(found[1].lower()) if found else None


def next_range(attributes: Mapping[str, object]) -> Piece | None:
    """Return the first of the attributes that is a piece of one, None if all are whole."""
    for key in attributes:
        found = _RANGE.fullmatch(key)
        if found:
            name, first, last = found.groups()
            after = None if last == "*" else int(last) + 1
            return Piece(key, name.lower(), int(first), after)
    return None


def without_domain(typed: str, domains: frozenset[str]) -> str:
    """Return a name as it was typed, without one of the domains that may stand with it:
    `DOMAIN\\ada` and `ada@domain` are `ada`. They are given as `str.casefold` makes them.
    """
    domain, sign, account = typed.partition("\\")
    if not sign:
        account, sign, domain = typed.rpartition("@")
    return account if sign and domain.casefold() in domains else typed


def as_compared(typed: str, domains: frozenset[str]) -> str:
    """Return a name as it was typed in a form that is the same for all names that a directory may
    take for it (RFC 4518, and Active Directory, to which `é` is `e`). Those that it tells apart may
    have the same form, too.
    """
    while (account := without_domain(typed, domains)) != typed:
        typed = account
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", typed).casefold())
    letters = "".join(part for part in parts if not unicodedata.category(part).startswith("M"))
    return " ".join(letters.split())
