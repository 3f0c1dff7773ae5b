"""`/api/v1/retention`: what is kept, and what becomes of tags."""

from contextlib import aclosing
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from entrepot.api.v1.forms import PAGE, After, Limit, Page
from entrepot.api.v1.forms_retention import PlanView, PolicyView, RetentionMake, Show
from entrepot.api.v1.forms_work import RunView
from entrepot.api.v1.operation import Call, sees
from entrepot.core.decision import parse_namespace
from entrepot.core.errors import NameInvalidError
from entrepot.core.names import RepositoryName
from entrepot.core.retention import RETENTION
from entrepot.core.retention_policy import PolicyDocument
from entrepot.core.work import Run, WorkUnknownError
from entrepot.services.access import Visible
from entrepot.services.retention import Planner, known_policies

RunNumber = Annotated[int, Meta(ge=1, le=2**63 - 1, description="The run.")]

_MANY: Final = 5000
"""Tags that end a page."""


async def list_policies(call: Call, *, limit: Limit = PAGE, after: After = "") -> Page[PolicyView]:
    """List the policies of the namespaces that you may see, by name."""
    found: list[PolicyView] = []
    for known in await call.services.retention.list():
        shown = PolicyView.of(known)
        if (not after or shown.namespace > after) and await sees(call, known.namespace):
            if len(found) == limit:
                return Page(found, found[-1].namespace)
            found.append(shown)
    return Page(found)


async def show_policy(call: Call, namespace: str) -> PolicyView:
    """Show the policy that counts in a namespace: its own, or that of the nearest one above."""
    return PolicyView.of(await call.services.retention.find(namespace))


async def set_policy(call: Call, namespace: str, body: PolicyDocument) -> PolicyView:
    """Give a namespace a policy, in place of its own, and of those above, which count no more."""
    return PolicyView.of(await call.services.retention.set(namespace, body, by=call.by))


async def remove_policy(call: Call, namespace: str) -> None:
    """Remove the policy of a namespace itself; that of the nearest one above counts again."""
    await call.services.retention.remove(namespace, by=call.by)


async def preview_retention(
    call: Call, namespace: str, *, show: Show = "delete", limit: Limit = PAGE, after: After = ""
) -> Page[PlanView]:
    """Say what would become of the repositories in a namespace, and in those below it, that rules
    are about. A page ends after so many repositories, or thousands of tags.
    """
    stores = call.content()
    policies, readable = await known_policies(stores.index), await call.readable()
    now = await call.services.read_time()
    planner = Planner(stores, policies, now=now, readable=readable)
    found: list[PlanView] = []
    shown = 0
    async with aclosing(planner.plans(parse_namespace(namespace), after=after)) as plans:
        async for plan in plans:
            if len(found) == limit or shown >= _MANY:
                return Page(found, found[-1].repository)
            found.append(PlanView.of(plan, show))
            shown += len(plan.tagged)
    return Page(found)


async def request_retention(call: Call, namespace: str, body: RetentionMake) -> RunView:
    """Ask for a run of retention in a namespace, and in those below it, as soon as may be. If the
    same was asked for and is not done yet, that is the answer.
    """
    settings = {"namespace": parse_namespace(namespace), **msgspec.structs.asdict(body)}
    return await _shown(call, await call.services.runs.request(RETENTION, settings, by=call.by))


async def show_retention(call: Call, namespace: str, *, run: RunNumber) -> RunView:
    """Show a run of retention in a namespace, also while it is under way."""
    found = await call.services.runs.find(run)
    place = parse_namespace(namespace) or "/"
    if found.kind != RETENTION or found.report.get("namespace", place) != place:
        raise WorkUnknownError(f"there is no run {run}")
    return await _shown(call, found)


async def _shown(call: Call, run: Run) -> RunView:
    """Return what is shown of a run. Who may not read everything in the registry isn't told what
    comes free, which depends on who has the same blobs, nor of repositories that are hidden.
    """
    readable = await call.readable()
    if readable is None:
        return RunView.of(run)
    report = {key: value for key, value in run.report.items() if key != "freed"}
    report["stopped"] = {
        namespace: shown
        for namespace, reasons in report.get("stopped", {}).items()
        if (shown := [each for each in reasons if _may_be_told(each, readable)])
    }
    return RunView.of(msgspec.structs.replace(run, report=report))


def _may_be_told(reason: str, readable: Visible) -> bool:
    """Tell whether a reason is about no repository (`NAME: REASON`) that is hidden."""
    name, colon, _ = reason.partition(": ")
    try:
        return not colon or readable.shows(RepositoryName.parse(name))
    except NameInvalidError:
        return True
