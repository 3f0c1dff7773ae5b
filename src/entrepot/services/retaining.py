"""Runs of retention: deleting what no rule keeps, as background work.

1. Everything is planned, and nothing deleted. A policy by which more would go than its brake lets,
   or all tags of a repository without `allow_empty`, is left out of the run: nothing goes by it.
2. Repository by repository is planned again, for the same time, and what goes is deleted, in small
   transactions. A tag that has moved since it was planned stays.

A run that is interrupted goes on with the repository where it was. It ends early if policies are
changed meanwhile: whoever does that may want to stop it; and while something is being taken over,
for the tags are not all known then.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from entrepot.core.audit import Actor, Event, event
from entrepot.core.decision import parse_namespace
from entrepot.core.errors import DeniedError, ManifestUnknownError, UnsupportedError
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.retention import Fate, RetentionRun, why_stopped
from entrepot.core.work import Document
from entrepot.db.collection import is_importing
from entrepot.db.engine import Transaction
from entrepot.db.followers import Closure
from entrepot.db.retention import StoredPolicy, list_policies
from entrepot.db.tags import find_tag
from entrepot.db.trash import Removal
from entrepot.services.audit import Notes
from entrepot.services.delete import delete_reference, new_operation, remove
from entrepot.services.protection import check_may_go
from entrepot.services.retention import KnownPolicy, Plan, Planner, parse_policies
from entrepot.services.stores import Stores
from entrepot.services.work import Task
from entrepot.telemetry import Metrics

ACTOR: Final = Actor(kind="registry", method="retention", reason="a policy of retention")
"""Who deletes what no rule keeps."""

BY: Final = "retention policy"
"""How the history of tags calls it; no user has such a name."""

_BATCH: Final = 100
"""Tags of one transaction."""

_IMPORTING: Final = (
    "what registry:2 left is being taken over: which tags there are is known when that is done"
)

_MOST_REASONS: Final = 20
"""Reasons that a report has why a policy was stopped, and why tags stay."""

_log = structlog.get_logger("entrepot.retention")


class Report(msgspec.Struct):
    """What came of a run: counts of repositories and tags that rules are about, of tags that go, of
    tags and untagged manifests that were deleted, and by which rule; `freed` in bytes. `skipped`
    moved meanwhile, or can't be deleted. `fixed` says how many tags stay whatever rules say, by the
    holds and protections because of which they do. Nothing went by the policies of the namespaces
    in `stopped`, for these reasons.
    """

    namespace: str
    dry_run: bool
    operation: str
    repositories: int = 0
    tags: int = 0
    going: int = 0
    deleted: int = 0
    untagged: int = 0
    skipped: int = 0
    freed: int = 0
    rules: dict[str, int] = {}
    fixed: dict[str, int] = {}
    stopped: dict[str, list[str]] = {}
    ended: str = ""

    def document(self) -> Document:
        """Return it as it is kept."""
        found: Document = msgspec.to_builtins(self)
        return found


class _Progress(msgspec.Struct, frozen=True):
    """How far a run is: the time for which it decides, its report, and the last repository."""

    now: int
    report: Report
    after: str = ""


class Retainer:
    """Carries runs out. `tell_time` gives the time by which ages are counted."""

    def __init__(
        self,
        stores: Stores,
        *,
        tell_time: Callable[[], Awaitable[int]],
        metrics: Metrics | None = None,
    ) -> None:
        self._stores = stores
        self._tell_time = tell_time
        self._metrics = metrics

    async def run(self, task: Task) -> Document:
        """Do one run, or go on with it; return what came of it."""
        asked = msgspec.convert(task.settings, RetentionRun)
        stored = await list_policies(self._stores.index)
        policies = parse_policies(stored)
        if task.cursor:
            progress = msgspec.convert(task.cursor, _Progress)
        else:
            now = await self._tell_time()
            progress = _Progress(now, await self.count(asked, policies, now=now))
            if self._metrics is not None:
                self._metrics.retention_stopped(len(progress.report.stopped))
        report = progress.report
        if not asked.dry_run:
            await self._delete(task, asked, stored, progress)
        return report.document()

    async def count(
        self, asked: RetentionRun, policies: dict[str, KnownPolicy], *, now: int
    ) -> Report:
        """Plan everything, and return what would go and which policies are stopped."""
        namespace = parse_namespace(asked.namespace)
        report = Report(namespace or "/", asked.dry_run, new_operation())
        rules: Counter[str] = Counter()
        fixed: Counter[str] = Counter()
        brakes: dict[str, int] = {}
        tags: Counter[str] = Counter()
        going: Counter[str] = Counter()
        planner = self._planner(asked, policies, now)
        async for plan in planner.plans(namespace):
            report.repositories += 1
            report.freed += plan.freed
            gone = plan.going
            rules.update(f"{plan.namespace or '/'}: {fate.rule}" for fate in gone)
            fixed.update(each.fixed for each in plan.tagged if each.fixed)
            brakes[plan.namespace] = plan.brake
            tags[plan.namespace] += plan.tags
            going[plan.namespace] += sum(1 for fate in gone if fate.tag)
            if plan.stopped is not None:
                _stop(report, plan.namespace, f"{plan.name}: {plan.stopped}")
        for name, count in tags.items():
            reason = why_stopped(tags=count, going=going[name], brake=brakes[name])
            if reason is not None:
                _stop(report, name, reason)
        report.rules = dict(sorted(rules.items()))
        report.fixed = dict(fixed.most_common(_MOST_REASONS))
        report.tags, report.going = tags.total(), going.total()
        return report

    def _planner(self, asked: RetentionRun, policies: dict[str, KnownPolicy], now: int) -> Planner:
        return Planner(
            self._stores, policies, now=now, brake=asked.brake, allow_empty=asked.allow_empty
        )

    # Deleting -----------------------------------------------------------------------------------

    async def _delete(
        self,
        task: Task,
        asked: RetentionRun,
        stored: Sequence[StoredPolicy],
        progress: _Progress,
    ) -> None:
        report = progress.report
        namespace = parse_namespace(asked.namespace)
        after = progress.after

        async def note() -> None:
            reached = _Progress(progress.now, report, after)
            await task.note(report.document(), cursor=msgspec.to_builtins(reached))

        await note()
        planner = self._planner(asked, parse_policies(stored), progress.now)
        async for plan in planner.plans(namespace, after=after):
            if await is_importing(self._stores.index):
                report.ended = _IMPORTING
                return
            if (plan.namespace or "/") in report.stopped:
                continue
            if plan.stopped is not None:
                _stop(report, plan.namespace, f"{plan.name}: {plan.stopped}")
            elif plan.going:
                if await list_policies(self._stores.index) != stored:
                    report.ended = "policies were changed meanwhile"
                    return
                await self._delete_of(plan, report, note)
            after = str(plan.name)

    async def _delete_of(
        self, plan: Plan, report: Report, note: Callable[[], Awaitable[None]]
    ) -> None:
        tags = [fate for fate in plan.going if fate.tag]
        for first in range(0, len(tags), _BATCH):
            batch = tags[first : first + _BATCH]
            deleted = await self._delete_tags(plan.name, plan.id, batch, report.operation)
            report.deleted += deleted
            report.skipped += len(batch) - deleted
            self._count("tag", deleted)
            await note()
        untagged = 0
        for fate in plan.going:
            if not fate.tag:
                gone = await self._delete_untagged(plan.name, fate)
                untagged += gone
                report.skipped += not gone
        report.untagged += untagged
        self._count("manifest", untagged)
        _log.info("retention deleted", repository=plan.name, tags=len(tags), untagged=untagged)

    async def _delete_tags(
        self, name: RepositoryName, repository: int, fates: Sequence[Fate], operation: str
    ) -> int:
        """Delete tags that point at what they pointed at when they were planned; return how many
        did.
        """
        stores = self._stores
        now = stores.now()
        removal = Removal(repository, operation, BY, now, now + stores.keeping.trash)

        async def may_go(transaction: Transaction, some: Sequence[Fate]) -> bool:
            tags, digests = [Tag(fate.tag) for fate in some], [fate.digest for fate in some]
            try:
                await check_may_go(
                    transaction, name, repository, tags=tags, manifests=digests, now=now
                )
            except DeniedError:
                return False
            return True

        async def work(transaction: Transaction, notes: Notes) -> int:
            if await is_importing(transaction):
                return 0
            found = []
            for fate in fates:
                known = await find_tag(transaction, repository, Tag(fate.tag))
                if known is not None and known[1] == fate.digest:
                    found.append(fate)
            if not await may_go(transaction, found):
                found = [fate for fate in found if await may_go(transaction, [fate])]
            for fate in found:
                notes.add(_told(name, fate, operation))
            tags = [Tag(fate.tag) for fate in found]
            await remove(stores, transaction, removal, Closure([], tags))
            return len(found)

        return await stores.trail.write_lazily(work, by=ACTOR)

    async def _delete_untagged(self, name: RepositoryName, fate: Fate) -> bool:
        """Delete a manifest unless something needs it by now; return whether that was done."""
        if await is_importing(self._stores.index):
            return False
        try:
            await delete_reference(self._stores, name, fate.digest, by=ACTOR)
        except (DeniedError, ManifestUnknownError, UnsupportedError):
            return False
        return True

    def _count(self, kind: str, count: int) -> None:
        if self._metrics is not None:
            self._metrics.retention_deleted(kind, count)


def _told(name: RepositoryName, fate: Fate, operation: str) -> Event:
    return event(
        "tag.delete",
        repository=name,
        tag=fate.tag,
        digest=fate.digest,
        reason=f"{fate.rule} {fate.reason}",
        rule=fate.rule,
        operation=operation,
    )


def _stop(report: Report, namespace: str, reason: str) -> None:
    reasons = report.stopped.setdefault(namespace or "/", [])
    if len(reasons) < _MOST_REASONS:
        reasons.append(reason)
    _log.warning("retention is stopped", namespace=namespace or "/", reason=reason)
