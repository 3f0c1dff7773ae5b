"""Registries with rights, in this process: as their services see them, and over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from pathlib import Path

from entrepot import app
from entrepot.api.asgi import Application
from entrepot.config import load
from entrepot.core.access import Action, Identity
from entrepot.core.decision import Grant
from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.core.roles import BUILT_IN
from entrepot.db import Database, Transaction
from entrepot.db.engine import Row, Values
from entrepot.health import HealthBoard
from entrepot.services.access import Access, AccessRules
from entrepot.services.grants import Grants
from entrepot.services.namespaces import Namespaces
from tests.unit.api.conftest import Answer, Site, running
from tests.unit.identity.credentials import basic, hash_of, write_users
from tests.wire.images import Image

PASSWORD = "wonderland"
ROOT = "root"

hashed = lru_cache(hash_of)


SECOND = 1_000_000
ALICE = Identity("alice", "local", groups=("devs",))
ON = AccessRules(enabled=True)


CUSTOM: Mapping[str, frozenset[Action]] = {
    "pusher": frozenset({Action.PUSH}),
    "lister": frozenset({Action.LIST}),
    "keeper": frozenset({Action.PULL, Action.LIST, Action.MEMBERS}),
}
STAFF: Mapping[str, frozenset[Action]] = {
    **BUILT_IN,
    **CUSTOM,
    "alice": BUILT_IN["developer"],
    **dict.fromkeys(("none", "ended", "denied", "narrow"), frozenset()),
}
"""Who there is in a namespace that has staff, and what they may do in it; `none` has no rights."""


def made(namespace: str, subject: str, role: str, **change: str | int) -> Grant:
    """A grant to be made: `subject` is `user:NAME` or `group:NAME`."""
    kind, _, name = subject.partition(":")
    fields: dict[str, object] = {**change}
    for key, parse in (("repositories", parse_pattern), ("tags", parse_tag_pattern)):
        if key in fields:
            fields[key] = parse(str(fields[key]))
    named = {"namespace": namespace, "subject_kind": kind, "subject": name, "role": role}
    return Grant(id=0, **(named | fields))  # type: ignore[arg-type]


class Estate:
    """A running registry whose users all have the same password."""

    def __init__(self, application: Application, site: Site) -> None:
        self.application = application
        self.site = site
        context = application._context
        self.access = context.access
        self.stores = context.stores
        index, now = self.stores.index, self.stores.now
        changed = self.access.changed
        self.namespaces = Namespaces(index, now=now, changed=changed)
        self.grants = Grants(index, now=now, changed=changed)

    async def ask(
        self,
        who: str,
        method: str,
        path: str,
        *,
        query: str = "",
        kind: str = "",
        body: bytes = b"",
    ) -> Answer:
        """Send a request as a user, or as nobody if `who` is empty."""
        headers = [(b"authorization", basic(who, PASSWORD).encode())] if who else []
        if kind:
            headers.append((b"content-type", kind.encode()))
        return await self.site.ask(
            method, path, query=query.encode(), headers=tuple(headers), body=body
        )

    async def push(self, repository: str, image: Image, *, tag: str, who: str = ROOT) -> Answer:
        """Push an image as somebody; return the last answer."""
        for blob in image.blobs:
            answer = await self.ask(
                who,
                "POST",
                f"/v2/{repository}/blobs/uploads/",
                query=f"digest={blob.digest}",
                body=blob.data,
            )
            if answer.status != 201:
                return answer
        return await self.ask(
            who,
            "PUT",
            f"/v2/{repository}/manifests/{tag}",
            kind=image.manifest.media_type,
            body=image.manifest.data,
        )

    async def staff(self, namespace: str) -> None:
        """Give rights in a namespace to those who are called after what they have there.

        `alice` has hers by a group, and for an hour; those of `ended` are over; all that `denied`
        has is denied, too; those of `narrow` are for repositories that are not there; `pusher`,
        `lister` and `keeper` have custom roles.
        """
        for role, actions in CUSTOM.items():
            await self.grants.create_role(role, actions, by="test")
        roles = (*BUILT_IN, *CUSTOM)
        soon = self.stores.now() + 3600 * SECOND
        await self.give(
            *(made(namespace, f"user:{role}", role) for role in roles),
            made(namespace, "group:devs", "developer", expires_at=soon),
            made(namespace, "user:ended", "admin", expires_at=soon),
            made(namespace, "user:denied", "admin"),
            made(namespace, "user:denied", "admin", effect="deny"),
            made(namespace, "user:narrow", "admin", repositories="somewhere/**"),
        )

        async def end(transaction: Transaction) -> None:
            await transaction.execute(
                "UPDATE grants SET expires_at = 1 WHERE subject = 'ended'", {}
            )

        await self.stores.index.write(end)
        self.access.changed()

    async def give(self, *grants: Grant) -> list[int]:
        """Make grants; return their ids."""
        return [grant.id for grant in await self.grants.grant(grants, by="test")]


@asynccontextmanager
async def open_estate(
    tmp_path: Path, *users: str, text: str = "", variables: Mapping[str, str] | None = None
) -> AsyncIterator[Estate]:
    """Open a registry with these users; `root` administers it. `text` and `variables` add to its
    configuration.
    """
    lines = [name.encode() + b":" + hashed(PASSWORD) for name in (ROOT, *users)]
    write_users(tmp_path / "htpasswd", b"\n".join(lines))
    path = tmp_path / "config.yml"
    path.write_text(
        "version: 0.1\nlog: {accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}},"
        " delete: {enabled: true}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {tmp_path / 'htpasswd'},"
        f" administrators: [{ROOT}], groups: {{devs: [alice, bob]}}}}}}\n{text}"
    )
    config = load(path, variables or {}).config
    (tmp_path / "metrics").mkdir(exist_ok=True)
    await asyncio.to_thread(app.prepare, config)
    application = app.build(config, health=HealthBoard(), metrics=tmp_path / "metrics")
    async with running(application) as site:
        yield Estate(application, site)


Open = Callable[..., AbstractAsyncContextManager[Estate]]

# Without HTTP ------------------------------------------------------------------------------------


class Clock:
    """Microseconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


class Counting:
    """Counts what is asked of an index, and asks it."""

    def __init__(self, index: Database) -> None:
        self._index = index
        self.asked = 0

    async def fetch_one(self, sql: str, values: Values) -> Row | None:
        self.asked += 1
        return await self._index.fetch_one(sql, values)

    async def fetch_all(self, sql: str, values: Values) -> list[Row]:
        self.asked += 1
        return await self._index.fetch_all(sql, values)


class Rights:
    """An index, a process that decides, and another that changes rights."""

    def __init__(self, index: Database, rules: AccessRules) -> None:
        self.clock = Clock()
        self.index = Counting(index)
        self.access = Access(self.index, now=self.clock, rules=rules)
        self.namespaces = Namespaces(index, now=self.clock)
        self.grants = Grants(index, now=self.clock)
        self.here = Grants(index, now=self.clock, changed=self.access.changed)

    async def may(self, action: Action, name: str, who: Identity = ALICE) -> bool:
        return (await self.access.decide(who, action, repository=name)).allowed

    async def give(self, *grants: Grant) -> int:
        return (await self.grants.grant(grants, by="test"))[0].id
