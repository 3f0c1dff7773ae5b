"""Keep secrets and control characters out of everything that is written down.

Masking errs on the safe side: rather a harmless word starred out than a password in a log.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote

MASK = "***"
"""What stands in the place of a secret."""

_DEEPEST = 6
_LONGEST = 8192
_BIG = 2**63

_SECRET_KEY = re.compile(
    r"(?:authorization|cookie|password|passwd|passphrase|secret|token|credential"
    r"|(?:secret|access|account|private|signing|api)[-_]?key|_state)s?$",
    re.IGNORECASE,
)
_SECRET_PARAMETER = re.compile(
    r"(?:^code|^state|_state|token|signature|password|secret|credential|sig)$", re.IGNORECASE
)
_SECRET_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(basic|bearer)\s+[A-Za-z0-9+/=._~-]{8,}", re.IGNORECASE), rf"\1 {MASK}"),
    (re.compile(r"://[^/\s@?#\"']+@"), f"://{MASK}@"),
    (
        re.compile(
            r"([?&;](?:code|_?state|[\w.-]*(?:token|signature|password|secret|credential|sig))=)"
            r"[^&\s#\"']+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\bentr_[a-z]{3}_[0-9A-Za-z]+"), MASK),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), MASK),
    (
        re.compile(r"\b(password|passwd|secret|token)(\s*[=:]\s*)[^\s,;&\"']+", re.IGNORECASE),
        rf"\1\2{MASK}",
    ),
)


class Revealed(str):
    """A secret that must be readable in the log, such as a password made for the first user."""

    __slots__ = ()


def printable(text: str) -> str:
    """Return `text` with everything that does not print written as an escape.

    Line breaks, terminal sequences, characters that turn the direction of writing and unpaired
    surrogates come out as `\\n`, `\\x1b`, `\\u202e`, `\\udc80`, so that a value can neither forge
    a log line nor steer a terminal, and can always be encoded.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def mask_query(query: str) -> str:
    """Return a raw query string with the values of secret parameters masked."""
    parts = query.split("&")
    for index, part in enumerate(parts):
        name, equals, _ = part.partition("=")
        if equals and _names_secret(name):
            parts[index] = f"{name}={MASK}"
    return "&".join(parts)


@lru_cache(maxsize=256)
def _names_secret(parameter: str) -> bool:
    return _SECRET_PARAMETER.search(unquote(parameter)) is not None


def mask_text(text: str) -> str:
    """Return `text` without credentials in URLs, headers, query strings and tokens."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def mask_value(value: object, *, key: str = "", depth: int = 0) -> object:
    """Return `value` as something JSON can hold, secrets masked.

    A value whose `key` names a secret is masked whatever it is. Objects that JSON does not know
    become their text; containers are walked `_DEEPEST` levels down; text is cut at 8,192
    characters.
    """
    if isinstance(value, Revealed):
        return str(value)
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_KEY.search(key):
        return MASK
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value) if abs(value) < _BIG else str(value)
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {
            str(name): mask_value(inner, key=str(name), depth=depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [mask_value(inner, depth=depth + 1) for inner in value]
    if isinstance(value, bytes | bytearray):
        return mask_text(value[:_LONGEST].decode("utf-8", "backslashreplace"))
    return mask_text(str(value)[:_LONGEST])
