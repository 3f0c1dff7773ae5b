"""What operators do in the machine: deleting, restoring, holds, retention."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from entrepot.core.audit import NOBODY
from entrepot.core.digest import Digest
from entrepot.core.errors import (
    BlobUnknownError,
    DeniedError,
    ManifestUnknownError,
    UnavailableError,
    UnsupportedError,
)
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.undo import UndoConflictError, UndoError
from entrepot.services.delete import delete_blob, delete_reference
from entrepot.services.protection import place_hold, release_hold
from entrepot.services.trash import Selection, empty_trash, restore
from tests.collection.oracle import Deletion, Oracle
from tests.collection.scenes import (
    COMPANION,
    COMPANIONS_SUBJECT,
    EVERY,
    WORLD,
    Client,
    Scene,
)
from tests.collection.sites import GRACE, KEEPING

T = TypeVar("T")

names = st.sampled_from(["a", "b"])
tags = st.sampled_from(["one", "two"])
every_manifest = st.sampled_from([image.digest for image in EVERY])
every_blob = st.sampled_from(sorted(WORLD.blobs))

POLICIES: Final[dict[str, dict[str, object]]] = {
    "one": {"keep": [{"tags": "one"}]},
    "newest": {"keep": [{"newest": 1}]},
    "untagged": {"untagged": "1s"},
}
"""Rules of retention: of tags the first two keep some, the last one is about nothing tagged."""


class Operators(RuleBasedStateMachine):
    """Whoever deletes, brings back, and decides what may go; and what is heard of clients."""

    scene: Scene

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.oracle = Oracle(WORLD, KEEPING)
        self.clients: list[Client] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def listen(self) -> None:
        """Hear what came of requests that were answered."""
        for client in [client for client in self.clients if client.task.done()]:
            self.clients.remove(client)
            error = client.task.exception()
            if error is None:
                client.then(client.task.result(), sure=client.sure)
            elif not isinstance(error, client.may_fail):
                raise error
            elif isinstance(error, DeniedError):
                assert self.oracle.held
            elif not isinstance(error, UnavailableError):
                assert not client.sure, f"{client.needs}: {error}"
        for client in self.clients:
            client.sure = client.sure and self.oracle.holds(client.needs)

    @rule(name=names, tag=tags)
    def delete_tag(self, name: str, tag: str) -> None:
        if any(client.tag == (name, tag) for client in self.clients):
            return
        self.delete(name, Tag(tag), exists=(name, tag) in self.oracle.tags)

    @rule(name=names, digest=every_manifest)
    def delete_manifest(self, name: str, digest: str) -> None:
        self.delete(name, Digest(digest), exists=(name, digest) in self.oracle.there)

    def delete(self, name: str, reference: Tag | Digest, *, exists: bool) -> None:
        before = self.run(self.scene.manifests())
        try:
            deleted = self.run(
                delete_reference(self.scene.plain, RepositoryName(name), reference, by=NOBODY)
            )
        except DeniedError:
            assert self.oracle.held
        except ManifestUnknownError:
            assert not exists
        except UnsupportedError:
            pass
        else:
            gone = {digest for _, digest in before - self.run(self.scene.manifests())}
            if not isinstance(reference, Tag):
                companions = {COMPANION.digest} if COMPANIONS_SUBJECT in gone else set()
                assert gone <= WORLD.following(reference) | companions
            told = {tag: self.oracle.tags.get((name, tag)) for tag in deleted.tags}
            known = {str(tag): digest for tag, digest in told.items() if digest}
            deletion = Deletion(name, self.oracle.now, known, gone)
            self.oracle.deleted(deleted.operation, deletion)
        self.listen()

    @rule(name=names, digest=every_blob)
    def delete_blob(self, name: str, digest: str) -> None:
        try:
            self.run(delete_blob(self.scene.plain, RepositoryName(name), Digest(digest), by=NOBODY))
        except DeniedError:
            assert self.oracle.held
        except BlobUnknownError:
            assert (name, digest) not in self.oracle.blobs()
        except UnsupportedError:
            pass
        else:
            self.oracle.promised.pop((name, digest), None)
        self.listen()

    @precondition(lambda self: self.oracle.deletions)
    @rule(which=st.integers(0, 5), force=st.booleans())
    def restore(self, which: int, force: bool) -> None:
        """What was deleted comes back whole."""
        operation, deletion = self.deletion(which)
        name, until = deletion.repository, self.oracle.now + GRACE
        places = {(name, tag) for tag in deletion.tags}
        if any(client.tag in places for client in self.clients):
            return
        elsewhere = any(
            self.oracle.tags.get((name, tag), digest) != digest
            for tag, digest in deletion.tags.items()
        )
        selected = Selection(operation=operation)
        try:
            self.run(restore(self.scene.plain, selected, by=NOBODY, force=force))
        except (UndoConflictError, DeniedError):
            assert (elsewhere and not force) or self.oracle.held
        except UndoError:
            assert not deletion.sure
        else:
            assert force or not elsewhere
            self.oracle.restored(operation, until)
        self.listen()

    @precondition(lambda self: self.oracle.deletions)
    @rule(which=st.integers(0, 5))
    def empty(self, which: int) -> None:
        operation, deletion = self.deletion(which)
        try:
            emptied = self.run(
                empty_trash(self.scene.plain, Selection(operation=operation), by=NOBODY)
            )
        except UndoError:
            assert not deletion.sure
        else:
            assert self.oracle.held or not emptied.held
            self.oracle.emptied(operation)

    def deletion(self, which: int) -> tuple[str, Deletion]:
        every = list(self.oracle.deletions.items())
        return every[which % len(every)]

    @precondition(lambda self: self.oracle.there and len(self.oracle.held) < 2)
    @rule(which=st.integers(0, 20), whole=st.booleans())
    def hold(self, which: int, whole: bool) -> None:
        every = sorted(self.oracle.there)
        name, digest = every[which % len(every)]
        placed = self.run(
            place_hold(
                self.scene.plain,
                RepositoryName(name),
                None if whole else Digest(digest),
                reason="law",
                owner="somebody",
                by=NOBODY,
            )
        )
        self.oracle.held[placed.id] = (name, "" if whole else digest)

    @precondition(lambda self: self.oracle.held)
    @rule()
    def release(self) -> None:
        number = min(self.oracle.held)
        self.run(release_hold(self.scene.plain, number, by=NOBODY))
        del self.oracle.held[number]

    @rule(digest=every_blob)
    def leave_object(self, digest: str) -> None:
        """A process died before it wrote the row."""
        self.run(self.scene.store.put(Digest(digest), WORLD.blobs[digest].data))

    # Retention ----------------------------------------------------------------------------------

    @precondition(lambda self: not any(client.tag for client in self.clients))
    @rule(name=names, kept=st.sampled_from(sorted(POLICIES)))
    def retain(self, name: str, kept: str) -> None:
        """What no rule keeps goes, but for what is on hold, and is in the trash then."""
        oracle = self.oracle
        manifests, thrown = self.run(self.scene.manifests()), self.run(self.scene.thrown())
        tags = {place: to for place, to in oracle.tags.items() if place[0] == name}
        fixed = {place for place, to in tags.items() if self._is_fixed(name, to)}
        going = {place for place in tags if place[1] != "one"} - fixed if kept == "one" else set()
        self.run(self.scene.retain(name, POLICIES[kept]))
        left = set(tags) & set(self.run(self.scene.tags()))
        if kept == "newest":
            assert bool(left) == bool(tags)
            assert fixed <= left
            assert len(left - fixed) <= 1
        else:
            assert left == set(tags) - going
        gone = manifests - self.run(self.scene.manifests())
        assert gone.isdisjoint(oracle.kept_by_tags())
        assert not any(oracle.is_held(*place) for place in gone)
        for operation, (tags_gone, digests) in self.run(self.scene.thrown()).items():
            if operation not in thrown:
                oracle.deleted(operation, Deletion(name, oracle.now, tags_gone, digests))
        self.listen()

    def _is_fixed(self, name: str, digest: str) -> bool:
        """Whether a hold keeps the tags of a manifest."""
        about = WORLD.subjects.get(digest, digest)
        return self.oracle.is_held(name, digest) or self.oracle.is_held(name, about)
