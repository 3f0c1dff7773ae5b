"""Who may do what, asked of the index as seldom as possible.

What was read is kept until the permission revision has grown, which every process looks at when it
is asked, at most every two seconds. So a right that was taken away counts no more than that later,
everywhere; and if nobody can say what the revision is, nobody is let in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from entrepot.core.access import Action, Identity
from entrepot.core.areas import Area, areas_of
from entrepot.core.decision import (
    Decision,
    Grant,
    Policy,
    SubjectKind,
    Target,
    decide,
    in_scope,
    parse_namespace,
    prefixes,
)
from entrepot.core.errors import DeniedError
from entrepot.core.roles import CONTENT
from entrepot.db import Reader
from entrepot.db.grants import list_grants_of, list_roles
from entrepot.db.namespaces import list_namespaces
from entrepot.db.revision import find_revision

LOOK_EVERY: Final = 2_000_000
"""Microseconds for which the permission revision is believed."""

_MOST_DECISIONS: Final = 16_384
_MOST_GRANTS: Final = 50_000
"""When more are kept in memory, all are dropped, and read again as they are needed."""

_FOREVER: Final = 2**63 - 1
_OPEN: Final = Decision(allowed=True, reason="access control is off")

GrantsByNamespace = dict[str, list[Grant]]

Question = tuple[Action, str, bool, str | None]
"""An action, the name of a repository or namespace, whether it is a repository, and a tag."""


class AccessRules(Struct, frozen=True):
    """What the configuration says about access. Without `enabled` everybody may do everything that
    their credential is for.
    """

    enabled: bool = False
    administrators: frozenset[str] = frozenset()
    administrator_groups: frozenset[str] = frozenset()
    mappings: tuple[Grant, ...] = ()

    def is_administrator(self, identity: Identity) -> bool:
        """Whether the configuration makes somebody an administrator."""
        named = identity.kind == "user" and identity.name in self.administrators
        return named or not self.administrator_groups.isdisjoint(identity.groups)


class Answer(Struct, frozen=True):
    """A decision, about whom and what it is, and the grants of theirs in its namespaces."""

    identity: Identity
    target: Target
    decision: Decision
    grants: tuple[Grant, ...]


class View:
    """What one identity may do, as of one permission revision."""

    def __init__(
        self, identity: Identity, policy: Policy, grants: Sequence[GrantsByNamespace]
    ) -> None:
        self.identity = identity
        self._policy = policy
        self._grants = grants
        self.known: dict[Question, tuple[Decision, int]] = {}
        """What was decided, and until when it holds."""
        self._areas: dict[Action, Sequence[Area]] = {}

    def decide(self, action: Action, target: Target, *, now: int) -> tuple[Decision, int]:
        """Return the decision, and until when it holds as far as grants end by themselves."""
        grants = [grant for grant in self.grants_on(target) if grant.is_live(now)]
        decision = decide(
            self.identity, action, target, policy=self._policy, grants=grants, now=now
        )
        ends = [grant.expires_at for grant in grants if grant.expires_at is not None]
        return decision, min(ends, default=_FOREVER)

    def grants_on(self, target: Target) -> list[Grant]:
        """Return the grants in the namespaces of a target."""
        found: list[Grant] = []
        for prefix in prefixes(target.name):
            for grants in self._grants:
                found += grants.get(prefix, ())
        return found

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden, so that nothing need be decided one by one."""
        return self.identity.administrator and self.identity.scopes is None

    def areas(self, action: Action) -> Sequence[Area]:
        """Return where there may be repositories to pull or list."""
        known = self._areas.get(action)
        if known is None:
            every = (grant for of in self._grants for found in of.values() for grant in found)
            known = areas_of(self.identity, action, policy=self._policy, grants=every)
            self._areas[action] = known
        return known


class Visible:
    """The repositories that somebody may pull, or list: none outside `areas`, and of those in there
    those that it `shows`.
    """

    def __init__(self, view: View, action: Action, *, now: int) -> None:
        self.areas = view.areas(action)
        self._view = view
        self._action = action
        self._now = now

    def shows(self, name: str) -> bool:
        """Whether this repository is one of them."""
        target = Target(name, is_repository=True)
        return self._view.decide(self._action, target, now=self._now)[0].allowed


