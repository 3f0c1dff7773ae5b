"""registry:2's REGISTRY_* variables, laid over the tree that was read from the file.

The rules are those of distribution's configuration/parser.go: `_` separates the steps, sections
are entered by the names of Go's fields, lists by index, maps by key regardless of case, and the
value is YAML. Unlike there, a variable that names nothing is a problem.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import Struct

from entrepot.config.decode import spelled_out, suggestion
from entrepot.config.errors import ConfigError, Notice, Origin, Problem
from entrepot.config.fields import ANY, Field, ValueType, fields_of, places, section
from entrepot.config.nodes import (
    ListNode,
    MapNode,
    Node,
    is_null,
    null,
    parse_yaml,
    printable,
)

PREFIX = "REGISTRY_"
PATH_VARIABLE = "REGISTRY_CONFIGURATION_PATH"

_PORT_VALUE = re.compile(r"(tcp|udp|sctp)://\S+")
_SERVICE_LINKS = (
    (re.compile(r"REGISTRY_(\w+_)?PORT(_\d+_(TCP|UDP|SCTP))?"), _PORT_VALUE),
    (re.compile(r"REGISTRY_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_PORT"), re.compile(r"\d+")),
    (re.compile(r"REGISTRY_(\w+_)?PORT_\d+_(TCP|UDP|SCTP)_PROTO"), re.compile("tcp|udp|sctp")),
    (re.compile(r"REGISTRY_(\w+_)?SERVICE_PORT(_\w+)?"), re.compile(r"\d+")),
    (re.compile(r"REGISTRY_NAME"), re.compile(r"/[^/\s]+/[^/\s]+")),
)
_SERVICE_HOSTS = re.compile(r"REGISTRY_(\w+_)?(SERVICE_HOST|PORT_\d+_(TCP|UDP|SCTP)_ADDR)")


@dataclass(frozen=True, slots=True)
class Overlaid:
    """The tree with the variables in it, and what there is to say about them."""

    root: Node
    problems: tuple[Problem, ...]
    notices: tuple[Notice, ...]


def overlay(root: Node, environ: Mapping[str, str], *, schema: type[Struct]) -> Overlaid:
    """`root` with every REGISTRY_* variable of `environ` applied, in the order of their names."""
    problems: list[Problem] = []
    notices: list[Notice] = []
    links: list[str] = []
    for name in sorted(environ, key=_order):
        if not name.startswith(PREFIX) or name == PATH_VARIABLE:
            continue
        origin = Origin(variable=printable(name))
        if is_service_link(name, environ[name]):
            links.append(name)
        elif name == "REGISTRY_VERSION":
            notices.append(Notice("version", "ignored: only the file has a version", origin))
        else:
            leaf = parse_yaml(environ[name], locate=_Located(origin), problems=problems)
            steps = tuple(name.split("_")[1:])
            try:
                root = _put(root, section(schema), steps, leaf)
            except _NoSuchPlaceError:
                problems.append(Problem(_unknown(name, schema), origin))
            except ConfigError as error:
                problems.extend(error.problems)
    if links:
        message = f"ignored, set by Kubernetes or Docker for a service: {', '.join(links)}"
        notices.append(Notice("environment", message, Origin(variable=links[0])))
    return Overlaid(root, tuple(problems), tuple(notices))


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes or Docker set the variable for a service called "registry[-...]".

    Such as REGISTRY_PORT=tcp://10.0.0.1:5000, REGISTRY_SERVICE_HOST=10.0.0.1 and
    REGISTRY_PORT_5000_TCP_ADDR=10.0.0.1; name and value must both be of that form.
    """
    if _SERVICE_HOSTS.fullmatch(name):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return False
        return True
    return any(
        names.fullmatch(name) and values.fullmatch(value) for names, values in _SERVICE_LINKS
    )


@dataclass(frozen=True, slots=True)
class _Located:
    """Every line of a variable's value has the variable as its origin."""

    origin: Origin

    def __call__(self, _line: int) -> Origin:
        return self.origin


class _NoSuchPlaceError(ConfigError):
    """The variable names nothing."""

    def __init__(self) -> None:
        super().__init__(())


def _order(name: str) -> tuple[tuple[int, int, str], ...]:
    """Lexical, so that a section comes before what is in it; list indexes by number."""
    return tuple(
        (0, int(step), "") if _is_index(step) else (1, 0, step) for step in name.split("_")
    )


