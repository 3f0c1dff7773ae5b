"""What must exist: worked out from what clients did and were told, without a look at the registry.

Times are of a clock that nobody sets. What the oracle does not list may exist or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from entrepot.core.keeping import Keeping
from tests.wire.images import Content, Image

Place = tuple[str, str]
"""Something in a repository: the repository's name, and a digest or a tag."""


class World:
    """Every image that may be pushed, by digest, and what each is made of."""

    def __init__(self, images: Iterable[Image], subjects: Mapping[str, str]) -> None:
        """`subjects` gives, by digest, the digest of the subject."""
        self.images = {image.digest: image for image in images}
        self.subjects = dict(subjects)
        self.blobs = {b.digest: b for image in self.images.values() for b in image.blobs}

    def children(self, digest: str) -> Iterator[str]:
        for child in self.images[digest].children:
            yield child.digest

    def below(self, digest: str) -> Iterator[str]:
        """A manifest and all that it lists, at every depth."""
        yield digest
        for child in self.children(digest):
            yield from self.below(child)

    def following(self, digest: str) -> set[str]:
        """What is about a manifest, or about what is about it."""
        found, ahead = {digest}, [digest]
        while ahead:
            subject = ahead.pop()
            new = {d for d, about in self.subjects.items() if about == subject} - found
            found |= new
            ahead += new
        return found

    def needed(self, digest: str) -> tuple[Content, ...]:
        return self.images[digest].blobs


@dataclass
class Deletion:
    """What one deletion threw away, and when. Not `sure` once something else took part of it."""

    repository: str
    at: int
    tags: dict[str, str]
    manifests: set[str]
    sure: bool = True


