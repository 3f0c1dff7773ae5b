"""The JSON Schema of the configuration file, for editors."""

from typing import Any

import msgspec
from msgspec import Struct

from entrepot.config.duration import format_duration
from entrepot.config.fields import Field, fields_of, places
from entrepot.config.honoured import NOT_HONOURED
from entrepot.config.schema import Config

_DURATION = r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$"


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) that accepts what the loader accepts, written the recommended way.

    Stricter than the loader in one thing: texts that YAML reads as numbers must be quoted.
    """
    (made,), definitions = msgspec.json.schema_components([Config])
    reasons = _reasons()
    for struct in {place.owner for place in places(Config)} | _empty_sections():
        definition = definitions[struct.__name__]
        fields = fields_of(struct)
        definition["properties"] = {
            key: _property(definition["properties"][key], field, reasons.get((struct, key), ""))
            for key, field in fields.items()
        }
        definition["required"] = [key for key, field in fields.items() if field.needs]
    root = definitions["Config"]
    root["required"] = ["version"]
    root["properties"]["version"] |= {"type": ["string", "number"], "enum": ["0.1", 0.1]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Entrepot configuration",
        **made,
        "$defs": dict(sorted(definitions.items())),
    }


def _empty_sections() -> set[type[Struct]]:
    """Sections without keys, such as `storage.inmemory`, own no place."""
    kinds = (place.field.type for place in places(Config))
    return {kind.struct for kind in kinds if kind.kind == "section"}


def _reasons() -> dict[tuple[type[Struct], str], str]:
    """Why a key isn't honoured, by the section that owns it and its name in there."""
    rows = {row.key: row.reason for row in NOT_HONOURED}
    return {
        (place.owner, place.field.key): rows[place.path]
        for place in places(Config)
        if place.path in rows
    }


def _property(made: dict[str, Any], field: Field, reason: str) -> dict[str, Any]:
    """What msgspec made, with the forms that only YAML has, and without defaults of sections."""
    kind = field.type
    polished = {"title": field.key, **made}
    if reason:
        polished["description"] = f"{field.description} Not honoured: {reason}."
        polished["deprecated"] = True
    if field.masked == "all":
        polished["writeOnly"] = True
    if kind.kind == "section" or field.default is None:
        polished.pop("default", None)
    if kind.kind == "duration" and not kind.optional:
        polished.pop("minimum", None)
        polished |= {
            "type": ["string", "integer"],
            "pattern": _DURATION,
            "default": format_duration(field.default),
        }
    elif kind.kind == "duration":
        polished["anyOf"] = [{"type": ["string", "integer"], "pattern": _DURATION}]
    if kind.names_choice:
        names = [key for key, inner in fields_of(kind.struct).items() if inner.type.optional]
        polished["anyOf"] = [{"$ref": polished.pop("$ref")}, {"enum": names}]
    return polished
