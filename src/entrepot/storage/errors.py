"""What can go wrong with the blob store."""

from entrepot.core.errors import EntrepotError, NoSpaceError


class StorageError(EntrepotError):
    """The blob store could not do what it was asked; nothing half-made remains."""


class StorageFullError(StorageError, NoSpaceError):
    """There is no room left."""


class UploadBusyError(StorageError):
    """Another request is writing to the same upload."""