@dataclass
class Oracle:
    """`there` are the manifests that must exist, `tags` where tags point, `promised` until when
    something was promised, `held` what is on hold, by the number of the hold. `companions` are tags
    that belong to a subject which must exist: the subject, and where they point.
    """

    world: World
    keeping: Keeping
    now: int = 0
    there: set[Place] = field(default_factory=set)
    tags: dict[Place, str] = field(default_factory=dict)
    companions: dict[Place, tuple[str, str]] = field(default_factory=dict)
    promised: dict[Place, int] = field(default_factory=dict)
    deletions: dict[str, Deletion] = field(default_factory=dict)
    held: dict[int, Place] = field(default_factory=dict)

    # What must exist ----------------------------------------------------------------------------

    def blobs(self) -> set[Place]:
        """The blobs that must exist."""
        needed = {
            (name, blob.digest) for name, digest in self.there for blob in self.world.needed(digest)
        }
        told = {place for place in self.promised if place[1] in self.world.blobs}
        return needed | told

    def needs(self, name: str, digest: str) -> set[Place]:
        """What must be there for a manifest to be pushed."""
        children = {(name, child) for child in self.world.children(digest)}
        return children | {(name, blob.digest) for blob in self.world.needed(digest)}

    def holds(self, places: Iterable[Place]) -> bool:
        """Whether all of them must exist."""
        return set(places) <= self.there | self.blobs()

    def pass_time(self, microseconds: int) -> None:
        for name, digest in list(self.promised):
            if self.is_held(name, digest):
                self.promise((name, digest), self.now + microseconds + 1)
        for place in self.there:
            if self.is_held(*place):
                self.promise(place, self.now + microseconds + 1)
        self.now += microseconds
        self.settle()

    def is_held(self, name: str, digest: str) -> bool:
        return any(place in {(name, ""), (name, digest)} for place in self.held.values())

    def settle(self) -> None:
        """Give up what nothing keeps any more."""
        self.promised = {place: until for place, until in self.promised.items() if until > self.now}
        self.there = self._with_dependents(self._pointed() | set(self.promised))
        kept = self.there
        self.companions = {
            place: belongs
            for place, belongs in self.companions.items()
            if {(place[0], each) for each in belongs} <= kept
        }
        window = self.keeping.trash
        self.deletions = {
            operation: deletion
            for operation, deletion in self.deletions.items()
            if deletion.at + window > self.now
        }

    def kept_by_tags(self) -> set[Place]:
        """The manifests that a tag keeps, at whatever depth."""
        return self._with_dependents(self._pointed())

    def _pointed(self) -> set[Place]:
        return {(name, digest) for (name, _), digest in self.tags.items()}

    def _with_dependents(self, places: set[Place]) -> set[Place]:
        """Those that must exist, with all that they list and that is about them."""
        kept = self.there & places
        ahead = list(kept)
        while ahead:
            name, digest = ahead.pop()
            below = {(name, child) for child in self.world.children(digest)}
            about = {(name, d) for d, s in self.world.subjects.items() if s == digest}
            beside = {
                (n, to) for (n, _), (s, to) in self.companions.items() if (n, s) == (name, digest)
            }
            new = (below | about | beside) & self.there - kept
            kept |= new
            ahead += new
        return kept

    # What clients did and were told -------------------------------------------------------------

    def promise(self, place: Place, until: int) -> None:
        if until > self.now:
            self.promised[place] = max(until, self.promised.get(place, 0))

    def seen(self, place: Place, *, until: int) -> None:
        """A manifest is there, and stays until a time at least."""
        if until > self.now:
            self.there |= {(place[0], digest) for digest in self.world.below(place[1])}
            self.promise(place, until)
        self.settle()

    def tagged(self, place: Place, digest: str) -> None:
        """A manifest was pushed, or moved to, by a tag. What was promised of where the tag pointed
        before began when the push did.
        """
        self.tags[place] = digest
        self.there |= {(place[0], below) for below in self.world.below(digest)}
        self.settle()

    def tagged_beside(self, place: Place, subject: str, digest: str, *, until: int) -> None:
        """A manifest was pushed by a tag that is made of another's digest."""
        if (place[0], subject) in self.there:
            self.companions[place] = (subject, digest)
        self.seen((place[0], digest), until=until)

    def untag(self, place: Place) -> None:
        """A tag goes, but what it pointed at stays for as long as it can be put back."""
        digest = self.tags.pop(place, None)
        if digest is not None:
            self.promise((place[0], digest), self.now + self.keeping.deleted)

    def deleted(self, operation: str, deletion: Deletion) -> None:
        """Manifests were deleted with tags, or tags alone."""
        name = deletion.repository
        for tag in deletion.tags:
            self.untag((name, tag))
        gone = {(name, digest) for digest in deletion.manifests}
        for digest in deletion.manifests:
            for child in self.world.children(digest):
                if (name, child) in self.there:
                    self.promise((name, child), self.now + self.keeping.deleted)
        self.there -= gone
        for place in gone:
            self.promised.pop(place, None)
        self.deletions[operation] = deletion
        self.settle()

    def restored(self, operation: str, until: int) -> None:
        """A deletion was undone."""
        deletion = self.deletions.pop(operation)
        name = deletion.repository
        if deletion.sure:
            for digest in deletion.manifests:
                self.seen((name, digest), until=until)
        for tag, digest in deletion.tags.items():
            self.there |= {(name, below) for below in self.world.below(digest)}
            self.tags[name, tag] = digest
        self.settle()
        targets = deletion.manifests | set(deletion.tags.values())
        self._spoil(name, {d for target in targets for d in self.world.below(target)})

    def emptied(self, operation: str) -> None:
        """What a deletion threw away is gone for good."""
        deletion = self.deletions.pop(operation)
        self._spoil(deletion.repository, deletion.manifests)

    def _spoil(self, name: str, manifests: set[str]) -> None:
        """Other deletions may have thrown away the same, or need it."""
        for other in self.deletions.values():
            targets = other.manifests | set(other.tags.values())
            below = {d for target in targets for d in self.world.below(target)}
            if other.repository == name and below & manifests:
                other.sure = False
