"""Requests that another site makes a browser send, with the cookies, or the certificate, that the
browser has for this one (CSRF).
"""

from typing import Final

from entrepot.api.http import Request
from entrepot.api.links import Links
from entrepot.core.errors import CrossSiteError

READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def is_by_browser(request: Request) -> bool:
    """Tell whether a browser sent a request, as far as it says so."""
    return bool(request.header(b"sec-fetch-site") or request.header(b"origin"))


def check_same_site(request: Request, links: Links) -> None:
    """Make sure that a request that may change something was sent by a page of this registry, as
    browsers say by `Sec-Fetch-Site`, or, older ones and those without TLS, by `Origin`.

    Raises:
        CrossSiteError: it comes from elsewhere, or doesn't say from where.
    """
    if request.method in READING:
        return
    site = request.header(b"sec-fetch-site")
    if site is not None:
        good = site == "same-origin"
    else:
        origin = request.header(b"origin") or ""
        good = bool(origin) and origin.lower() == links.origin(request).lower()
    if not good:
        raise CrossSiteError("the request comes from another site, or doesn't say whence")
