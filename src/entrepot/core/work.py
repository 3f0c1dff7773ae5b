"""Background work: what is to be done, when, and what came of it.

A **schedule** makes a job when its time comes. A **job** is done by one process of the cluster at a
time, which holds it by a lease. A **run** is a job's story from its beginning to its end, attempts
that failed or were taken over included; it stays when the job is gone. Times are microseconds since
1970-01-01 UTC.
"""

import re
from collections.abc import Mapping
from datetime import tzinfo
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from entrepot.core.collected import COLLECT, CollectSettings
from entrepot.core.cron import parse_cron
from entrepot.core.errors import EntrepotError
from entrepot.core.retention import RETENTION, RetentionRun

SECOND: Final = 1_000_000

LEASE: Final = 60 * SECOND
"""For which an owner has a job, unless it renews that."""

MOST_ATTEMPTS: Final = 8
"""Attempts in a row that may fail, or die, without any progress before a run is given up."""

LONGEST_JITTER: Final = 24 * 3600 * SECOND

_NAME: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_LONGEST_NAME: Final = 64
_FIRST_WAIT: Final = 10 * SECOND
_LONGEST_WAIT: Final = 3600 * SECOND


class ScrubSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of `scrub`: how many bytes it reads in a second at most; 0 is without a limit, nothing is as
    `lifecycle.scrub.rate` says.
    """

    rate: Annotated[int, Meta(ge=0)] | None = None


CHECK: Final = "check"
"""The kind of the work that compares the index with the store."""


class CheckSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of a check: whether what is wrong is repaired."""

    fix: bool = False


RECOUNT: Final = "recount"
"""The kind of the work that counts what lies in namespaces with quotas."""


class RecountSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of a recount: the namespace, or all that have quotas."""

    namespace: str | None = None


FORMS: Final[Mapping[str, type[Struct]]] = {
    CHECK: CheckSettings,
    COLLECT: CollectSettings,
    RECOUNT: RecountSettings,
    RETENTION: RetentionRun,
    "scrub": ScrubSettings,
}
"""The kinds of background work, each with the form of its settings."""

Outcome = Literal["waiting", "running", "success", "failure"]
"""Of a run. One that failed and will be tried again is `waiting`."""

Document = dict[str, Any]
"""A JSON object."""


class WorkError(EntrepotError):
    """Background work can't be as it was asked for; the text says why."""


class WorkUnknownError(WorkError):
    """There is no such schedule or run."""


class Schedule(Struct, frozen=True):
    """What is to be done when. `next_at` is already moved by chance, up to `jitter`."""

    name: str
    kind: str
    cron: str
    timezone: str
    jitter: int
    settings: Document
    enabled: bool
    next_at: int
    last_at: int | None
    created_at: int
    created_by: str


class Job(Struct, frozen=True):
    """Something that is to be done after `run_after`, as run `run`. `cursor` is how far it is, in
    words of its kind. `attempts` counts those since it last made progress, with the present one.
    """

    id: int
    kind: str
    run: int
    settings: Document
    cursor: Document
    attempts: int


class Run(Struct, frozen=True):
    """What was done, why (`cause`), by which machine, and what came of it: the `report`."""

    id: int
    kind: str
    cause: str
    node: str
    started_at: int
    finished_at: int | None
    outcome: Outcome
    report: Document


def check_schedule_name(name: str) -> str:
    """Return `name` if a schedule may be called so, or raise WorkError."""
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise WorkError(
            f"{name!r} can't be a schedule's name: it has lower-case letters and digits with "
            f"single . _ - between them, {_LONGEST_NAME} characters at most"
        )
    return name


def next_time(cron: str, zone: tzinfo, *, after: int, jitter: int, chance: float) -> int:
    """Return when a schedule is due after a time; `chance`, from 0 to 1, says how much of the
    jitter comes on top.
    """
    return parse_cron(cron).after(after, zone) + int(jitter * chance)


def wait_after(attempts: int) -> int:
    """Return for how long a job rests that has failed so many times in a row."""
    return min(_FIRST_WAIT << (attempts - 1), _LONGEST_WAIT)
