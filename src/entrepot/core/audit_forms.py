"""Records of the audit log in the forms that others read: Elastic Common Schema and CSV."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from entrepot.core.audit import Record

ECS_VERSION: Final = "8.11.0"

_CATEGORIES: Final = {
    "login": ("authentication", "start"),
    "logout": ("authentication", "end"),
    "user": ("iam", "user"),
    "robot": ("iam", "user"),
    **dict.fromkeys(("token", "grant", "role", "namespace"), ("iam", "change")),
    "admin": ("iam", "admin"),
    **dict.fromkeys(("key", "database", "storage"), ("configuration", "change")),
    **dict.fromkeys(("retention", "quota", "hold", "schedule"), ("configuration", "change")),
    **dict.fromkeys(("run", "audit"), ("process", "info")),
    **dict.fromkeys(("web", "api", "catalog"), ("web", "access")),
    "session": ("session", "info"),
}
"""ECS's category and type, by the first word of an action; without one it is about a file."""

_TYPES: Final = {
    **dict.fromkeys(("push", "mount"), "creation"),
    **dict.fromkeys(("delete", "collect", "expire"), "deletion"),
    "pull": "access",
}
ECS_OUTCOMES: Final = {"success": "success", "failure": "failure", "denied": "failure"}


def moment(microseconds: int) -> str:
    """Return a time as ISO 8601, in UTC."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06}Z"


def ecs(record: Record) -> dict[str, Any]:
    """Return a record in Elastic Common Schema; what it leaves out is below `entrepot`."""
    kind, _, verb = record.action.partition(".")
    category, change = _CATEGORIES.get(kind, ("file", _TYPES.get(verb, "change")))
    types = [change, *(["denied"] if record.outcome == "denied" else [])]
    found: dict[str, Any] = {
        "@timestamp": moment(record.occurred_at),
        "ecs.version": ECS_VERSION,
        "event": {
            "kind": "event",
            "dataset": "entrepot.audit",
            "category": [category],
            "type": types,
            "action": record.action,
            "outcome": ECS_OUTCOMES.get(record.outcome, "unknown"),
            "reason": record.reason,
            "id": f"{record.writer}-{record.sequence}",
            "hash": record.hash.hex(),
        },
        "user": {"name": record.actor, "target": {"name": record.target}},
        "client": {"ip": record.address},
        "http": {"request": {"id": record.request_id}},
        "host": {"name": record.node},
        "entrepot": {
            "outcome": record.outcome,
            "actor_kind": record.actor_kind,
            "method": record.method,
            "credential": record.credential,
            "repository": record.repository,
            "tag": record.tag,
            "digest": record.digest,
            "grant": record.grant_id,
            "detail": _detail(record),
            "writer": record.writer,
            "sequence": record.sequence,
            "previous": record.previous.hex(),
        },
    }
    pruned: dict[str, Any] = _without_nothing(found)
    return pruned


def ecs_line(record: Record) -> bytes:
    """Return a record as a line of JSON in Elastic Common Schema."""
    return msgspec.json.encode(ecs(record)) + b"\n"


def row(record: Record) -> dict[str, Any]:
    """Return a record for people: its columns, times and hashes as text."""
    found = msgspec.structs.asdict(record)
    found["occurred_at"] = moment(record.occurred_at)
    found["previous"], found["hash"] = record.previous.hex(), record.hash.hex()
    return found


CSV_HEADER: Final = ",".join(Record.__struct_fields__) + "\n"


def csv_line(record: Record) -> str:
    """Return a record as a line of CSV (RFC 4180). A cell that a spreadsheet would compute gets an
    apostrophe in front.
    """
    return ",".join(map(_cell, row(record).values())) + "\n"


def _cell(value: object) -> str:
    text = str(value)
    if text.startswith(("=", "+", "-", "@")):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"'


def _detail(record: Record) -> Any:
    """Return the details as they are, or as text if somebody has broken them."""
    try:
        return json.loads(record.detail) if record.detail else None
    except ValueError:
        return record.detail


def _without_nothing(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    pruned = {key: _without_nothing(inner) for key, inner in value.items()}
    return {key: inner for key, inner in pruned.items() if inner not in ("", None, {}, 0)}
