"""Where a browser goes after a login: to a page of this registry, never to another one."""

import re
from typing import Final

LONGEST: Final = 1024

_LOCAL: Final = re.compile(r"/(?!/)[!-\[\]-~]*")
"""Printable ASCII without blanks and backslashes, which browsers take for slashes; what begins with
two slashes names another host (WHATWG URL, 4.4)."""


def parse_local_path(text: str) -> str | None:
    """Return `text` if it is the path of a page here, with its query, and None if not."""
    return text if len(text) <= LONGEST and _LOCAL.fullmatch(text) else None
