"""The JSON Schema and the reference say what the loader does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from entrepot.config.duration import parse_duration
from entrepot.config.fields import fields_of, places
from entrepot.config.jsonschema import json_schema
from entrepot.config.reference import reference
from entrepot.config.schema import Config

SCHEMA = json_schema()
DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from objects(inner)


def test_every_reference_leads_somewhere() -> None:
    """$ref names a definition, and every definition is named."""
    named = {found["$ref"] for found in objects(SCHEMA) if "$ref" in found}
    assert named == {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


def test_unknown_keys_are_marked() -> None:
    """Every section refuses keys that the loader would refuse."""
    for name, definition in SCHEMA["$defs"].items():
        assert definition["type"] == "object", name
        assert definition["additionalProperties"] is False, name
        assert definition["title"]
        assert definition["description"]


def test_every_key_has_title_description_and_default() -> None:
    """What an editor shows: the description, and the default as it would be written."""
    for place in places(Config):
        shown = SCHEMA["$defs"][place.owner.__name__]["properties"][place.field.key]
        assert shown["title"] == place.field.key
        assert shown["description"].startswith(place.field.description)
        if place.field.type.kind == "section" or place.field.default is None:
            assert "default" not in shown
        elif place.field.type.kind == "duration":
            assert parse_duration(shown["default"]) == place.field.default
            assert re.search(shown["pattern"], shown["default"])
        else:
            assert "default" in shown, place.path


def test_what_must_be_given_is_required() -> None:
    """The version, and the keys that the loader calls missing."""
    required = {name: found["required"] for name, found in SCHEMA["$defs"].items()}
    assert required.pop("Config") == ["version"]
    assert {name: keys for name, keys in required.items() if keys} == {
        "AccessMapping": ["roles"],
        "Peer": ["url"],
        "FileCheck": ["file"],
        "Htpasswd": ["realm", "path"],
        "HttpCheck": ["uri"],
        "Ldap": ["urls", "base"],
        "OpenIdProvider": ["name", "issuer", "clientid"],
        "Platform": ["os", "architecture"],
        "SillyAuth": ["realm", "service"],
        "TcpCheck": ["addr"],
        "TokenAuth": ["service", "issuer"],
        "Workload": ["name", "issuer", "audience"],
        "WorkloadScope": ["repositories"],
    }


def test_optional_durations() -> None:
    """A duration without a default is written like any other."""
    lifetime = SCHEMA["$defs"]["ProxyCommand"]["properties"]["lifetime"]
    (form,) = lifetime["anyOf"]
    assert re.search(form["pattern"], "1h")
    assert "default" not in lifetime


def test_bare_words() -> None:
    """`storage: inmemory` and `auth: none` are valid."""
    properties = SCHEMA["$defs"]["Config"]["properties"]
    assert "inmemory" in properties["storage"]["anyOf"][1]["enum"]
    assert "none" in properties["auth"]["anyOf"][1]["enum"]
    assert "delete" not in properties["storage"]["anyOf"][1]["enum"]
    assert properties["version"]["enum"] == ["0.1", 0.1]


def test_what_is_not_honoured_is_deprecated() -> None:
    """Editors strike it through."""
    storage = SCHEMA["$defs"]["Storage"]["properties"]
    assert storage["swift"]["deprecated"]
    assert "not supported" in storage["swift"]["description"]
    assert "deprecated" not in storage["filesystem"]


def test_secrets_are_write_only() -> None:
    """As JSON Schema marks what isn't given back."""
    assert SCHEMA["$defs"]["Http"]["properties"]["secret"]["writeOnly"]


def test_the_reference_is_up_to_date() -> None:
    """docs/configuration.md is what `python -m entrepot.config.reference` prints."""
    assert DOCUMENT.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize("key", list(fields_of(Config)))
def test_the_reference_names_every_section(key: str) -> None:
    """Nothing is left out of it."""
    assert f"`{key}`" in reference()