def _is_index(step: str) -> bool:
    return step.isascii() and step.isdigit() and len(step) < 7


def _put(node: Node | None, kind: ValueType, steps: tuple[str, ...], leaf: Node) -> Node:
    """`node` with `leaf` at the place that `steps` lead to; _NoSuchPlaceError if there is none."""
    if not steps:
        return leaf
    match kind.kind:
        case "section":
            return _put_in_section(node, kind, steps, leaf)
        case "map":
            return _put_in_map(node, kind.element, steps, leaf)
        case "list":
            return _put_in_list(node, kind.element, steps, leaf)
        case "any" if node is None or is_null(node) or isinstance(node, MapNode):
            return _put_in_map(node, ANY, steps, leaf)
        case "any" if isinstance(node, ListNode):
            return _put_in_list(node, ANY, steps, leaf)
    raise _NoSuchPlaceError


def _put_in_section(node: Node | None, kind: ValueType, steps: tuple[str, ...], leaf: Node) -> Node:
    field = _by_variable(kind.struct).get(steps[0])
    if field is None:
        raise _NoSuchPlaceError
    if node is not None:
        node = spelled_out(node, kind)
    if node is None or is_null(node):
        node = MapNode(leaf.origin)
    if not isinstance(node, MapNode):
        _put(None, field.type, steps[1:], leaf)  # is the variable's name right at least?
        return node
    changed = _put(node.entries.get(field.key), field.type, steps[1:], leaf)
    return MapNode(node.origin, {**node.entries, field.key: changed})


def _by_variable(struct: type[Struct]) -> dict[str, Field]:
    return {field.variable: field for field in fields_of(struct).values()}


def _put_in_map(node: Node | None, item: ValueType, steps: tuple[str, ...], leaf: Node) -> Node:
    if not steps[0]:
        raise _NoSuchPlaceError
    if node is None or is_null(node):
        node = MapNode(leaf.origin)
    entries = node.entries if isinstance(node, MapNode) else {}
    key = steps[0].lower()
    if len(steps) > 1:
        # An existing key of any case is entered; a last step always writes the lower-cased one.
        same = (k for k, v in entries.items() if k.upper() == steps[0] and not is_null(v))
        key = next(same, key)
    changed = _put(entries.get(key), item, steps[1:], leaf)
    return MapNode(node.origin, {**entries, key: changed}) if isinstance(node, MapNode) else node


def _put_in_list(node: Node | None, item: ValueType, steps: tuple[str, ...], leaf: Node) -> Node:
    step = printable(steps[0])
    if not _is_index(steps[0]):
        raise ConfigError([Problem(f"{step} is not an index of a list", leaf.origin)])
    if node is None or is_null(node):
        node = ListNode(leaf.origin)
    items = list(node.items) if isinstance(node, ListNode) else []
    index = int(steps[0])
    if index > len(items) and isinstance(node, ListNode):
        message = f"undefined index {step}: the list has {len(items)} elements"
        raise ConfigError([Problem(message, leaf.origin)])
    here = items[index] if index < len(items) else null(leaf.origin)
    items[index : index + 1] = [_put(here, item, steps[1:], leaf)]
    return ListNode(node.origin, tuple(items)) if isinstance(node, ListNode) else node


def _unknown(name: str, schema: type[Struct]) -> str:
    if name == "REGISTRY_AUTH_FILE":
        return "unknown variable; it belongs to podman and skopeo: unset it for the registry"
    known = {place.variable: place for place in places(schema)}
    bare = re.sub(r"_\d+(?=_|$)", "_0", name).upper()
    if bare in known:
        return f"unknown variable; did you mean {bare}?"
    # Named after the YAML keys, or with `_` between words, is what people try.
    for variable, place in known.items():
        as_key = "REGISTRY_" + place.path.replace("[0]", ".0").replace(".", "_").upper()
        if bare.replace("_", "") in (as_key.replace("_", ""), variable.replace("_", "")):
            return f"unknown variable; did you mean {variable}?"
    near = suggestion(bare.removeprefix(PREFIX), (v.removeprefix(PREFIX) for v in known))
    return f"unknown variable; did you mean {PREFIX}{near}?" if near else "unknown variable"
