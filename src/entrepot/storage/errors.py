"""What can go wrong with the blob store."""

from entrepot.core.errors import EntrepotError, NoSpaceError


class StorageError(EntrepotError):
    """The blob store could not do what it was asked; nothing half-made remains."""


class StorageFullError(StorageError, NoSpaceError):
    """There is no room left."""


class StorageSettingError(StorageError):
    """A setting of the driver is wrong; `setting` is its name in the driver's section."""

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(message)
        self.setting = setting


class UploadBusyError(StorageError):
    """Another request is writing to the same upload."""
