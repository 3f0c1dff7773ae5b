"""What is done about quotas now and then: their metrics, and keeping their sums right and short."""

from collections.abc import Sequence
from functools import partial

from entrepot.services.maintenance import Chore
from entrepot.services.quotas import Quotas
from entrepot.services.recounting import gather_shards, request_recount
from entrepot.services.stores import Stores
from entrepot.telemetry import Metrics


def quota_chores(stores: Stores, *, metrics: Metrics) -> Sequence[Chore]:
    """Return what the upkeep does about quotas."""
    quotas = Quotas(stores.index, now=stores.now, trail=stores.trail)

    async def show() -> None:
        metrics.show_quotas(
            {
                (each.quota.namespace or "/", each.quota.resource): (
                    *(each.used, each.quota.soft, each.quota.hard),
                )
                for each in await quotas.list()
            }
        )

    return (
        Chore(15.0, show),
        Chore(600.0, partial(gather_shards, stores)),
        Chore(3600.0, partial(request_recount, stores)),
    )
