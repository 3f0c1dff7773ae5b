"""What `/api/v1/collection` takes and gives."""

from datetime import datetime

from msgspec import Struct

from entrepot.api.v1.forms import Form, ending
from entrepot.api.v1.forms_work import RunView
from entrepot.core.collected import Waiting
from entrepot.core.work import SECOND
from entrepot.services.collection_status import Status


class CollectionMake(Form, frozen=True):
    """A pass of collection: whether it only says what would go, and whether manifests without a tag
    are to go that nobody looks at otherwise.
    """

    dry_run: bool = False
    delete_untagged: bool = False


class FailedView(Struct, frozen=True):
    """A blob whose object could not be deleted, and is tried again."""

    digest: str
    size: int
    attempts: int
    error: str


class CollectionView(Struct, frozen=True):
    """How collection is going.

    `node` collects all the time, null for none, and last did at `worked_at`. By `behind` seconds
    things go later because the clock was set, or nobody collected for a while; with `taking_over`
    nothing goes until what registry:2 left is taken over. `queue` are reviews that wait, the first
    of which has been due for `queue_age` seconds; `overdue` those that are due for a day; `doomed`
    are objects about to be deleted, and `failed` those of them that could not be. Blobs were
    `reclaimed` since the index was made, with their bytes. Who may not read everything is told
    of no digest, and of the last run the numbers alone.
    """

    node: str | None
    worked_at: datetime | None
    behind: float
    taking_over: bool
    queue: int
    queue_age: float
    overdue: int
    doomed: int
    reclaimed_blobs: int
    reclaimed_bytes: int
    waiting: list[Waiting]
    failed: list[FailedView]
    last_run: RunView | None

    @classmethod
    def of(cls, status: Status, *, names: bool) -> "CollectionView":
        """Return what is shown."""
        failed = [FailedView(*each[:3], each.error or "") for each in status.failed if names]
        return cls(
            node=status.holder or None,
            worked_at=ending(status.worked_at),
            behind=status.behind / SECOND,
            taking_over=status.importing,
            queue=status.queue.waiting,
            queue_age=status.age / SECOND,
            overdue=status.queue.overdue,
            doomed=status.queue.doomed,
            reclaimed_blobs=status.reclaimed.blobs,
            reclaimed_bytes=status.reclaimed.size,
            waiting=status.waiting,
            failed=failed,
            last_run=RunView.of(status.last, names=names) if status.last else None,
        )
