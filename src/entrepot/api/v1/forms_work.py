"""What `/api/v1/schedules` and `/api/v1/runs` take and give."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from entrepot.api.v1.forms import Form, Name, Text, ending, moment
from entrepot.core.work import SECOND, Document, Outcome, Run, Schedule

Settings = Annotated[
    dict[str, str | int | float | bool | None],
    Meta(max_length=100, description="What the kind of work takes; what isn't given is usual."),
]
Jitter = Annotated[float, Meta(ge=0, le=86_400, description="Seconds.")]


class ScheduleMake(Form, frozen=True):
    """What is to be done when: a cron line with 5 fields, or a name such as `@daily`, in a time
    zone of the IANA database. By `jitter` it is begun later, by chance.
    """

    kind: Name
    cron: Text
    timezone: Name = "UTC"
    jitter: Jitter = 0
    settings: Settings = field(default_factory=dict)
    enabled: bool = True


class ScheduleChange(Form, frozen=True):
    """Whether a schedule runs."""

    enabled: bool


class ScheduleView(Struct, frozen=True):
    """A schedule. Its next time is null while it is disabled. Who may not read everything sees no
    texts among its settings: they may name what is hidden.
    """

    name: str
    kind: str
    cron: str
    timezone: str
    jitter: float
    settings: dict[str, Any]
    enabled: bool
    next_at: datetime | None
    last_at: datetime | None
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, known: Schedule, *, names: bool = True) -> "ScheduleView":
        """Return what is shown of a schedule."""
        return cls(
            name=known.name,
            kind=known.kind,
            cron=known.cron,
            timezone=known.timezone,
            jitter=known.jitter / SECOND,
            settings=known.settings if names else without_names(known.settings),
            enabled=known.enabled,
            next_at=moment(known.next_at) if known.enabled else None,
            last_at=ending(known.last_at),
            created_at=moment(known.created_at),
            created_by=known.created_by,
        )


class RunMake(Form, frozen=True):
    """Something that is to be done as soon as may be."""

    kind: Name
    settings: Settings = field(default_factory=dict)


class RunView(Struct, frozen=True):
    """What was done in the background, why, by which machine, and what came of it so far. Who may
    not read everything sees the numbers of the report alone: its texts and lists may name what is
    hidden.
    """

    id: int
    kind: str
    cause: str
    node: str
    started_at: datetime
    finished_at: datetime | None
    outcome: Outcome
    report: dict[str, Any]

    @classmethod
    def of(cls, run: Run, *, names: bool = True) -> "RunView":
        """Return what is shown of a run; without `names` the numbers of its report alone."""
        return cls(
            id=run.id,
            kind=run.kind,
            cause=run.cause,
            node=run.node,
            started_at=moment(run.started_at),
            finished_at=ending(run.finished_at),
            outcome=run.outcome,
            report=run.report if names else without_names(run.report),
        )


def without_names(document: Document) -> Document:
    """Return a document with its numbers and flags; what else there is, is empty."""
    return {
        key: value if isinstance(value, int | float) or value is None else type(value)()
        for key, value in document.items()
    }
