"""Every value of a configuration with its origin, secrets masked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from entrepot.config.about import Secrecy
from entrepot.config.duration import format_duration
from entrepot.config.errors import DEFAULT, Origin
from entrepot.config.fields import ValueType, fields_of
from entrepot.config.loading import Loaded
from entrepot.config.masking import mask, mask_named, sounds_secret
from entrepot.config.nodes import printable


@dataclass(frozen=True, slots=True)
class Explained:
    """One value. `value` is masked and in the form that the YAML file has (durations are texts)."""

    key: str
    value: Any
    origin: Origin

    def __str__(self) -> str:
        shown = json.dumps(self.value, ensure_ascii=False, default=str)
        return f"{self.key}: {shown}"


def explain(loaded: Loaded) -> Iterator[Explained]:
    """Every value, in the order of the schema; sections that aren't given and have no default,
    such as those of other storage drivers, are left out."""
    return _section(loaded.config, path="", origins=loaded.origins)


def _section(struct: Struct, *, path: str, origins: Mapping[str, Origin]) -> Iterator[Explained]:
    for field in fields_of(type(struct)).values():
        key = f"{path}.{field.key}" if path else field.key
        value = getattr(struct, field.attribute)
        yield from _value(value, field.type, field.masked, key=key, origins=origins)


def _value(
    value: Any, kind: ValueType, secrecy: Secrecy, *, key: str, origins: Mapping[str, Origin]
) -> Iterator[Explained]:
    if value is None:
        return
    if isinstance(value, Struct) and fields_of(type(value)):
        yield from _section(value, path=key, origins=origins)
    elif kind.kind == "list" and value:
        for index, item in enumerate(value):
            yield from _value(item, kind.element, secrecy, key=f"{key}[{index}]", origins=origins)
    elif kind.kind == "map" and value:
        for name, item in value.items():
            inner = f"{key}.{printable(name)}"
            hidden = "all" if sounds_secret(name) else secrecy
            yield from _value(item, kind.element, hidden, key=inner, origins=origins)
    else:
        if kind.kind == "duration":
            value = format_duration(value)
        elif isinstance(value, Struct):
            value = {}
        elif kind.kind == "any":
            value = mask_named("", value)
        yield Explained(key, mask(value, secrecy), origins.get(key, DEFAULT))
