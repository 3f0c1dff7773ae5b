"""Tokens in forms: only who has read the page that was made for a browser can send its form.

A token is the HMAC-SHA-256 of what the browser has in a cookie, so that nothing needs to be kept,
and any process can tell.
"""

import hashlib
import hmac
from typing import Final

NOT_OURS: Final = "the form is not from a page that was made for this browser"
"""What is said of a form whose token is none, or another browser's."""

_PURPOSE = b"entrepot a form "


def form_token(cookie: str, *, secret: bytes) -> str:
    """Return what a form must bring from a browser with this cookie."""
    return hmac.new(secret, _PURPOSE + cookie.encode(), hashlib.sha256).hexdigest()


def is_form_token(token: str, cookie: str, *, secret: bytes) -> bool:
    """Tell whether a form comes from a page that was made for the browser with this cookie."""
    expected = form_token(cookie, secret=secret)
    return bool(cookie) and hmac.compare_digest(token.encode(), expected.encode())