class Access:
    """Decides for one process. Times are microseconds since 1970. `changed_elsewhere` is called
    when accounts or rights are found to have changed.
    """

    def __init__(
        self,
        index: Reader,
        *,
        now: Callable[[], int],
        rules: AccessRules | None = None,
        changed_elsewhere: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.rules = rules or AccessRules()
        self._index = index
        self._now = now
        self._changed_elsewhere = changed_elsewhere
        self.revision = -1
        """The permission revision as it was when last looked at; -1 before the first look."""
        self._fresh_until = 0
        self._changes = 0
        self._looking: asyncio.Task[None] | None = None
        self._mapped = _by_subject(self.rules.mappings)
        self._forget()

    @property
    def enabled(self) -> bool:
        """Whether anybody needs rights."""
        return self.rules.enabled

    def changed(self) -> None:
        """Note that this process has changed accounts or rights: the next decision knows."""
        self._fresh_until = 0
        self._changes += 1

    async def look(self) -> None:
        """Make sure that `revision` is as of now, whoever changed it wherever.

        Raises:
            DatabaseError: the index doesn't say.
        """
        if not self.rules.enabled:
            return
        now, changes = self._now(), self._changes
        revision = await find_revision(self._index)
        if revision != self.revision:
            self.revision = revision
            self._forget()
            if self._changed_elsewhere is not None:
                await self._changed_elsewhere()
        if changes == self._changes:
            self._fresh_until = now + LOOK_EVERY

    async def refresh(self) -> None:
        """Make sure that `revision` is at most two seconds old.

        Raises:
            DatabaseError: the index doesn't say.
        """
        while self._now() >= self._fresh_until:
            changes = self._changes
            if self._looking is None:
                self._looking = asyncio.create_task(self._look())
                self._looking.add_done_callback(_heard)
            await asyncio.shield(self._looking)
            if changes == self._changes:
                return

    async def decide(
        self,
        identity: Identity,
        action: Action,
        *,
        repository: str | None = None,
        namespace: str = "",
        tag: str | None = None,
    ) -> Decision:
        """Decide whether `identity` may do `action` on a repository, on a tag of it, or, without
        one, on a namespace, of which the empty one is the root and the registry as a whole.
        """
        if not self.rules.enabled:
            return self._decide_openly(identity, action, repository, namespace)
        name = namespace if repository is None else repository
        key = (action, name, repository is not None, tag)
        known = self.recall(identity, key)
        if known is not None:
            return known[0]
        await self.refresh()
        now, view = self._now(), await self.view(identity)
        found = view.decide(action, Target(name, repository is not None, tag), now=now)
        self._keep(view, key, found)
        return found[0]

    def recall(self, identity: Identity, key: Question) -> tuple[Decision, int] | None:
        """Return what was decided lately, and until when it `holds`; None if it must be decided
        (anew): a look into two dictionaries, which is all that most requests need.
        """
        now = self._now()
        if now >= self._fresh_until:
            return None
        view = self._views.get(identity)
        found = None if view is None else view.known.get(key)
        return found if found is not None and now < found[1] else None

    def holds(self, revision: int, until: int) -> bool:
        """Tell whether what was decided as of a revision still counts, which it does `until`."""
        return revision == self.revision and self._now() < min(until, self._fresh_until)

    async def permitted(
        self, identity: Identity, repository: str, actions: Iterable[Action]
    ) -> frozenset[Action]:
        """Return those of `actions` that `identity` may do on a repository, whatever the tag."""
        allowed = {
            action
            for action in actions
            if (await self.decide(identity, action, repository=repository)).allowed
        }
        return frozenset(allowed)

    async def check_giver(self, giver: Identity, role: str, *, namespace: str) -> None:
        """Make sure that nobody gives what they lack.

        Raises:
            DeniedError: `giver` may not do, in the whole namespace, all that the role allows.
        """
        await self.refresh()
        for action in (await self._find_policy()).actions(role):
            decision = await self.decide(giver, action, namespace=namespace)
            if not decision.allowed:
                raise DeniedError({"reason": f"the role {role} is more: {decision.reason}"})

    async def has_namespace(self, name: str) -> bool:
        """Tell whether there is a namespace of this name; the empty one is the root."""
        return name in (await self._find_policy()).namespaces

    async def explain(
        self, identity: Identity, action: Action, name: str, *, tag: str | None = None
    ) -> Answer:
        """Decide about a repository, or a namespace if the action is about namespaces, and return
        all that was looked at.
        """
        target = Target(parse_namespace(name), action in CONTENT, tag)
        decision = await self.decide(
            identity,
            action,
            repository=target.name if target.is_repository else None,
            namespace=target.name,
            tag=tag,
        )
        grants = []
        if self.rules.enabled:
            grants = (await self.view(identity)).grants_on(target)
        return Answer(identity, target, decision, tuple(grants))

    async def visible(self, identity: Identity, action: Action) -> "Visible | None":
        """Return what `identity` may pull or list; None is everything."""
        if not self.rules.enabled:
            if identity.scopes is None:
                return None
            identity = msgspec.structs.replace(identity, administrator=True)
        await self.refresh()
        view = await self.view(identity)
        if view.sees_all:
            return None
        return Visible(view, action, now=self._now())

    async def view(self, identity: Identity) -> View:
        """Return what is known of an identity's rights, read from the index if need be."""
        view = self._views.get(identity)
        if view is not None:
            return view
        views, subjects = self._views, self._subjects  # they may be replaced while we read
        policy = await self._find_policy()
        grants = []
        kinds: list[tuple[SubjectKind, str]] = [("group", name) for name in identity.groups]
        if identity.kind != "anonymous" and identity.name:
            kinds.append((identity.kind, identity.name))
        for kind, name in kinds:
            if (kind, name) not in subjects:
                subjects[kind, name] = await self._find_grants(kind, name)
            grants.append(subjects[kind, name])
        known = identity
        if self.rules.is_administrator(identity):
            known = msgspec.structs.replace(identity, administrator=True)
        view = View(known, policy, [found for found in grants if found])
        views[identity] = view
        return view

    # Inside -------------------------------------------------------------------------------------

    def _decide_openly(
        self, identity: Identity, action: Action, repository: str | None, namespace: str
    ) -> Decision:
        if identity.scopes is None:
            return _OPEN
        target = Target(namespace if repository is None else repository, repository is not None)
        if in_scope(identity.scopes, action, target):
            return _OPEN
        reason = f"the credential is not for {action.value} in {target}"
        return Decision(allowed=False, reason=reason, limited=True)

    async def _look(self) -> None:
        try:
            await self.look()
        finally:
            self._looking = None

    def _forget(self) -> None:
        self._policy: Policy | None = None
        self._views: dict[Identity, View] = {}
        self._subjects: dict[tuple[SubjectKind, str], GrantsByNamespace] = {}
        self._decisions = 0
        self._grants = 0

    def _keep(self, view: View, key: Question, found: tuple[Decision, int]) -> None:
        if self._decisions >= _MOST_DECISIONS or self._grants > _MOST_GRANTS:
            policy = self._policy
            self._forget()
            self._policy = policy
            view.known.clear()
        self._decisions += 1
        view.known[key] = found

    async def _find_policy(self) -> Policy:
        if self._policy is not None:
            return self._policy
        views = self._views
        namespaces = {entry.name: entry for entry in await list_namespaces(self._index)}
        policy = Policy(namespaces, await list_roles(self._index))
        if views is self._views:
            self._policy = policy
        return policy

    async def _find_grants(self, kind: SubjectKind, name: str) -> GrantsByNamespace:
        grants = await list_grants_of(self._index, kind, name, now=self._now())
        self._grants += len(grants)
        by_namespace: GrantsByNamespace = {}
        for grant in [*grants, *self._mapped.get((kind, name), ())]:
            by_namespace.setdefault(grant.namespace, []).append(grant)
        return by_namespace


def _heard(look: asyncio.Task[None]) -> None:
    """Take note of a look's failure, though everybody who waited for it may have gone."""
    if not look.cancelled():
        look.exception()


def _by_subject(grants: Iterable[Grant]) -> dict[tuple[SubjectKind, str], list[Grant]]:
    found: dict[tuple[SubjectKind, str], list[Grant]] = {}
    for grant in grants:
        found.setdefault((grant.subject_kind, grant.subject), []).append(grant)
    return found
