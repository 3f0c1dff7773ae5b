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


class StorageOwnedError(StorageError):
    """The storage is another index's. `owner` is the id of that, `index` that of the one here."""

    def __init__(self, *, owner: str, index: str | None) -> None:
        super().__init__(
            f"the storage belongs to another index, {owner}; that of database.url is "
            f"{index or 'new'}. Two registries on one storage would delete each other's blobs: "
            "give each a storage or a rootdirectory of its own, or set database.url to the index "
            "that owns this storage. If that is lost for good, entrepot database adopt makes this "
            "one the owner"
        )
        self.owner = owner
        self.index = index


class UploadBusyError(StorageError):
    """Another request is writing to the same upload."""
