"""What every service works on."""

from collections.abc import Callable
from dataclasses import dataclass

from entrepot.db import Database
from entrepot.storage import BlobStore, UploadStore


@dataclass(frozen=True, slots=True)
class Stores:
    """The index, the bytes and the clock. `now` gives microseconds since 1970-01-01 UTC."""

    index: Database
    blobs: BlobStore
    uploads: UploadStore
    now: Callable[[], int]
