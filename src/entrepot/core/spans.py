"""Lengths of time as people write them: `90d`, `2w`, `1d12h`."""

import re
from typing import Final

from entrepot.core.errors import EntrepotError

_SECOND: Final = 1_000_000
_UNITS: Final = {
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
    "d": 86_400 * _SECOND,
    "w": 7 * 86_400 * _SECOND,
}
_SPAN: Final = re.compile(r"(?:[0-9]{1,9}[smhdw])+")
_PART: Final = re.compile(r"([0-9]+)([smhdw])")
_LONGEST: Final = 36_525 * 86_400 * _SECOND
"""A hundred years."""


class SpanInvalidError(EntrepotError):
    """A text is no length of time."""


def parse_span(text: str) -> int:
    """Return the microseconds that `text` stands for, or raise `SpanInvalidError`."""
    if len(text) <= 64 and _SPAN.fullmatch(text):
        total = sum(int(number) * _UNITS[unit] for number, unit in _PART.findall(text))
        if total <= _LONGEST:
            return total
        raise SpanInvalidError(f"{text} is longer than a hundred years")
    raise SpanInvalidError(
        f"{text[:64]!r} is no length of time: write numbers with s, m, h, d or w, such as 30d"
    )
