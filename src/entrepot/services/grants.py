"""Giving roles and taking them back, and making custom roles."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import msgspec

from entrepot.core.access import Action
from entrepot.core.accounts import ROBOT_PREFIX
from entrepot.core.audit import Actor, event
from entrepot.core.decision import (
    AccessConflictError,
    AccessError,
    AccessUnknownError,
    Grant,
    SubjectKind,
    describe_namespace,
    parse_namespace,
)
from entrepot.core.roles import BUILT_IN, RoleInvalidError, check_role_name
from entrepot.db.engine import Database, Transaction
from entrepot.db.grants import (
    add_grant,
    add_role,
    find_grant,
    find_grant_with_role,
    list_grants,
    list_grants_of,
    list_roles,
    remove_grant,
    remove_role,
)
from entrepot.db.revision import bump_revision
from entrepot.services.audit import Notes, Trail
from entrepot.services.namespaces import known_namespace

_PAGE = 1000
_LONGEST_SUBJECT = 255
_LATEST = 253_402_300_799_000_000
"""The end of the year 9999, after which no date can be written."""


class Grants:
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

    async def list(self, namespace: str | None = None) -> AsyncIterator[Grant]:
        """Give the grants in a namespace itself, or all of them, oldest first.

        Raises:
            AccessUnknownError: there is no such namespace.
        """
        after = 0
        while page := await self.page(namespace, after=after, limit=_PAGE):
            for grant in page:
                yield grant
            after = page[-1].id

    async def page(self, namespace: str | None, *, after: int, limit: int) -> Sequence[Grant]:
        """Return at most `limit` of these grants, those with a higher number than `after`.

        Raises:
            AccessUnknownError: there is no such namespace.
        """
        place = None
        if namespace is not None:
            place = (await known_namespace(self._index, parse_namespace(namespace))).id
        return await list_grants(self._index, namespace=place, after=after, limit=limit)

    async def of(self, kind: SubjectKind, name: str) -> Sequence[Grant]:
        """Return the grants of somebody that have not ended."""
        return await list_grants_of(self._index, kind, name, now=self._now())

    async def find(self, number: int) -> Grant:
        """Return a grant. Raises AccessUnknownError."""
        return _known(await find_grant(self._index, number), number)

    async def grant(self, wanted: Iterable[Grant], *, by: Actor | str) -> Sequence[Grant]:
        """Add grants, whose ids and `created_at` are not looked at, all of them or none. One that
        is there already gets the new end.

        Raises:
            AccessUnknownError: there is no such namespace or role.
            AccessError: nobody can be called so, or it would have ended already.
        """
        now = self._now()
        checked = [_checked(grant, now=now) for grant in wanted]

        async def work(transaction: Transaction, notes: Notes) -> Sequence[Grant]:
            await bump_revision(transaction)
            custom, made = await list_roles(transaction), []
            for grant in checked:
                if grant.role not in BUILT_IN and grant.role not in custom:
                    raise AccessUnknownError(_no_role(grant.role, custom))
                place = await known_namespace(transaction, grant.namespace)
                number = await add_grant(transaction, grant, namespace=place.id)
                given = msgspec.structs.replace(grant, id=number)
                notes.add(event("grant.create", target=grant.subject, grant=str(given)))
                made.append(given)
            return made

        made = await self._trail.write(work, by=by)
        self._changed()
        return made

    async def revoke(self, numbers: Iterable[int], *, by: Actor | str) -> Sequence[Grant]:
        """Remove grants, all of them or none, and return them. Raises AccessUnknownError."""
        asked = list(numbers)

        async def work(transaction: Transaction, notes: Notes) -> Sequence[Grant]:
            await bump_revision(transaction)
            gone = []
            for number in asked:
                grant = _known(await find_grant(transaction, number), number)
                await remove_grant(transaction, number)
                notes.add(event("grant.revoke", target=grant.subject, grant=str(grant)))
                gone.append(grant)
            return gone

        gone = await self._trail.write(work, by=by)
        self._changed()
        return gone

    # Roles --------------------------------------------------------------------------------------

    async def roles(self) -> dict[str, frozenset[Action]]:
        """Return every role with its actions, those that are built in first."""
        return {**BUILT_IN, **await list_roles(self._index)}

    async def create_role(self, name: str, actions: frozenset[Action], *, by: Actor | str) -> None:
        """Make a custom role.

        Raises:
            RoleInvalidError: the name is not allowed.
            AccessError: it is taken.
        """
        check_role_name(name)
        now = self._now()

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            if not await add_role(transaction, name, actions, now=now):
                raise AccessConflictError(f"there is a role {name} already")
            words = sorted(action.value for action in actions)
            notes.add(event("role.create", target=name, actions=words))

        await self._trail.write(work, by=by)
        self._changed()

    async def delete_role(self, name: str, *, by: Actor | str) -> None:
        """Remove a custom role that no grant gives.

        Raises:
            AccessUnknownError: there is none of this name.
            AccessError: it is built in, or a grant gives it.
        """
        if name in BUILT_IN:
            raise RoleInvalidError(f"the role {name} is built in and can't be deleted")

        async def work(transaction: Transaction, notes: Notes) -> None:
            await bump_revision(transaction)
            used = await find_grant_with_role(transaction, name)
            if used is not None:
                raise AccessConflictError(f"grant {used} gives the role {name}: revoke it first")
            if not await remove_role(transaction, name):
                raise AccessUnknownError(_no_role(name, await list_roles(transaction)))
            notes.add(event("role.delete", target=name))

        await self._trail.write(work, by=by)
        self._changed()


def _checked(grant: Grant, *, now: int) -> Grant:
    subject = grant.subject
    if not subject or len(subject) > _LONGEST_SUBJECT or not subject.isprintable():
        raise AccessError(
            f"{subject[:_LONGEST_SUBJECT]!r} can't be the name of a {grant.subject_kind}"
        )
    if grant.subject_kind == "robot" and not subject.startswith(ROBOT_PREFIX):
        raise AccessError(f"{subject} is no robot: their names begin with {ROBOT_PREFIX}")
    if grant.expires_at is not None and grant.expires_at > _LATEST:
        raise AccessError(f"the end of a grant to {subject} is too far away: leave it out")
    if not grant.is_live(now):
        raise AccessError(f"a grant in {describe_namespace(grant.namespace)} ends before it begins")
    return msgspec.structs.replace(grant, created_at=now)


def _known(grant: Grant | None, number: int) -> Grant:
    if grant is None:
        raise AccessUnknownError(f"there is no grant {number}")
    return grant


def _no_role(name: str, custom: Iterable[str]) -> str:
    return f"there is no role {name}; there are {', '.join([*BUILT_IN, *custom])}"
