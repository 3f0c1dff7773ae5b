"""Setting quotas of namespaces, and what is used of them."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from entrepot.core.audit import Actor, event
from entrepot.core.decision import describe_namespace, parse_namespace
from entrepot.core.quotas import (
    Quota,
    QuotaUnknownError,
    Resource,
    Standing,
    check_limits,
)
from entrepot.core.work import RECOUNT
from entrepot.db.engine import Database, Transaction
from entrepot.db.jobs import add_job
from entrepot.db.quotas import (
    find_used,
    forget_counted_blobs,
    list_quotas,
    remove_quota,
    set_quota,
)
from entrepot.db.runs import add_run
from entrepot.services.audit import Notes, Trail
from entrepot.services.namespaces import known_namespace

_BATCH: Final = 5000

_log = structlog.get_logger("entrepot.quotas")


class Quotas:
    """The quotas of one registry. A change counts on every process and node two seconds later, at
    once where `changed` is told, and is recorded with `by`, whoever makes it.
    """

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        trail: Trail,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._index = index
        self._now = now
        self._trail = trail
        self._changed = changed

    async def list(self, namespace: str | None = None) -> Sequence[Standing]:
        """Return every quota, or those of a namespace, with what is used.

        Raises:
            AccessUnknownError: there is no such namespace.
        """
        quotas: Sequence[Quota] = await list_quotas(self._index)
        if namespace is not None:
            known = await known_namespace(self._index, parse_namespace(namespace))
            quotas = [quota for quota in quotas if quota.namespace_id == known.id]
        ids = {quota.namespace_id for quota in quotas}
        used = {number: await find_used(self._index, number) for number in ids}
        return [Standing(q, used[q.namespace_id][q.resource]) for q in quotas]

    async def set(
        self,
        namespace: str,
        resource: Resource,
        *,
        soft: int | None,
        hard: int | None,
        by: Actor | str,
    ) -> Standing:
        """Limit a resource in a namespace and all below it, instead of what was set before. If
        nothing was limited there, what is there is counted in the background.

        Raises:
            AccessUnknownError: there is no such namespace.
            QuotaError: the limits can't be so.
        """
        check_limits(soft, hard)
        name, now = parse_namespace(namespace), self._now()

        async def work(transaction: Transaction, notes: Notes) -> None:
            known = await known_namespace(transaction, name)
            if await set_quota(transaction, known.id, resource, soft=soft, hard=hard):
                run = await add_run(transaction, RECOUNT, cause=f"quota set by {by}", now=now)
                settings = {"namespace": name}
                await add_job(
                    transaction, RECOUNT, f"count {run}", run=run, settings=settings, run_after=now
                )
            told = event("quota.set", target=name or "/", resource=resource, soft=soft, hard=hard)
            notes.add(told)

        await self._trail.write(work, by=by)
        self._changed()
        return await self.find(namespace, resource)

    async def find(self, namespace: str, resource: Resource) -> Standing:
        """Return a quota. Raises AccessUnknownError, QuotaUnknownError."""
        for standing in await self.list(namespace):
            if standing.quota.resource == resource:
                return standing
        raise _unknown(parse_namespace(namespace), resource)

    async def remove(self, namespace: str, resource: Resource, *, by: Actor | str) -> None:
        """Limit a resource no more. Raises AccessUnknownError, QuotaUnknownError."""
        name = parse_namespace(namespace)

        async def work(transaction: Transaction, notes: Notes) -> int:
            known = await known_namespace(transaction, name)
            if not await remove_quota(transaction, known.id, resource):
                raise _unknown(name, resource)
            notes.add(event("quota.remove", target=name or "/", resource=resource))
            return known.id

        number = await self._trail.write(work, by=by)
        self._changed()
        await forget_counted(self._index, number)


async def forget_counted(index: Database, namespace: int) -> None:
    """Remove what was counted in a namespace that has no quota any more, little by little."""
    while await index.write_lazily(
        lambda transaction: forget_counted_blobs(transaction, namespace, limit=_BATCH)
    ):
        pass


def _unknown(name: str, resource: Resource) -> QuotaUnknownError:
    return QuotaUnknownError(f"{describe_namespace(name)} has no quota of {resource}")
