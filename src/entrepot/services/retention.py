"""Policies of retention, and what becomes of repositories by them.

The nearest namespace with a policy decides about a repository; its patterns are relative to it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from entrepot.core.audit import Actor, event
from entrepot.core.decision import describe_namespace, parse_namespace, prefixes, relative_name
from entrepot.core.digest import Digest
from entrepot.core.errors import EntrepotError
from entrepot.core.freeing import freed_blobs
from entrepot.core.manifest import is_companion_tag
from entrepot.core.names import RepositoryName, Tag
from entrepot.core.protections import find_holding, find_protecting
from entrepot.core.retention import (
    Fate,
    Tagged,
    decide,
    decide_untagged,
    rules_for,
    wants_labels,
    why_stopped,
)
from entrepot.core.retention_policy import Policy, PolicyDocument, parse_policy
from entrepot.db.engine import Database, Reader, Transaction
from entrepot.db.holds import list_live_holds
from entrepot.db.protections import list_protections_on
from entrepot.db.retention import (
    FoundRepository,
    StoredPolicy,
    list_policies,
    list_repositories_in,
    list_tagged,
    list_untagged,
    measure_blobs,
    read_graph,
    remove_policy,
    set_policy,
)
from entrepot.services.access import Visible
from entrepot.services.audit import Notes, Trail
from entrepot.services.labels import Labels
from entrepot.services.namespaces import known_namespace
from entrepot.services.stores import Stores
from entrepot.services.usage import find_exclusive_blobs

_PAGE: Final = 100
"""Repositories that are looked for at once."""

_MANY: Final = 1000
"""Tags about which another thread decides, so that others are answered meanwhile."""


Guard = Callable[[str, Digest, Digest | None], str]


class RetentionUnknownError(EntrepotError):
    """There is no policy."""


@dataclass(frozen=True, slots=True)
class KnownPolicy:
    """The policy of a namespace, and who set it when."""

    namespace: str
    document: PolicyDocument
    policy: Policy
    updated_at: int
    updated_by: str


class Policies:
    """The policies of one registry. Every change is recorded with `by`, whoever makes it."""

    def __init__(self, index: Database, *, now: Callable[[], int], trail: Trail) -> None:
        self._index = index
        self._now = now
        self._trail = trail

    async def list(self) -> Sequence[KnownPolicy]:
        """Return every policy, by the name of its namespace."""
        return [*(await known_policies(self._index)).values()]

    async def find(self, text: str) -> KnownPolicy:
        """Return the policy that counts in a namespace: its own, or that of the nearest one above.

        Raises:
            RetentionUnknownError: there is none.
        """
        name = parse_namespace(text)
        found = nearest(await known_policies(self._index), name)
        if found is None:
            raise RetentionUnknownError(
                f"there is no policy in {describe_namespace(name)} and none above: all is kept"
            )
        return found

    async def set(self, text: str, document: PolicyDocument, *, by: Actor | str) -> KnownPolicy:
        """Give a namespace a policy, in place of the one that it has.

        Raises:
            RetentionInvalidError: the policy can't be as it is.
            AccessUnknownError: there is no such namespace.
        """
        name = parse_namespace(text)
        policy = parse_policy(document)
        encoded = msgspec.json.encode(document)
        now = self._now()

        async def work(transaction: Transaction, notes: Notes) -> None:
            namespace = await known_namespace(transaction, name)
            await set_policy(transaction, namespace.id, encoded, actor=str(by), now=now)
            notes.add(event("retention.set", target=name or "/", policy=msgspec.Raw(encoded)))

        await self._trail.write(work, by=by)
        return KnownPolicy(name, document, policy, now, str(by))

    async def remove(self, text: str, *, by: Actor | str) -> None:
        """Remove the policy of a namespace itself; that of the one above counts there from then on.

        Raises:
            RetentionUnknownError: it has none.
        """
        name = parse_namespace(text)

        async def work(transaction: Transaction, notes: Notes) -> None:
            namespace = await known_namespace(transaction, name)
            if not await remove_policy(transaction, namespace.id):
                raise RetentionUnknownError(f"{describe_namespace(name)} has no policy of its own")
            notes.add(event("retention.remove", target=name or "/"))

        await self._trail.write(work, by=by)


async def known_policies(reader: Reader) -> dict[str, KnownPolicy]:
    """Return every policy by the name of its namespace."""
    return parse_policies(await list_policies(reader))


def parse_policies(rows: Sequence[StoredPolicy]) -> dict[str, KnownPolicy]:
    """Return policies by the names of their namespaces."""
    found = {}
    for stored in rows:
        document = msgspec.json.decode(stored.document, type=PolicyDocument)
        found[stored.namespace] = KnownPolicy(
            stored.namespace,
            document,
            parse_policy(document),
            stored.updated_at,
            stored.updated_by,
        )
    return found


def nearest(policies: Mapping[str, KnownPolicy], name: str) -> KnownPolicy | None:
    """Return the policy that counts for a repository or namespace, or None."""
    return next((policies[prefix] for prefix in prefixes(name) if prefix in policies), None)


# What becomes of a repository -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the tags and untagged manifests of a repository by the policy of `namespace`.

    `freed` are the bytes of the blobs that nothing in the registry needs then; what other
    repositories link as well does not count. `stopped` says why nothing may be deleted.
    """

    id: int
    name: RepositoryName
    namespace: str
    tagged: Sequence[Tagged]
    fates: Sequence[Fate]
    freed: int
    brake: int
    stopped: str | None

    @property
    def tags(self) -> int:
        """How many tags it has, without those that belong to a manifest."""
        return sum(not is_companion_tag(tagged.tag) for tagged in self.tagged)

    @property
    def going(self) -> Sequence[Fate]:
        """What goes."""
        return [fate for fate in self.fates if fate.goes]


