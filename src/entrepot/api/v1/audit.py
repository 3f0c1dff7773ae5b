"""`/api/v1/audit`: who did what, and why they could."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta

from entrepot.api.v1.forms import PAGE, After, Limit, Page, Stream
from entrepot.api.v1.forms_audit import EventView, ReportView, Time, parse_time
from entrepot.api.v1.operation import Call
from entrepot.core.audit import Outcome, Record
from entrepot.core.audit_forms import CSV_HEADER, csv_line, ecs_line
from entrepot.services.auditing import parse_checkpoint

_EVER: Final = 2**62

Kind = Annotated[str, Meta(description="One action, or the kind of many: `user` of `user.create`.")]


async def search_events(  # noqa: PLR0913 - the parameters of a query
    call: Call,
    *,
    user: str = "",
    action: Kind = "",
    repository: str = "",
    namespace: str = "",
    outcome: Outcome | None = None,
    address: str = "",
    target: str = "",
    since: Time | None = None,
    until: Time | None = None,
    limit: Limit = PAGE,
    after: After = "",
) -> Page[EventView]:
    """List events of the audit log, the newest first: what a `user` did, what was done on a
    `repository` or on those in a `namespace`, what it was about (`target`).
    """
    wanted = _wanted(user, action, repository, namespace, outcome, address, target)
    page = await call.services.audit.search(wanted, **_span(since, until), after=after, limit=limit)
    return Page([EventView.of(found.record) for found in page.found], page.rest or None)


async def export_events(  # noqa: PLR0913
    call: Call,
    *,
    user: str = "",
    action: Kind = "",
    repository: str = "",
    namespace: str = "",
    outcome: Outcome | None = None,
    address: str = "",
    target: str = "",
    since: Time | None = None,
    until: Time | None = None,
    format: Literal["json", "csv"] = "json",  # noqa: A002 - the parameter's name
) -> Stream:
    """Give all events that are wanted, the newest first, as they are read: lines of JSON in the
    Elastic Common Schema, or CSV. An answer that breaks off in the middle is not whole.
    """
    wanted = _wanted(user, action, repository, namespace, outcome, address, target)
    batches = call.services.audit.every(wanted, **_span(since, until))
    if format == "csv":
        return Stream(Stream.CSV, _csv(batches))
    return Stream(Stream.LINES, _lines(batches))


async def verify_events(
    call: Call,
    *,
    checkpoint: str = "",
    trust: list[str] = [],  # noqa: B006 - msgspec copies it
) -> ReportView:
    """Look at every event and checkpoint, and tell which were changed, removed or inserted. There
    must be a `checkpoint`, written NUMBER:HASH; keys are believed that `trust` names by their ids.
    """
    expected = parse_checkpoint(checkpoint) if checkpoint else None
    checkpoints = await call.services.checkpoints()
    return ReportView.of(await checkpoints.verify(trusted=trust, expected=expected))


def _wanted(*given: str | None) -> dict[str, str]:
    names = ("actor", "action", "repository", "below", "outcome", "address", "target")
    return {name: value for name, value in zip(names, given, strict=True) if value}


def _span(since: str | None, until: str | None) -> dict[str, int]:
    return {
        "since": parse_time(since, without=-_EVER),
        "until": parse_time(until, without=_EVER),
    }


async def _lines(batches: AsyncIterator[Sequence[Record]]) -> AsyncIterator[bytes]:
    async for records in batches:
        yield b"".join(map(ecs_line, records))


async def _csv(batches: AsyncIterator[Sequence[Record]]) -> AsyncIterator[bytes]:
    yield CSV_HEADER.encode()
    async for records in batches:
        yield "".join(map(csv_line, records)).encode()
