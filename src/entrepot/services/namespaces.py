"""The tree of namespaces: which there are, and their settings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from entrepot.core.audit import Actor, event
from entrepot.core.decision import (
    AccessConflictError,
    AccessError,
    AccessUnknownError,
    Namespace,
    Policy,
    Visibility,
    describe_namespace,
    no_namespace,
    parse_namespace,
)
from entrepot.db.engine import Database, Reader, Transaction
from entrepot.db.namespaces import (
    add_namespace,
    change_namespace,
    count_repositories,
    find_namespace,
    find_nearest_namespace,
    find_robot_in,
    list_namespaces,
    list_repositories_of,
    remove_namespace,
)
from entrepot.db.protections import find_protection_in
from entrepot.db.revision import bump_revision
from entrepot.services.access import Visible
from entrepot.services.audit import Notes, Trail

_PAGE: Final = 1000
"""Repositories that are looked at together, if not all of them may be visible."""


@dataclass(frozen=True, slots=True)
class Known:
    """A namespace and what follows from those above: its visibility, and who says so."""

    namespace: Namespace
    parent: str | None
    visibility: Visibility
    visibility_from: str


class Namespaces:
    """Every change counts on every process and node some seconds later, at once where `changed` is
    told, and is recorded with `by`, whoever makes it.
    """

    def __init__(
        self,
        index: Database,
        *,
        now: Callable[[], int],
        changed: Callable[[], None] = lambda: None,
        trail: Trail | None = None,
    ) -> None:
        self._index = index
        self._now = now
        self._changed = changed
        self._trail = trail or Trail(index, now=now)

    async def list(self) -> Sequence[Known]:
        """Return every namespace by name, the root first."""
        found = await list_namespaces(self._index)
        policy = Policy({namespace.name: namespace for namespace in found})
        return [_known(namespace, policy) for namespace in found]

    async def find(self, text: str) -> Known:
        """Return a namespace. Raises AccessUnknownError."""
        namespace = await known_namespace(self._index, parse_namespace(text))
        above = await list_namespaces(self._index)
        return _known(namespace, Policy({entry.name: entry for entry in above}))

    async def repositories(self, name: str, visible: Visible | None = None) -> int:
        """Return how many repositories are in a namespace and in none below it, of those that are
        visible, or of all.
        """
        namespace = await known_namespace(self._index, parse_namespace(name))
        if visible is None:
            return await count_repositories(self._index, namespace.id)
        count, last = 0, ""
        while page := await list_repositories_of(self._index, namespace.id, last=last, limit=_PAGE):
            count += sum(map(visible.shows, page))
            last = page[-1]
        return count

    async def find_obstacles(self, text: str) -> Sequence[str]:
        """Return why a namespace can't be deleted with those below it, whatever becomes of their
        repositories. Raises AccessUnknownError.
        """
        top = await known_namespace(self._index, parse_namespace(text))
        found = []
        for namespace in await list_namespaces(self._index):
            if namespace == top or namespace.name.startswith(f"{top.name}/"):
                found += await _find_obstacles(self._index, namespace)
        return found

    async def create(
        self,
        text: str,
        *,
        by: Actor | str,
        visibility: Visibility | None = None,
        description: str = "",
    ) -> Namespace:
        """Make a namespace; repositories that belong into it are in it at once.

        Raises:
            AccessError: the name is taken or not allowed.
        """
        wanted = Namespace(0, parse_namespace(text), visibility, description, self._now())

        async def work(transaction: Transaction, notes: Notes) -> Namespace:
            await bump_revision(transaction)
            parent = await find_nearest_namespace(transaction, wanted.name)
            if parent.name == wanted.name:
                raise AccessConflictError(f"there is {describe_namespace(wanted.name)} already")
            notes.add(
                event(
                    "namespace.create",
                    target=wanted.name,
                    visibility=visibility or "inherited",
                )
            )
            return await add_namespace(transaction, wanted, parent=parent)

        made = await self._trail.write(work, by=by)
        self._changed()
        return made

    async def change(
        self,
        text: str,
        *,
        by: Actor | str,
        visibility: Visibility | msgspec.UnsetType | None = msgspec.UNSET,
        description: str | None = None,
    ) -> Namespace:
        """Change what is given; without a visibility (None) a namespace has that of the one above.

        Raises:
            AccessUnknownError: there is no such namespace.
            AccessError: the root has nothing above it.
        """
        name = parse_namespace(text)
        if not name and visibility is None:
            raise AccessError("there is nothing above the root namespace to inherit from")

        async def work(transaction: Transaction, notes: Notes) -> Namespace:
            await bump_revision(transaction)
            namespace = await known_namespace(transaction, name)
            if visibility is not msgspec.UNSET:
                namespace = msgspec.structs.replace(namespace, visibility=visibility)
            if description is not None:
                namespace = msgspec.structs.replace(namespace, description=description)
            await change_namespace(transaction, namespace)
            seen = namespace.visibility or "inherited"
            notes.add(event("namespace.set", target=name or "/", visibility=seen))
            return namespace

        made = await self._trail.write(work, by=by)
        self._changed()
        return made

    async def delete(self, text: str, *, by: Actor | str, move_up: bool = False) -> str:
        """Remove a namespace with its grants, and return the name of the one above. If `move_up`,
        repositories and namespaces in it go there; otherwise there must be none.

        Raises:
            AccessUnknownError: there is no such namespace.
            AccessError: it is the root, or something is still in it, such as rules that protect
                tags.
        """
        name = parse_namespace(text)
        if not name:
            raise AccessError("the root namespace can't be deleted")

        async def work(transaction: Transaction, notes: Notes) -> str:
            await bump_revision(transaction)
            namespace = await known_namespace(transaction, name)
            for reason in await _find_obstacles(transaction, namespace):
                raise AccessConflictError(reason)
            parent = await find_nearest_namespace(transaction, name.rpartition("/")[0])
            if not move_up:
                await _check_empty(transaction, namespace, parent)
            await remove_namespace(transaction, namespace.id, parent=parent.id)
            notes.add(event("namespace.delete", target=name, moved_to=parent.name or "/"))
            return parent.name

        parent = await self._trail.write(work, by=by)
        self._changed()
        return parent


async def _find_obstacles(reader: Reader, namespace: Namespace) -> list[str]:
    """Return what must be removed first, for it must not go, or lose its effect, unnoticed."""
    found: list[str] = []
    robot = await find_robot_in(reader, namespace.id)
    if robot is not None:
        found.append(f"{robot} is in {describe_namespace(namespace.name)}: revoke it first")
    rule = await find_protection_in(reader, namespace.id)
    if rule is not None:
        found.append(f"{rule}: entrepot tag unprotect {rule.id} removes it")
    return found


async def _check_empty(reader: Reader, namespace: Namespace, parent: Namespace) -> None:
    count = await count_repositories(reader, namespace.id)
    below = f"{namespace.name}/"
    inside = [entry for entry in await list_namespaces(reader) if entry.name.startswith(below)]
    if count or inside:
        raise AccessConflictError(
            f"{describe_namespace(namespace.name)} has {count} repositories and {len(inside)} "
            f"namespaces in it: delete them, or let them go to {describe_namespace(parent.name)} "
            "(--move-up), whose members may then do with them what their roles allow"
        )


async def known_namespace(reader: Reader, name: str) -> Namespace:
    """Return a namespace. Raises AccessUnknownError."""
    found = await find_namespace(reader, name)
    if found is None:
        raise AccessUnknownError(no_namespace(name))
    return found


def _known(namespace: Namespace, policy: Policy) -> Known:
    visibility, source = policy.visibility(namespace.name)
    parent = policy.namespace_of(namespace.name.rpartition("/")[0]) if namespace.name else None
    return Known(namespace, parent, visibility, source)
