"""Basic credentials and challenges (RFC 7617)."""

import base64
import binascii


def parse_basic(authorization: str) -> tuple[bytes, bytes] | None:
    """Return user name and password of a Basic credential, None if it is malformed (RFC 7617).

    Both are bytes: a name that is not UTF-8 belongs to nobody, a password may be anything but
    hold NUL, which the RFC forbids and bcrypt would take for the password's end.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(" "), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = decoded.partition(b":")
    if not colon or b"\0" in decoded:
        return None
    return name, password


def basic_challenge(realm: str) -> str:
    """Return the value of `WWW-Authenticate` that asks for a name and a password.

    What no header may hold becomes `?` (quoted-string: RFC 9110, 5.6.4).
    """
    shown = "".join(
        character if character.isascii() and character.isprintable() else "?" for character in realm
    )
    return 'Basic realm="' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
