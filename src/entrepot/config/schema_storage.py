"""The `storage` section: drivers, and what may be done with the blobs."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from entrepot.config.about import Duration, about
from entrepot.config.errors import ConfigError, Problem
from entrepot.config.schema_foreign import OssDriver, SwiftDriver
from entrepot.config.schema_objects import AzureDriver, GcsDriver, S3Driver


class Filesystem(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Blobs in files, at the paths where registry:2 puts them."""

    rootdirectory: Annotated[str, about("The directory that holds everything.")] = (
        "/var/lib/registry"
    )
    maxthreads: Annotated[int, about("registry:2's limit of file operations at once.")] = 100
    durability: Annotated[
        Literal["full", "relaxed"],
        about(
            "`full`: what was acknowledged survives a power cut. `relaxed`: files aren't synced; "
            "what was pushed shortly before the machine (not the process) stops without warning "
            "may be lost."
        ),
    ] = "full"


class InMemory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Blobs in the memory of the process; for tests, everything is lost at the end."""


class TagLookup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How registry:3 looks up the tags of a manifest."""

    concurrencylimit: Annotated[int, about("Tags read at once.")] = 0


class Delete(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deleting through the API."""

    enabled: Annotated[bool, about("Manifests, tags and blobs may be deleted.")] = True


class Redirect(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Redirects of blob downloads to the storage; the filesystem and memory never redirect."""

    disable: Annotated[bool, about("Send all blobs through the registry.")] = False


class Cache(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """registry:2's cache of blob descriptors."""

    blobdescriptor: Annotated[str, about("Where they are cached: `redis` or `inmemory`.")] = ""
    blobdescriptorsize: Annotated[int, about("How many are cached in memory.")] = 10000
    layerinfo: Annotated[str, about("The old name of `blobdescriptor`.")] = ""


class UploadPurging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Removing uploads that were never finished."""

    enabled: Annotated[bool, about("Remove old uploads.")] = True
    age: Annotated[Duration, about("Age after which an upload is removed.", minimum=0)] = 604800.0
    interval: Annotated[Duration, about("Time between two runs.", minimum=0)] = 86400.0
    dryrun: Annotated[bool, about("Only log what would be removed.")] = False


class ReadOnly(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read-only mode."""

    enabled: Annotated[bool, about("Refuse everything that would change something.")] = False


class Maintenance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Maintenance of the storage."""

    uploadpurging: Annotated[UploadPurging, about("Old uploads.")] = UploadPurging()
    readonly: Annotated[ReadOnly, about("Read-only mode.")] = ReadOnly()


class Storage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where blobs are kept. At most one driver is given; without one it is `filesystem`."""

    filesystem: Annotated[Filesystem | None, about("Driver: files in a directory.")] = None
    inmemory: Annotated[InMemory | None, about("Driver: memory, for tests.")] = None
    s3: Annotated[S3Driver | None, about("Driver: Amazon S3 and compatible services.")] = None
    azure: Annotated[AzureDriver | None, about("Driver: Azure Blob Storage.")] = None
    gcs: Annotated[GcsDriver | None, about("Driver: Google Cloud Storage.")] = None
    swift: Annotated[SwiftDriver | None, about("Driver: OpenStack Swift, registry:2 only.")] = None
    oss: Annotated[OssDriver | None, about("Driver: Aliyun OSS, registry:2 only.")] = None
    tag: Annotated[TagLookup, about("Looking up tags.")] = TagLookup()
    delete: Annotated[Delete, about("Deleting.")] = Delete()
    redirect: Annotated[Redirect, about("Redirects of downloads to the storage.")] = Redirect()
    cache: Annotated[Cache, about("registry:2's cache of blob descriptors.")] = Cache()
    maintenance: Annotated[Maintenance, about("Maintenance.")] = Maintenance()

    @property
    def driver(self) -> str:
        """The name of the driver."""
        given = (name for name in DRIVERS if getattr(self, name) is not None)
        return next(given, "filesystem")

    @property
    def in_objects(self) -> bool:
        """Whether blobs are kept in an object store."""
        return self.driver in OBJECT_DRIVERS

    @property
    def root(self) -> Path:
        """The root directory of the filesystem driver; ConfigError with another driver."""
        if self.driver != "filesystem":
            raise ConfigError([Problem(f"storage.{self.driver}: this driver has no directory")])
        return Path((self.filesystem or Filesystem()).rootdirectory)

    @property
    def own(self) -> Path:
        """The directory for what the registry keeps on this machine besides the blobs, such as its
        index; ConfigError with the memory driver.
        """
        if self.in_objects:
            return Path(Filesystem().rootdirectory) / "entrepot"
        return self.root.absolute() / "entrepot"

    @property
    def durability(self) -> Literal["full", "relaxed"]:
        """The durability of the filesystem driver; `relaxed` in memory."""
        if self.inmemory is not None:
            return "relaxed"
        return (self.filesystem or Filesystem()).durability


OBJECT_DRIVERS = ("s3", "azure", "gcs")
"""The drivers that keep blobs in an object store."""

DRIVERS = ("filesystem", "inmemory", "s3", "azure", "gcs", "swift", "oss")
"""The keys of `storage` that are drivers; the others may stand beside any of them."""
