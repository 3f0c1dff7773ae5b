"""Tags that are versions: semantic versions (semver.org, 2.0.0), and what people write for them."""

import re
from typing import Final

Version = tuple[tuple[float, ...], tuple[tuple[int, int, str], ...]]
"""What versions are ordered by: the numbers, and what comes after the hyphen."""

_NUMBERS: Final = 4
_RELEASE: Final = (2, 0, "")
"""Comes after every word of a prerelease."""

# A tag can't hold the `+` of build metadata; helm writes `_` for it.
_VERSION: Final = re.compile(
    r"(v?)([0-9]+(?:\.[0-9]+){0,3})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:_[0-9A-Za-z._-]*)?"
)


def parse_version(text: str) -> Version | None:
    """Return the version that `text` is, or None.

    There are two to four numbers, or after a `v` one. Numbers that are left out stand for the
    newest: `1.2` is a tag that moves along with 1.2.0, 1.2.1 and so on, and comes after them.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    numbers: list[float] = [int(number) for number in found[2].split(".")]
    if len(numbers) == 1 and not found[1]:
        return None  # the number of a build, or a day
    numbers += [float("inf")] * (3 - len(numbers))
    numbers += [0] * (_NUMBERS - len(numbers))
    return tuple(numbers), _prerelease(found[3])


def is_prerelease(version: Version) -> bool:
    """Tell whether a version has something after the hyphen."""
    return version[1] != (_RELEASE,)


def _prerelease(text: str | None) -> tuple[tuple[int, int, str], ...]:
    """Numbers come before words, and in the order of what they count."""
    if text is None:
        return (_RELEASE,)
    return tuple((0, int(word), "") if word.isdigit() else (1, 0, word) for word in text.split("."))
