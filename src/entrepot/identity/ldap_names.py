"""Names of directory services: filters (RFC 4515) and distinguished names (RFC 4514)."""

import re
from collections.abc import Mapping
from typing import Final

DistinguishedName = tuple[frozenset[tuple[str, str]], ...]
"""The parts, each with types and values, all as they are compared."""

_ESCAPED: Final = re.compile(r"\\([0-9A-Fa-f]{2}|[ \"#+,;<=>\\])")
_PART: Final = re.compile(r"(?:[^\\,+]|\\.)+", re.DOTALL)
_FIELD: Final = re.compile(r"\{(\w+)\}")


def in_filter(value: str) -> str:
    """Return `value` as it is written in a filter, so that it is nothing but a value."""
    return "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\{byte:02x}"
        for byte in value.encode("utf-8")
    )


def in_name(value: str) -> str:
    """Return `value` as it is written in a distinguished name: it can be nothing but a value."""
    return "".join(
        character if character.isalnum() and character.isascii() else _hex_pairs(character)
        for character in value
    )


def _hex_pairs(character: str) -> str:
    return "".join(f"\\{byte:02x}" for byte in character.encode("utf-8"))


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return `template` with `{name}` replaced by its value, once: what a value holds stays."""
    return _FIELD.sub(lambda match: values.get(match[1], match[0]), template)


def parse_name(text: str) -> DistinguishedName:
    """Return a distinguished name as it is compared: without regard to case and extra spaces.

    Raises:
        ValueError: it is malformed.
    """
    return tuple(
        frozenset((kind.lower(), " ".join(value.casefold().split())) for kind, value in part)
        for part in _parts(text)
    )


def first_value(text: str, kind: str) -> str | None:
    """Return the value of a type in the first part of a distinguished name, as it is written there;
    None if the part has no such type. Raises ValueError if the name is malformed.
    """
    parts = _parts(text)
    for found, value in parts[0] if parts else ():
        if found.lower() == kind.lower():
            return value
    return None


def is_below(name: DistinguishedName, base: DistinguishedName) -> bool:
    """Tell whether `name` is `base` or below it."""
    return len(name) >= len(base) and name[len(name) - len(base) :] == base


def _parts(text: str) -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    place, joined = 0, False
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            raise ValueError("not a distinguished name")
        kind, equals, value = match[0].strip(" ").partition("=")
        if not equals or not kind.strip():
            raise ValueError("not a distinguished name")
        pair = kind.strip(), _unescaped(value.lstrip(" "))
        if joined:
            found[-1].append(pair)
        else:
            found.append([pair])
        place = match.end()
        if place < len(text):
            joined = text[place] == "+"
            place += 1
            if place == len(text):
                raise ValueError("not a distinguished name")
    return found


def _unescaped(value: str) -> str:
    """Return a value without its escapes, of which several may be one character."""

    def plain(match: re.Match[str]) -> str:
        escaped = match[1]
        return chr(int(escaped, 16)) if len(escaped) == 2 else escaped

    if "\\" not in value:
        return value
    as_bytes = value.encode("utf-8").decode("latin-1")
    return _ESCAPED.sub(plain, as_bytes).encode("latin-1").decode("utf-8", "replace")
