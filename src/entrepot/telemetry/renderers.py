"""One log event as one line: for people, in Elastic Common Schema, and as registry:2 writes it.

An event arrives as a mapping of JSON values (see `masking.mask_value`) with the keys `event`,
`level`, `logger`, `timestamp`, perhaps `error.type`, `error.message`, `error.stack_trace`, and the
event's own fields.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from entrepot.telemetry.masking import printable

ECS_VERSION = "8.11.0"
"""The version of the Elastic Common Schema that field names follow."""

SERVICE_NAME = "entrepot"

Event = dict[str, Any]
Renderer = Callable[[Event], str]

_ECS_NAMES: Mapping[str, str] = {"request_id": "http.request.id"}
"""Fields of ours that the schema has a name for."""


def encode(value: object) -> str:
    """Return a JSON value on one line; text that is no Unicode is escaped."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        # An unpaired surrogate: somebody's bytes were decoded with "surrogateescape".
        return msgspec.json.encode(_without_surrogates(value)).decode()


def ecs(event: Event, *, fields: Mapping[str, object]) -> str:
    """Render in Elastic Common Schema, with dotted names.

    An event's field whose name has a dot is an ECS field; others are ours and stand below
    `entrepot.`, where they can't collide with an object of the schema. The configured fields
    stand below `labels.`, again unless their names have a dot.
    """
    line: dict[str, object] = {
        "@timestamp": event.pop("timestamp"),
        "log.level": event.pop("level"),
        "message": event.pop("event"),
        "ecs.version": ECS_VERSION,
        "service.name": SERVICE_NAME,
        "log.logger": event.pop("logger"),
    }
    line.update({_dotted(name, "labels"): value for name, value in fields.items()})
    for name, value in event.items():
        line.setdefault(_ECS_NAMES.get(name) or _dotted(name, "entrepot"), value)
    return encode(line)


def logrus(event: Event, *, fields: Mapping[str, object]) -> str:
    """Render as registry:2's `formatter: json` does."""
    line = {"level": event.pop("level"), "msg": event.pop("event"), "time": event.pop("timestamp")}
    return encode(_with_fields(line, fields=fields, event=event))


def logstash(event: Event, *, fields: Mapping[str, object]) -> str:
    """Render as registry:2's `formatter: logstash` does."""
    line = {
        "@timestamp": event.pop("timestamp"),
        "@version": "1",
        "level": event.pop("level"),
        "message": event.pop("event"),
    }
    return encode(_with_fields(line, fields=fields, event=event))


def text(event: Event, *, fields: Mapping[str, object]) -> str:
    """Render for people: time, level, logger, message, fields; a traceback on indented lines.

    Nothing that a client sends starts a line: control characters are escaped and a traceback is
    indented.
    """
    trace = str(event.pop("error.stack_trace", ""))
    head = (
        f"{event.pop('timestamp')} {event.pop('level'):<8} "
        f"{event.pop('logger')}: {printable(str(event.pop('event')))}"
    )
    pairs = [f"{printable(name)}={_quoted(value)}" for name, value in {**fields, **event}.items()]
    lines = [" ".join([head, *pairs])]
    lines.extend(f"    {printable(line)}" for line in trace.splitlines())
    return "\n".join(lines)


RENDERERS: Mapping[str, Callable[..., str]] = {
    "ecs": ecs,
    "json": logrus,
    "logstash": logstash,
    "text": text,
}
"""`log.formatter` -> how it writes an event."""


def _dotted(name: str, namespace: str) -> str:
    return name if "." in name else f"{namespace}.{name}"


def _with_fields(
    line: dict[str, object], *, fields: Mapping[str, object], event: Event
) -> dict[str, object]:
    """Add fields the way logrus does: one that would hide a fixed key gets a prefix."""
    fixed = frozenset(line)
    for name, value in {**fields, **event}.items():
        line[f"fields.{name}" if name in fixed else name] = value
    return line


def _quoted(value: object) -> str:
    shown = printable(value if isinstance(value, str) else encode(value))
    if not isinstance(value, str) or (shown and not set(shown) & set(" \"'=")):
        return shown
    return encode(shown)


def _without_surrogates(value: object) -> object:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _without_surrogates(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(inner) for inner in value]
    return value
