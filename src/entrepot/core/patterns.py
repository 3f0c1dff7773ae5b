"""Patterns for the names of repositories and tags, such as `backend/*` and `v1.*`.

`*` stands for any characters of one path component, none included, and `**`, alone between slashes,
for any number of components, none included. Everything else stands for itself. Matching takes time
in proportion to the lengths of pattern and name, whatever the pattern.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

from msgspec import Struct

from entrepot.core.errors import EntrepotError

LONGEST: Final = 255
ANY: Final = "**"

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-*")
_TAG_LETTERS: Final = _LETTERS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


class PatternInvalidError(EntrepotError):
    """A text is no pattern; says which character is wrong, counted from 1."""


class Pattern(Struct, frozen=True):
    """A pattern for names of repositories, relative to where it is used. Made by parsing only."""

    text: str
    components: tuple[str, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def unlimited(self) -> bool:
        """Whether every name matches."""
        return self.text == ANY

    @property
    def literal(self) -> tuple[str, ...]:
        """The components in front that stand for themselves."""
        for number, component in enumerate(self.components):
            if "*" in component:
                return self.components[:number]
        return self.components

    def matches(self, name: str) -> bool:
        """Tell whether a name matches; the empty name is that of the place itself."""
        components = name.split("/") if name else []
        return _matches(self.components, components, star=ANY, same=matches_text)


class TagPattern(Struct, frozen=True):
    """A pattern for tags. Made by parsing only."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def unlimited(self) -> bool:
        """Whether every tag matches."""
        return self.text == "*"

    def matches(self, tag: str) -> bool:
        """Tell whether a tag matches."""
        return matches_text(self.text, tag)


@lru_cache(maxsize=4096)
def parse_pattern(text: str) -> Pattern:
    """Return the pattern for repositories that `text` is, or raise `PatternInvalidError`."""
    _check_letters(text, _LETTERS | {"/"}, "the name of a repository")
    place = 1
    components = text.split("/")
    for component in components:
        if not component:
            raise _wrong(text, place, "a path component is empty")
        if ANY in component and component != ANY:
            at = place + component.index(ANY)
            raise _wrong(text, at, "`**` stands alone between slashes; `*` is for one component")
        place += len(component) + 1
    return Pattern(text, tuple(components))


@lru_cache(maxsize=4096)
def parse_tag_pattern(text: str) -> TagPattern:
    """Return the pattern for tags that `text` is, or raise `PatternInvalidError`."""
    _check_letters(text, _TAG_LETTERS, "a tag")
    if ANY in text:
        raise _wrong(text, text.index(ANY) + 1, "`**` is for repositories; for tags `*` is enough")
    return TagPattern(text)


def _check_letters(text: str, letters: frozenset[str], what: str) -> None:
    if not text:
        raise PatternInvalidError("a pattern is empty; `*` or `**` match everything")
    if len(text) > LONGEST:
        raise PatternInvalidError(f"a pattern is longer than {LONGEST} characters")
    for place, letter in enumerate(text, start=1):
        if letter not in letters:
            raise _wrong(text, place, f"{letter!r} can't be in {what}")


def _wrong(text: str, place: int, reason: str) -> PatternInvalidError:
    return PatternInvalidError(f"pattern {text!r}, character {place}: {reason}")


def matches_text(pattern: str, text: str) -> bool:
    """Tell whether a text matches a pattern in which `*` stands for any characters."""
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    if "*" not in after:
        long_enough = len(text) >= len(before) + len(after)
        return long_enough and text.startswith(before) and text.endswith(after)
    return _matches(pattern, text, star="*", same=str.__eq__)


def _matches(
    pattern: Sequence[str], items: Sequence[str], *, star: str, same: Callable[[str, str], bool]
) -> bool:
    """Match by going back to the last star only, which is enough and never takes long."""
    at = item = 0
    last, resume = -1, 0
    while item < len(items):
        if at < len(pattern) and pattern[at] == star:
            last, resume = at, item
            at += 1
        elif at < len(pattern) and same(pattern[at], items[item]):
            at += 1
            item += 1
        elif last >= 0:
            resume += 1
            at, item = last + 1, resume
        else:
            return False
    return all(rest == star for rest in pattern[at:])
