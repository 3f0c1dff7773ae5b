"""How a field of the schema is described: its text, whether it is secret, its unit, its variable.

The descriptions are read by `entrepot.config.fields`, which gives them to the loader, to `explain`,
to the JSON Schema and to the reference.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

Secrecy: TypeAlias = Literal["", "all", "url"]
"""What is masked when the value is shown: nothing, all of it, or only the credentials in a URL."""


def about(
    description: str,
    *,
    masked: Secrecy = "",
    variable: str = "",
    minimum: int | None = None,
    names_choice: bool = False,
    needs: bool = False,
) -> Meta:
    """What the schema says about one field.

    `masked` says what of the value is secret. `variable` is the field's name in REGISTRY_*
    variables where registry:2's Go field name is not the upper-cased YAML key. `names_choice`
    marks a section that may be given as a bare string ("storage: inmemory"). `needs` marks a field
    that must be given when its section is.
    """
    extra: dict[str, Any] = {}
    if masked:
        extra["masked"] = masked
    if variable:
        extra["variable"] = variable
    if names_choice:
        extra["names_choice"] = True
    if needs:
        extra["needs"] = True
    return Meta(description=description, extra=extra or None, ge=minimum)


Duration: TypeAlias = Annotated[float, Meta(extra={"kind": "duration"})]
"""Seconds. In YAML a Go duration ("1h30m"); a bare integer is nanoseconds, as in registry:2."""

Size: TypeAlias = Annotated[int, Meta(extra={"kind": "size"})]
"""Bytes. In YAML an integer."""

LogLevel: TypeAlias = Literal["error", "warn", "info", "debug"]
