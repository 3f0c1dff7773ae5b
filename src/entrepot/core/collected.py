"""What came of a whole pass of collection: the report that is kept, and shown to people."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct, to_builtins

from entrepot.core.digest import Digest
from entrepot.core.names import RepositoryName

COLLECT: Final = "collect"
"""The kind of the work that is a whole pass of collection."""

MOST_LISTED: Final = 200
"""Things of a kind that a report lists; all are counted."""


class CollectSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of a pass: whether it only says what would go, and whether manifests that have no tag are to
    go that nobody looks at otherwise.
    """

    dry_run: bool = False
    delete_untagged: bool = False


class Waiting(Struct, frozen=True):
    """How many reviews wait because of an event, and when the first and the last are due (RFC
    3339). `kind` is manifest or link.
    """

    kind: str
    event: str
    count: int
    first: str
    last: str


class Collected(Struct):
    """What went, or would go, with `freed` in bytes: manifests, links of repositories to blobs,
    blobs, repositories with nothing in them. `failed` are objects that could not be deleted yet,
    `queued` untagged manifests that go if nothing needs them when they are looked at, `marked` the
    blobs that stay. `removed`, `deleted` and `asked` name the first manifests, blobs and untagged
    manifests. `strangers` says whether objects were looked for that the index does not know,
    `ended` why the pass ended early. `grace` and `window` are seconds: the grace period, and how
    long what was deleted can be restored.
    """

    dry_run: bool = False
    delete_untagged: bool = False
    manifests: int = 0
    links: int = 0
    blobs: int = 0
    repositories: int = 0
    freed: int = 0
    failed: int = 0
    queued: int = 0
    marked: int = 0
    removed: list[str] = []
    deleted: list[str] = []
    asked: list[str] = []
    waiting: list[Waiting] = []
    strangers: bool = True
    grace: float = 0
    window: float = 0
    ended: str = ""

    def document(self) -> dict[str, object]:
        """Return it as it is kept."""
        found: dict[str, object] = to_builtins(self)
        return found

    def add_manifests(self, gone: Iterable[tuple[RepositoryName, Digest]]) -> None:
        """Count manifests that went."""
        for name, digest in gone:
            self.manifests += 1
            _list(self.removed, f"{name}@{digest}")

    def add_blobs(self, gone: Iterable[tuple[Digest, int]]) -> None:
        """Count blobs that went, with their bytes."""
        for digest, size in gone:
            self.blobs += 1
            self.freed += size
            _list(self.deleted, digest)

    def add_queued(self, asked: Iterable[tuple[RepositoryName, Digest]]) -> None:
        """Count untagged manifests that are going to be looked at."""
        for name, digest in asked:
            self.queued += 1
            _list(self.asked, f"{name}@{digest}")


def _list(names: list[str], name: str) -> None:
    if len(names) < MOST_LISTED:
        names.append(str(name))


def show_time(moment: int) -> str:
    """Return a time in microseconds since 1970 as people read it, in UTC to the second."""
    return f"{datetime.fromtimestamp(moment // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
