"""The schema as the loader, `explain`, the JSON Schema and the reference see it.

`section(Config)` is derived from the Structs by msgspec's introspection, once per class.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeAlias

from msgspec import NODEFAULT, Struct, inspect

from entrepot.config.about import Secrecy

Kind: TypeAlias = Literal[
    "text", "whole", "flag", "duration", "size", "choice", "list", "map", "section", "any"
]


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a value may be. `item` is the type of a list's or map's elements."""

    kind: Kind
    optional: bool = False
    minimum: int | None = None
    choices: tuple[str, ...] = ()
    item: "ValueType | None" = None
    struct: type[Struct] = Struct
    names_choice: bool = False

    @property
    def element(self) -> "ValueType":
        """The type of an element; anything goes where it isn't stated."""
        return self.item or ANY


ANY = ValueType("any")


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a section. `variable` is its name in REGISTRY_* variables."""

    key: str
    attribute: str
    type: ValueType
    description: str
    default: Any
    masked: Secrecy
    variable: str
    needs: bool


def section(struct: type[Struct]) -> ValueType:
    """The type of a section that is described by `struct`."""
    return ValueType("section", struct=struct)


@cache
def fields_of(struct: type[Struct]) -> Mapping[str, Field]:
    """The fields of a section by YAML key, in the order of the schema."""
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise TypeError(struct)
    return {field.encode_name: _field(field) for field in info.fields}


def _field(field: inspect.Field) -> Field:
    facts = field.type if isinstance(field.type, inspect.Metadata) else None
    extra = (facts.extra if facts else None) or {}
    description = ((facts.extra_json_schema if facts else None) or {}).get("description", "")
    default = field.default
    if default is NODEFAULT and field.default_factory is not NODEFAULT:
        default = field.default_factory()
    return Field(
        key=field.encode_name,
        attribute=field.name,
        type=_value_type(field.type),
        description=description,
        default=default,
        masked=extra.get("masked", ""),
        variable=extra.get("variable", field.encode_name.upper()),
        needs=extra.get("needs", False),
    )


def _value_type(found: inspect.Type) -> ValueType:
    extra: dict[str, Any] = {}
    while isinstance(found, inspect.Metadata):
        extra, found = {**extra, **(found.extra or {})}, found.type
    if isinstance(found, inspect.UnionType):
        (inner,) = (t for t in found.types if not isinstance(t, inspect.NoneType))
        known = _value_type(inspect.Metadata(inner, extra=extra))
        return replace(known, optional=True)
    match found:
        case inspect.StructType():
            return ValueType(
                "section", struct=found.cls, names_choice=extra.get("names_choice", False)
            )
        case inspect.LiteralType():
            return ValueType("choice", choices=tuple(str(value) for value in found.values))
        case inspect.VarTupleType():
            return ValueType("list", item=_value_type(found.item_type))
        case inspect.DictType():
            return ValueType("map", item=_value_type(found.value_type))
        case inspect.BoolType():
            return ValueType("flag")
        case inspect.IntType():
            return ValueType(extra.get("kind", "whole"), minimum=found.ge)
        case inspect.FloatType():
            minimum = None if found.ge is None else int(found.ge)
            return ValueType("duration", minimum=minimum)
        case inspect.StrType():
            return ValueType("text")
    return ANY


@dataclass(frozen=True, slots=True)
class Place:
    """A key anywhere in the schema; list indexes are written `[0]`, map keys `<name>`."""

    path: str
    variable: str
    field: Field
    owner: type[Struct]


def places(struct: type[Struct], *, path: str = "", variable: str = "REGISTRY") -> Iterator[Place]:
    """Every key below `struct`, sections before what they contain."""
    for field in fields_of(struct).values():
        place = Place(
            path=f"{path}.{field.key}" if path else field.key,
            variable=f"{variable}_{field.variable}",
            field=field,
            owner=struct,
        )
        yield place
        yield from _inside(field.type, path=place.path, variable=place.variable)


def _inside(kind: ValueType, *, path: str, variable: str) -> Iterator[Place]:
    if kind.kind == "section":
        yield from places(kind.struct, path=path, variable=variable)
    elif kind.kind == "list":
        yield from _inside(kind.element, path=f"{path}[0]", variable=f"{variable}_0")
    elif kind.kind == "map":
        yield from _inside(kind.element, path=f"{path}.<name>", variable=f"{variable}_<NAME>")
