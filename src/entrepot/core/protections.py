"""Which tags can't be moved or deleted, and what must not go at all. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from entrepot.core.decision import describe_namespace, relative_name
from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.core.manifest import companion_tags, is_companion_tag
from entrepot.core.names import Tag
from entrepot.core.patterns import Pattern, TagPattern


class ProtectionError(EntrepotError):
    """A protection or a hold can't be as it was asked for; the text says why."""


class ProtectionUnknownError(ProtectionError):
    """There is no such protection, hold, repository or manifest."""


class ProtectionConflictError(ProtectionError):
    """There is one like it already."""


_ALGORITHMS: Final = ("sha256-", "sha512-")


class Protection(Struct, frozen=True, kw_only=True):
    """Tags that can't be moved or deleted in a namespace and those below it; or, as an `exception`,
    can though another one says that they can't.
    """

    id: int
    namespace: str
    repositories: Pattern
    """Relative to the namespace."""
    tags: TagPattern
    exception: bool = False
    created_at: int = 0
    created_by: str | None = None

    def __str__(self) -> str:
        """Say in plain words what it does."""
        does = "excepts" if self.exception else "protects"
        text = f"rule {self.id} {does} tags {self.tags} in {describe_namespace(self.namespace)}"
        return text if self.repositories.unlimited else f"{text} for {self.repositories}"

    def concerns(self, repository: str, tag: str) -> bool:
        """Tell whether a tag is one of those that it names.

        Tags that clients make of a digest, for signatures, are set again with every signature. So
        only a pattern that begins like them names them.
        """
        relative = relative_name(repository, self.namespace)
        if relative is None or not self.repositories.matches(relative):
            return False
        if is_companion_tag(tag) and not self.tags.text.startswith(_ALGORITHMS):
            return False
        return self.tags.matches(tag)


def find_protecting(rules: Iterable[Protection], repository: str, tag: str) -> Protection | None:
    """Return a rule that protects a tag, or None.

    An exception counts against rules of its own namespace and of those below it: who may change a
    namespace can't undo what is protected from above.
    """
    matching = [rule for rule in rules if rule.concerns(repository, tag)]
    exceptions = [rule for rule in matching if rule.exception]
    for rule in matching:
        if not rule.exception and not any(
            relative_name(rule.namespace, exception.namespace) is not None
            for exception in exceptions
        ):
            return rule
    return None


class Hold(Struct, frozen=True, kw_only=True):
    """Nothing of a repository, or of one image and what belongs to it, may go."""

    id: int
    repository: str
    digest: Digest | None
    reason: str
    owner: str
    created_at: int
    created_by: str | None
    expires_at: int | None

    def __str__(self) -> str:
        """Say in plain words what it does."""
        what = self.repository if self.digest is None else f"{self.repository}@{self.digest}"
        text = f"hold {self.id} of {self.owner} keeps {what}: {self.reason}"
        if self.expires_at is not None:
            until = datetime.fromtimestamp(self.expires_at // 1_000_000, UTC)
            text += f" (until {until:%Y-%m-%d %H:%M:%S}Z)"
        return text


def find_holding(
    holds: Iterable[Hold], *, digests: Iterable[Digest], tags: Sequence[Tag]
) -> Hold | None:
    """Return one of a repository's holds that keeps any of these manifests or tags, or None. Of
    manifests that have a subject `digests` has that, too.
    """
    going, names = set(digests), set(tags)
    for hold in holds:
        if hold.digest is None or hold.digest in going:
            return hold
        if not names.isdisjoint(companion_tags(hold.digest)):
            return hold
    return None
