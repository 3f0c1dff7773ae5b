"""How collection is going: what waits, what could not be deleted, when it last worked."""

from typing import Final

import msgspec

from entrepot.core.collected import COLLECT, Waiting
from entrepot.core.work import Run
from entrepot.db.collection import Queue, is_importing, list_waiting, measure_queue
from entrepot.db.doomed import FailedDeletion, Reclaimed, find_reclaimed, list_failed_deletions
from entrepot.db.jobs import find_lease_holder
from entrepot.db.runs import find_last_run
from entrepot.services.collecting import KIND, OVERDUE
from entrepot.services.stores import Stores
from entrepot.services.timekeeping import find_kept_time

_MOST_FAILED: Final = 100


class Status(msgspec.Struct, frozen=True):
    """`holder` is the node that collects all the time, empty for none; `worked_at` when it last
    wrote down the time, and `behind` for how many microseconds collection puts things off because
    the clock was set, or nobody collected. `importing` says that nothing goes because something is
    being taken over. `age` is for how many microseconds the first review has been due.
    """

    holder: str
    worked_at: int | None
    behind: int
    importing: bool
    queue: Queue
    age: int
    waiting: list[Waiting]
    failed: list[FailedDeletion]
    reclaimed: Reclaimed
    last: Run | None


async def find_status(stores: Stores) -> Status:
    """Return how collection is going."""
    index, now = stores.index, stores.now()
    kept = await find_kept_time(index)
    behind = kept.last.wall - kept.now if kept else 0
    queue = await measure_queue(index, overdue=now - behind - OVERDUE)
    holder = await find_lease_holder(index, KIND, now=now)
    return Status(
        holder=(holder or "").partition(" ")[0],
        worked_at=kept.last.wall if kept else None,
        behind=behind,
        importing=await is_importing(index),
        queue=queue,
        age=0 if queue.first is None else max(0, now - behind - queue.first),
        waiting=await list_waiting(index),
        failed=await list_failed_deletions(index, limit=_MOST_FAILED),
        reclaimed=await find_reclaimed(index),
        last=await find_last_run(index, COLLECT),
    )
