"""From located YAML to the schema's types, reporting everything that is wrong.

A value that can't be used is replaced by its default; the caller refuses the configuration when
there were problems.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from entrepot.config.duration import from_nanoseconds, parse_duration
from entrepot.config.errors import Notice, Origin, Problem
from entrepot.config.fields import Field, ValueType, fields_of, places
from entrepot.config.masking import sounds_secret
from entrepot.config.nodes import (
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    is_null,
    null,
    plain,
    printable,
)

_WRONG = object()


def suggestion(word: str, known: Iterable[str]) -> str:
    """The known word that `word` most probably means; empty if none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""


def spelled_out(node: Node, kind: ValueType) -> Node:
    """Where a bare word may stand for a section, that section: "inmemory" is "inmemory:" in it."""
    if not kind.names_choice or not isinstance(node, ScalarNode) or is_null(node):
        return node
    name = "none" if node.text.lower() == "none" else node.text
    return MapNode(node.origin, {name: null(node.origin)} if name else {})


def all_spelled_out(root: Node, struct: type[Struct]) -> Node:
    """The tree with the bare words at its top level spelled out; nothing may look at them before,
    or "auth: token" would be overlooked where "auth: {token: }" is seen."""
    if not isinstance(root, MapNode):
        return root
    fields = fields_of(struct)
    return MapNode(
        root.origin,
        {
            key: spelled_out(node, fields[key].type) if key in fields else node
            for key, node in root.entries.items()
        },
    )


class Decoder:
    """Decodes one configuration; see the module."""

    def __init__(self, root: type[Struct]) -> None:
        self._root = root
        self.problems: list[Problem] = []
        self.notices: list[Notice] = []
        self.origins: dict[str, Origin] = {}

    def section(self, node: Node, struct: type[Struct], *, path: str) -> Any:
        """The Struct with the values of `node`."""
        if is_null(node):
            self._missing(struct, node, path=path)
            return struct()
        if not isinstance(node, MapNode):
            self._wrong(node, path, "a section (keys with values)", secret=True)
            return struct()
        fields = fields_of(struct)
        values = {}
        for key, child in node.entries.items():
            field = fields.get(key)
            if field is None:
                self._unknown(key, child.origin, fields, path=path)
                continue
            child_path = f"{path}.{key}" if path else key
            value = self._field(child, field, path=child_path)
            if value is not _WRONG:
                values[field.attribute] = value
                self.origins[child_path] = child.origin
        self._missing(struct, node, path=path)
        return struct(**values)

    def _missing(self, struct: type[Struct], node: Node, *, path: str) -> None:
        """Reports the keys that must be given with the section and weren't."""
        entries = node.entries if isinstance(node, MapNode) else {}
        for key, field in fields_of(struct).items():
            given = entries.get(key)
            if not field.needs:
                continue
            if is_null(given) or (isinstance(given, ScalarNode) and not given.text):
                self.problems.append(
                    Problem(
                        f"{path}: {key} is missing (expected {expected(field.type)})", node.origin
                    )
                )

    def _field(self, node: Node, field: Field, *, path: str) -> Any:
        kind = field.type
        if is_null(node):
            # A driver or authenticator is chosen by its key alone ("inmemory:").
            if kind.kind == "section" and kind.optional and "." in path:
                return self.section(node, kind.struct, path=path)
            return _WRONG
        return self._value(node, kind, path=path, secret=bool(field.masked))

    def _value(self, node: Node, kind: ValueType, *, path: str, secret: bool) -> Any:
        match kind.kind:
            case "section":
                return self.section(node, kind.struct, path=path)
            case "list":
                return self._list(node, kind, path=path, secret=secret)
            case "map":
                return self._map(node, kind, path=path, secret=secret)
            case "any":
                return plain(node)
        if isinstance(node, ScalarNode):
            value = self._scalar(node, kind, path=path)
            if value is not _WRONG:
                return value
        return self._wrong(node, path, expected(kind), secret=secret)

    def _list(self, node: Node, kind: ValueType, *, path: str, secret: bool) -> Any:
        if not isinstance(node, ListNode):
            return self._wrong(node, path, expected(kind), secret=secret)
        values = []
        for index, item in enumerate(node.items):
            item_path = f"{path}[{index}]"
            self.origins[item_path] = item.origin
            value = self._value(item, kind.element, path=item_path, secret=secret)
            if value is not _WRONG:
                values.append(value)
        return tuple(values)

    def _map(self, node: Node, kind: ValueType, *, path: str, secret: bool) -> Any:
        if not isinstance(node, MapNode):
            return self._wrong(node, path, expected(kind), secret=True)
        values = {}
        for key, child in node.entries.items():
            child_path = f"{path}.{printable(key)}"
            self.origins[child_path] = child.origin
            hidden = secret or sounds_secret(key)
            value = self._value(child, kind.element, path=child_path, secret=hidden)
            if value is not _WRONG:
                values[key] = value
        return values

    def _scalar(self, node: ScalarNode, kind: ValueType, *, path: str) -> Any:
        value = node.value
        match kind.kind:
            case "text":
                return _WRONG if value is None else node.text
            case "flag":
                return _FLAGS.get(node.text, _WRONG) if isinstance(value, str) else _flag(value)
            case "whole" | "size":
                return _whole(value, minimum=kind.minimum)
            case "choice":
                choices = {choice.lower(): choice for choice in kind.choices}
                return choices.get(node.text.lower(), _WRONG)
            case "duration":
                return self._duration(node, minimum=kind.minimum, path=path)
        return _WRONG

    def _duration(self, node: ScalarNode, *, minimum: int | None, path: str) -> Any:
        value = node.value
        try:
            if isinstance(value, int) and not isinstance(value, bool):
                seconds = from_nanoseconds(value)
                if 0 < seconds < 1:
                    message = f"{value} is {value} nanoseconds; for seconds write {value}s"
                    self.notices.append(Notice(path, message, node.origin))
            elif isinstance(value, str):
                seconds = parse_duration(value)
            else:
                return _WRONG
        except ValueError:
            return _WRONG
        return _WRONG if minimum is not None and seconds < minimum else seconds

    def _wrong(self, node: Node, path: str, wanted: str, *, secret: bool) -> Any:
        what = found(node, secret=secret)
        where = f"{path}: " if path else ""
        self.problems.append(Problem(f"{where}found {what}, expected {wanted}", node.origin))
        return _WRONG

    def _unknown(self, key: str, origin: Origin, fields: Mapping[str, Field], *, path: str) -> None:
        shown = f"{path}.{printable(key)}" if path else printable(key)
        near = suggestion(key, fields)
        if not near:
            # The right word in the wrong section; the top level would be the section's name.
            elsewhere = [p.path for p in places(self._root) if p.field.key == key.lower()]
            near = elsewhere[0] if elsewhere else ""
        hint = f'did you mean "{near}"?' if near else f"known here: {', '.join(fields)}"
        if not fields:
            hint = "nothing can be set here"
        self.problems.append(Problem(f"{shown}: unknown key; {hint}", origin))


