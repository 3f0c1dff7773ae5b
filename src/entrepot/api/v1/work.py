"""`/api/v1/schedules` and `/api/v1/runs`: what is done in the background."""

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.forms_work import (
    RunMake,
    RunView,
    ScheduleChange,
    ScheduleMake,
    ScheduleView,
)
from entrepot.api.v1.operation import Call, parse_mark


async def list_schedules(
    call: Call, *, limit: Limit = PAGE, after: After = ""
) -> Page[ScheduleView]:
    """List the schedules by name."""
    known = [entry for entry in await call.services.schedules.list() if entry.name > after]
    names = await _sees_all(call)
    found = [ScheduleView.of(entry, names=names) for entry in known[:limit]]
    return Page(found, found[-1].name if len(known) > limit else None)


async def show_schedule(call: Call, schedule: str) -> ScheduleView:
    """Show a schedule."""
    found = await call.services.schedules.find(schedule)
    return ScheduleView.of(found, names=await _sees_all(call))


async def set_schedule(call: Call, schedule: str, body: ScheduleMake) -> ScheduleView:
    """Make a schedule, or change the one of this name."""
    made = await call.services.schedules.set(
        schedule,
        kind=body.kind,
        cron=body.cron,
        timezone=body.timezone,
        jitter=body.jitter,
        settings=body.settings,
        enabled=body.enabled,
        by=call.by,
    )
    return ScheduleView.of(made)


async def change_schedule(call: Call, schedule: str, body: ScheduleChange) -> ScheduleView:
    """Let a schedule run from its next time on, or not."""
    changed = await call.services.schedules.enable(schedule, enabled=body.enabled, by=call.by)
    return ScheduleView.of(changed)


async def remove_schedule(call: Call, schedule: str) -> None:
    """Remove a schedule. What it has begun goes on."""
    await call.services.schedules.remove(schedule, by=call.by)


async def list_runs(
    call: Call, *, kind: str = "", limit: Limit = PAGE, after: After = ""
) -> Page[RunView]:
    """List what was done in the background, or is being done, the newest first."""
    runs = call.services.runs
    found = await runs.list(kind=kind, before=parse_mark(after, first=2**62), limit=limit + 1)
    names = await _sees_all(call)
    page = [RunView.of(run, names=names) for run in found[:limit]]
    return Page(page, str(page[-1].id) if len(found) > limit else None)


async def request_run(call: Call, body: RunMake) -> RunView:
    """Ask for something to be done as soon as may be. If the same was asked for and is not done
    yet, that is the answer.
    """
    return RunView.of(await call.services.runs.request(body.kind, body.settings, by=call.by))


async def show_run(call: Call, run: int) -> RunView:
    """Show a run, also while it is under way."""
    return RunView.of(await call.services.runs.find(run), names=await _sees_all(call))


async def _sees_all(call: Call) -> bool:
    return await call.readable() is None
