"""What `/api/v1/audit` takes and gives."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from entrepot.core.audit import Outcome, Record
from entrepot.services.auditing import AuditError

if TYPE_CHECKING:
    from entrepot.services.checkpoints import Report

Time = Annotated[
    str, Meta(max_length=64, extra_json_schema={"format": "date-time"}, description="In RFC 3339.")
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", re.ASCII
)


class EventView(Struct, frozen=True):
    """An event of the audit log; `hash` is over all the others (docs/audit.md)."""

    writer: int
    sequence: int
    previous: str
    occurred_at: datetime
    action: str
    outcome: Outcome
    actor: str
    actor_kind: str
    method: str
    credential: str
    address: str
    repository: str
    tag: str
    digest: str
    target: str
    reason: str
    grant_id: int
    request_id: str
    node: str
    detail: str
    hash: str

    @classmethod
    def of(cls, record: Record) -> "EventView":
        """Return what is shown of a record."""
        shown = msgspec.structs.asdict(record) | {
            "occurred_at": _EPOCH + timedelta(microseconds=record.occurred_at),
            "previous": record.previous.hex(),
            "hash": record.hash.hex(),
        }
        return cls(**shown)


class ReportView(Struct, frozen=True):
    """What was looked at, and what is wrong with it: the first thousand problems of `found`."""

    events: int
    chains: int
    checkpoints: int
    last_checkpoint: int
    found: int
    problems: list[str]

    @classmethod
    def of(cls, report: "Report") -> "ReportView":
        """Return what is shown of a report."""
        return cls(
            events=report.events,
            chains=report.chains,
            checkpoints=report.checkpoints,
            last_checkpoint=report.last,
            found=report.found,
            problems=[str(problem) for problem in report.problems],
        )


def parse_time(text: str | None, *, without: int) -> int:
    """Return the microseconds since 1970 of a time, or `without` if there is none.

    Raises:
        AuditError: it is no time of RFC 3339.
    """
    if text is None:
        return without
    try:
        if _TIME.match(text):
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        pass
    raise AuditError(f"{text!r} is not a time: write 2026-01-31T12:00:00Z")
