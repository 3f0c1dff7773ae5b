"""What every service works on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from entrepot.core.keeping import USUAL, Keeping
from entrepot.db import Database
from entrepot.services.audit import Trail
from entrepot.services.layout import Past
from entrepot.services.limits import Limits
from entrepot.services.pulls import Pulls
from entrepot.storage import BlobStore, UploadStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The index, the bytes and the clock. `now` gives microseconds since 1970-01-01 UTC; `trail`
    records what is done. `past` is what `registry:2` left and is not in the index yet, while that
    is being taken over. `keeping` says how long what nobody needs stays; `pulls` adds up what is
    pulled; `limits` knows the quotas.
    """

    index: Database
    blobs: BlobStore
    uploads: UploadStore
    now: Callable[[], int]
    trail: Trail
    past: Past | None = None
    keeping: Keeping = USUAL
    pulls: Pulls = field(default_factory=Pulls)
    limits: Limits = field(default_factory=Limits)
