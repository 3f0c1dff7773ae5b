"""Where blobs' bytes lie."""

from entrepot.storage.errors import (
    StorageError,
    StorageFullError,
    StorageOwnedError,
    StorageSettingError,
    UploadBusyError,
)
from entrepot.storage.sessions import Session, UploadSessions
from entrepot.storage.store import BlobReader, BlobStore, Hasher, UploadStore, UploadWriter

__all__ = [
    "BlobReader",
    "BlobStore",
    "Hasher",
    "Session",
    "StorageError",
    "StorageFullError",
    "StorageOwnedError",
    "StorageSettingError",
    "UploadBusyError",
    "UploadSessions",
    "UploadStore",
    "UploadWriter",
]