_FLAGS = {"y": True, "Y": True, "n": False, "N": False}
"""What registry:2's YAML library reads as flags, and PyYAML as texts."""


def _flag(value: object) -> Any:
    return value if isinstance(value, bool) else _WRONG


def _whole(value: object, *, minimum: int | None) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)  # registry:2 takes quoted numbers for storage drivers
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        return _WRONG
    return _WRONG if minimum is not None and value < minimum else value


def expected(kind: ValueType) -> str:
    """What should have been there, in words."""
    least = "" if kind.minimum is None else f", {kind.minimum} or more"
    match kind.kind:
        case "text":
            return "a text"
        case "flag":
            return "true or false"
        case "whole":
            return f"a whole number{least}"
        case "size":
            return f"a number of bytes{least}"
        case "duration":
            return 'a duration such as "30s" or "1h30m"' + (
                "" if kind.minimum is None else ", not negative"
            )
        case "choice":
            return "one of " + ", ".join(choice or '""' for choice in kind.choices)
        case "list":
            return "a list"
        case "map":
            return "a mapping of names to values"
        case "section":
            return "a section (keys with values)"
    return "a value"


def found(node: Node, *, secret: bool) -> str:
    """What was there, in words; without the value where it might be secret."""
    match node:
        case ListNode():
            return "a list"
        case MapNode():
            return "a section"
    match node.value:
        case None:
            return "nothing"
        case bool():
            what = "the flag"
        case int() | float():
            what = "the number"
        case _:
            what = "the text"
    if secret:
        return what.replace("the", "a", 1)
    text = f'"{printable(node.text)}"' if what == "the text" else printable(node.text)
    return f"{what} {text}"
