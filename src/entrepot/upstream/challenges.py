"""What a registry asks for with status 401 (RFC 9110, 11.6.1; RFC 6750, 3)."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

_LONGEST: Final = 8192
_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - a word of the grammar
_PART: Final = re.compile(
    rf"[\s,]*(?:(?P<name>{_TOKEN})\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s,\"]*))"
    rf"|(?P<scheme>{_TOKEN})(?=[\s,]|$))"
)
_ESCAPED: Final = re.compile(r"\\(.)")


class Challenge(NamedTuple):
    """A scheme, in lower case, and its parameters by name, in lower case too."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of `WWW-Authenticate` headers, as far as they can be understood."""
    found: list[Challenge] = []
    for header in headers:
        text = header[:_LONGEST]
        position = 0
        parameters: dict[str, str] = {}
        while match := _PART.match(text, position):
            position = match.end()
            if match["scheme"] is not None:
                parameters = {}
                found.append(Challenge(match["scheme"].lower(), parameters))
            else:
                value = match["plain"]
                if match["quoted"] is not None:
                    value = _ESCAPED.sub(r"\1", match["quoted"])
                parameters.setdefault(match["name"].lower(), value)
    return found