class Planner:
    """Plans at one time, by the policies as they are then. `brake` is another one than that of the
    policies, `allow_empty` lets repositories lose all their tags. With `readable` it is as if there
    were nothing else: no plan for other repositories, and no blobs in them.
    """

    def __init__(
        self,
        stores: Stores,
        policies: Mapping[str, KnownPolicy],
        *,
        now: int,
        brake: int | None = None,
        allow_empty: bool = False,
        readable: Visible | None = None,
    ) -> None:
        self._stores = stores
        self._policies = policies
        self._now = now
        self._brake = brake
        self._allow_empty = allow_empty
        self._readable = readable
        self._labels = Labels(stores)

    async def plans(self, namespace: str, *, after: str = "") -> AsyncGenerator[Plan, None]:
        """Give the plans for the repositories of a namespace, and of those below it, by name; those
        that no rule is about are left out.
        """
        last = after
        while True:
            page = await list_repositories_in(self._stores.index, namespace, last=last, limit=_PAGE)
            for repository in page:
                if self._readable is not None and not self._readable.shows(repository.name):
                    continue
                plan = await self.plan(repository)
                if plan is not None:
                    yield plan
            if len(page) < _PAGE:
                return
            last = page[-1].name

    async def plan(self, repository: FoundRepository) -> Plan | None:
        """Return what becomes of a repository, or None if no rule is about it."""
        known = nearest(self._policies, repository.name)
        if known is None:
            return None
        policy, relative = known.policy, relative_name(repository.name, known.namespace) or ""
        rules = rules_for(policy, relative)
        if not rules:
            return None
        index = self._stores.index
        rows = await list_tagged(index, repository.id)
        guard = await self._guard(repository)
        tagged = [row.tagged for row in rows]
        if guard is not None:
            tagged = [
                msgspec.structs.replace(
                    row.tagged, fixed=guard(row.tagged.tag, row.tagged.digest, row.subject)
                )
                for row in rows
            ]
        if policy.reads_labels:
            tagged = [
                await self._with_labels(repository, policy, relative, each) for each in tagged
            ]
        if len(tagged) < _MANY:
            fates = decide(policy, relative, tagged, now=self._now)
        else:
            fates = await asyncio.to_thread(decide, policy, relative, tagged, now=self._now)
        if any(rule.untagged is not None for rule in rules):
            untagged = await list_untagged(index, repository.id)
            if guard is not None:
                untagged = [
                    msgspec.structs.replace(each, fixed=guard("", each.digest, None))
                    for each in untagged
                ]
            # Whoever was told that one exists, and may list it, relies on it for so long.
            least = self._stores.keeping.told
            fates += decide_untagged(policy, relative, untagged, now=self._now, least=least)
        manifests = {row.tagged.tag: row.manifest for row in rows}
        return Plan(
            id=repository.id,
            name=repository.name,
            namespace=known.namespace,
            tagged=tagged,
            fates=fates,
            freed=await self._freed(repository, fates, manifests),
            brake=policy.brake if self._brake is None else self._brake,
            stopped=self._why_stopped(policy, fates),
        )

    async def _guard(self, repository: FoundRepository) -> Guard | None:
        """Return what says why a tag, or a manifest without one, can't be deleted, or is empty;
        None if nothing of the repository is protected or on hold.
        """
        index = self._stores.index
        holds = await list_live_holds(index, repository.id, now=self._stores.now())
        rules = await list_protections_on(index, repository.name)
        if not holds and not rules:
            return None

        def guard(tag: str, digest: Digest, subject: Digest | None) -> str:
            digests = [digest] if subject is None else [digest, subject]
            hold = find_holding(holds, digests=digests, tags=[Tag(tag)])
            if hold is not None:
                return str(hold)
            rule = find_protecting(rules, repository.name, tag) if tag else None
            return "" if rule is None else str(rule)

        return guard

    async def _with_labels(
        self, repository: FoundRepository, policy: Policy, relative: str, tagged: Tagged
    ) -> Tagged:
        if not wants_labels(policy, relative, tagged):
            return tagged
        labels = await self._labels.of(repository.name, tagged.digest)
        return msgspec.structs.replace(tagged, labels=labels)

    async def _freed(
        self, repository: FoundRepository, fates: Sequence[Fate], manifests: Mapping[str, int]
    ) -> int:
        """Return how many bytes come free."""
        if not any(fate.goes for fate in fates):
            return 0
        index = self._stores.index
        graph = await read_graph(index, repository.id)
        companions = {tag: number for tag, number in manifests.items() if is_companion_tag(tag)}
        ids = {digest: number for number, digest in graph.digests.items()}
        going: set[int] = set()
        staying: set[int] = set()
        for fate in fates:
            number = ids.get(fate.digest.packed)
            if number is not None and fate.tag not in companions:
                (going if fate.goes else staying).add(number)
        freed = freed_blobs(graph, going=going, staying=staying, companions=companions)
        if self._readable is None:
            sizes = await measure_blobs(index, repository.id)
        else:
            sizes = await find_exclusive_blobs(self._stores, repository.name, self._readable)
        return sum(sizes.get(blob, 0) for blob in freed)

    def _why_stopped(self, policy: Policy, fates: Sequence[Fate]) -> str | None:
        """Return why nothing of a repository may be deleted."""
        counted = [fate for fate in fates if fate.tag and not is_companion_tag(fate.tag)]
        going = sum(fate.goes for fate in counted)
        if going and going == len(counted) and not (self._allow_empty or policy.allow_empty):
            return f"all {going} tags would go, which must be allowed (allow_empty)"
        brake = policy.brake if self._brake is None else self._brake
        return why_stopped(tags=len(counted), going=going, brake=brake)
