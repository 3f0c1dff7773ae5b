"""What `/api/v1` takes and gives about quotas. Bytes are numbers of bytes."""

from datetime import datetime

from msgspec import Struct

from entrepot.api.v1.forms import Form, ending
from entrepot.core.quotas import Resource, Standing


class QuotaSet(Form, frozen=True):
    """The limits of a resource: above `soft` pushes are warned, beyond `hard` refused."""

    resource: Resource
    soft: int | None = None
    hard: int | None = None


class QuotaView(Struct, frozen=True):
    """A quota and what is used of it. Until `counted_at` is set, what lay in the namespace before
    is still being counted. How much is used, and since when too much, is told to those whom a
    refusal would tell it, who may push there, and to those who may read everything: there may be
    repositories that others can't see. For them it is null.
    """

    namespace: str
    resource: Resource
    used: int | None
    soft: int | None
    hard: int | None
    exceeded_at: datetime | None
    counted_at: datetime | None

    @classmethod
    def of(cls, standing: Standing, *, hidden: bool = False) -> "QuotaView":
        """Return what is shown of a quota; with `hidden` not how much is used."""
        quota = standing.quota
        return cls(
            namespace=quota.namespace or "/",
            resource=quota.resource,
            used=None if hidden else standing.used,
            soft=quota.soft,
            hard=quota.hard,
            exceeded_at=None if hidden else ending(quota.exceeded_at),
            counted_at=ending(quota.counted_at),
        )
