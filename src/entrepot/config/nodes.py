"""YAML as a tree of values that know where they come from.

Scalars are read as registry:2 reads them: YAML 1.1 without dates and without base-60 numbers, and
the text of each is kept, because a number is accepted where a text is expected (`secret: 12345`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from entrepot.config.errors import Origin, Problem

MOST_NODES = 100_000
"""Values in one document, aliases counted as often as they are used."""

DEEPEST = 50
"""Levels of nesting in one document."""


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A text, number, flag or null, and how it was written."""

    origin: Origin
    text: str
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list."""

    origin: Origin
    items: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping. The origin of an entry's value is the line of its key."""

    origin: Origin
    entries: Mapping[str, "Node"] = field(default_factory=dict)


Node: TypeAlias = ScalarNode | ListNode | MapNode
Locate: TypeAlias = Callable[[int], Origin]
"""The origin of a line, counted from 1."""


def null(origin: Origin) -> ScalarNode:
    """A key without a value."""
    return ScalarNode(origin, "", None)


def is_null(node: Node | None) -> bool:
    """Whether there is no value."""
    return node is None or (isinstance(node, ScalarNode) and node.value is None)


def parse_yaml(source: str | bytes, *, locate: Locate, problems: list[Problem]) -> Node:
    """The document in `source`; what is wrong with it is added to `problems`."""
    try:
        root = yaml.compose(source, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = _QUOTED.sub("", error.problem or error.context or "syntax error")
        message = f"not YAML: {reason}"
        problems.append(Problem(message, locate(mark.line + 1 if mark else 1)))
        return null(locate(1))
    except yaml.YAMLError:
        problems.append(Problem("not YAML: it contains characters that YAML forbids", locate(1)))
        return null(locate(1))
    except RecursionError:
        problems.append(Problem("not usable: nested too deeply", locate(1)))
        return null(locate(1))
    if root is None:
        return null(locate(1))
    return _Conversion(locate, problems).convert(root, origin=_at(root, locate), depth=0)


_QUOTED = re.compile(r" '[^'<]{4,}'")
"""Names that PyYAML repeats, such as an alias: a password that starts with `*` is read as one."""


class _Loader(yaml.SafeLoader):
    """Composes nodes; the scalar types of registry:2's YAML library."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own form)
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _at(node: yaml.Node, locate: Locate) -> Origin:
    return locate(node.start_mark.line + 1)


class _Conversion:
    """Turns PyYAML's nodes into ours, within the limits."""

    def __init__(self, locate: Locate, problems: list[Problem]) -> None:
        self._locate = locate
        self._problems = problems
        self._count = 0

    def convert(self, node: yaml.Node, *, origin: Origin, depth: int) -> Node:
        self._count += 1
        if self._count > MOST_NODES or depth > DEEPEST:
            if self._count <= MOST_NODES:
                self._problems.append(Problem("not usable: nested too deeply", origin))
                self._count = MOST_NODES
            elif self._count == MOST_NODES + 1:
                self._problems.append(Problem("not usable: too many values", origin))
            return null(origin)
        if isinstance(node, yaml.MappingNode):
            return MapNode(origin, self._entries(node, depth=depth))
        if isinstance(node, yaml.SequenceNode):
            return ListNode(
                origin,
                tuple(
                    self.convert(item, origin=_at(item, self._locate), depth=depth + 1)
                    for item in node.value
                ),
            )
        return self._scalar(node, origin=origin)

    def _entries(self, node: yaml.MappingNode, *, depth: int) -> dict[str, Node]:
        merged: dict[str, Node] = {}
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            origin = _at(key_node, self._locate)
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self._merge_sources(value_node, origin=origin):
                    for key, value in self._nested(source, origin=origin, depth=depth).items():
                        merged.setdefault(key, value)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.append(Problem("a key must be a word, not a list", origin))
                continue
            key = key_node.value
            if _UNUSABLE.search(key):
                self._problems.append(Problem("a key has a character that can't be used", origin))
                continue
            if key in entries:
                first = entries[key].origin
                where = f", first in line {first.line}" if first.line else ""
                self._problems.append(Problem(f"{printable(key)}: given twice{where}", origin))
                continue
            entries[key] = self.convert(value_node, origin=origin, depth=depth + 1)
        return {**merged, **entries}

    def _nested(self, node: yaml.MappingNode, *, origin: Origin, depth: int) -> Mapping[str, Node]:
        converted = self.convert(node, origin=origin, depth=depth + 1)
        return converted.entries if isinstance(converted, MapNode) else {}

    def _merge_sources(self, node: yaml.Node, *, origin: Origin) -> list[yaml.MappingNode]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        good = [source for source in sources if isinstance(source, yaml.MappingNode)]
        if len(good) != len(sources):
            self._problems.append(Problem("<<: only mappings can be merged", origin))
        return good

    def _scalar(self, node: yaml.Node, *, origin: Origin) -> ScalarNode:
        text = str(node.value)
        if _UNUSABLE.search(text):
            self._problems.append(Problem("a value has a character that can't be used", origin))
            return null(origin)
        try:
            return ScalarNode(origin, text, _resolve(node.tag, text))
        except ValueError:
            self._problems.append(Problem("a value has a YAML tag that is not known", origin))
            return null(origin)


_UNUSABLE = re.compile("[\0\ud800-\udfff]")
"""What can be written with escapes in YAML, but stands in no path, header or log line."""

_WHOLE = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")


def _resolve(tag: str, text: str) -> str | int | float | bool | None:
    """The value of a scalar; ValueError if it isn't of the type that its tag names."""
    match tag.removeprefix("tag:yaml.org,2002:"):
        case "null":
            return None
        case "bool":
            flags = {"yes": True, "true": True, "on": True, "no": False, "false": False}
            return {**flags, "off": False}.get(text.lower(), text)
        case "int":
            return _whole(text) if _WHOLE.fullmatch(text) and len(text) < 100 else text
        case "float":
            return text if ":" in text else _number(text)
        case "str" | "value" | "timestamp":
            return text
    raise ValueError(tag)


def _whole(text: str) -> int:
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    for prefix, radix in (("0b", 2), ("0x", 16), ("0o", 8), ("0", 8)):
        if digits.startswith(prefix) and digits != "0":
            return sign * int(digits.removeprefix(prefix), radix)
    return sign * int(digits)


def _number(text: str) -> float:
    digits = text.replace("_", "").lower()
    return float(digits.replace(".inf", "inf").replace(".nan", "nan"))


def plain(node: Node) -> object:
    """The value without its origins: what a YAML reader would return."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return tuple(plain(item) for item in node.items)
        case MapNode():
            return {key: plain(value) for key, value in node.entries.items()}


def printable(text: str) -> str:
    """A key or word as it may stand in a message: one line, no control characters, not long."""
    shown = text if text.isprintable() and text else repr(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
