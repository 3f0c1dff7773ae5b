"""Every route, for every role, under every visibility: the table of routes is walked, so that a new
route without a line here fails.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from entrepot.api.route import Route
from entrepot.api.routes import TABLE
from entrepot.core.access import Action
from entrepot.core.decision import Visibility
from tests.access.worlds import ROOT, STAFF, Estate, Open, made
from tests.unit.api.conftest import Answer
from tests.wire.images import image

IMAGE = image("access-routes")
ROUTES = [route for route in TABLE if not route.path.startswith("/api/v1/")]
"""Those of `/api/v1` are walked in tests/api."""
HERE, NOT_HERE = "team/app", "team/nope"
UPLOAD = "11111111-2222-4333-8444-555555555555"

SEEING = {Action.PULL, Action.LIST}
MAY = {**STAFF, "": frozenset[Action](), ROOT: frozenset(Action)}
"""What everybody may do on a repository; `` is nobody."""

FREE = {Action.PROBE, Action.LOGIN}
ON_REPOSITORY = {Action.PULL, Action.PUSH, Action.DELETE}
NO_BODY = ""
UNKNOWN = {"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"}


def test_every_action_of_a_route_is_expected_here() -> None:
    known = FREE | ON_REPOSITORY | {Action.CONNECT, Action.LIST, Action.OBSERVE}
    assert {route.action for route in ROUTES} <= known
    for route in ROUTES:
        assert route.on_repository == (route.action in ON_REPOSITORY), route
        assert ("{" in route.path) <= route.on_repository, route


def path_of(route: Route, repository: str) -> str:
    digest = IMAGE.blobs[0].digest if "/blobs/" in route.path else IMAGE.digest
    fields = {"{name}": repository, "{reference}": "latest", "{digest}": digest}
    path = route.path.replace("{upload}", UPLOAD)
    for field, value in fields.items():
        path = path.replace(field, value)
    return path


@dataclass(frozen=True)
class Seen:
    """What an answer says of a decision."""

    status: int
    code: str

    @classmethod
    def of(cls, answer: Answer) -> Seen:
        found: Any = json.loads(answer.body) if answer.body.startswith(b'{"errors"') else None
        return cls(answer.status, found["errors"][0]["code"] if found else NO_BODY)

    @property
    def verdict(self) -> str:
        if self.status in {401, 403}:
            return str(self.status)
        return "404" if self.status == 404 and self.code in UNKNOWN | {NO_BODY} else "yes"


def expected(route: Route, role: str, visibility: Visibility) -> str:
    if route.action in FREE or role == ROOT:
        return "yes"
    known = role != ""
    seen = visibility == "public" or (visibility == "internal" and known)
    seen = seen and role != "denied"
    if route.action is Action.CONNECT:
        return "yes" if known else "401"
    if route.action is Action.LIST:
        return "yes" if known or visibility == "public" else "401"
    if route.action in MAY[role] or (seen and route.action in SEEING):
        return "yes"
    if not known:
        return "401"
    if not route.on_repository:
        return "403"
    return "403" if seen or Action.PULL in MAY[role] else "404"


async def send(estate: Estate, route: Route, who: str, repository: str) -> Answer:
    body = IMAGE.manifest.data if route.method == "PUT" and route.label == "manifest" else b""
    kind = IMAGE.manifest.media_type if body else ""
    path = path_of(route, repository)
    return await estate.ask(who, route.method, path, kind=kind, body=body)


async def staffed(estate: Estate) -> None:
    """A namespace with an image, and people with rights of every kind."""
    await estate.namespaces.create("team", by="test")
    await estate.staff("team")
    answer = await estate.push(HERE, IMAGE, tag="latest")
    assert answer.status == 201, answer.body


@pytest.mark.anyio
@pytest.mark.parametrize("visibility", ["private", "internal", "public"])
async def test_every_route_for_every_role(estate: Open, visibility: Visibility) -> None:
    async with estate(*STAFF) as registry:
        await staffed(registry)
        await registry.namespaces.change("team", by="test", visibility=visibility)
        for role in MAY:
            for route in ROUTES:
                answer = await send(registry, route, role, HERE)
                what = f"{role or 'nobody'}: {route.method} {route.path}"
                assert Seen.of(answer).verdict == expected(route, role, visibility), what
                assert answer.status < 500, what
                if answer.status == 202 and route.action is Action.DELETE:
                    await registry.push(HERE, IMAGE, tag="latest")


@pytest.mark.anyio
@pytest.mark.parametrize("around", ["private", "internal", "public"])
@pytest.mark.parametrize("who", ["", "none", "elsewhere", "ended", "denied", "lister"])
async def test_what_may_not_be_read_does_not_exist(
    estate: Open, who: str, around: Visibility
) -> None:
    """The same answer to the last byte and header, whether there is such a repository or not; also
    where everything around may be seen.
    """
    async with estate(who or "none") as registry:
        await staffed(registry)
        await registry.namespaces.create("other", by="test")
        await registry.give(made("other", "user:elsewhere", "admin"))
        await registry.namespaces.change("team", by="test", visibility="private")
        await registry.namespaces.change("", by="test", visibility=around)
        for route in (route for route in ROUTES if route.on_repository):
            for method in {route.method, "HEAD"} if route.method == "GET" else {route.method}:
                asked = route._replace(method=method)
                here = await send(registry, asked, who, HERE)
                there = await send(registry, asked, who, NOT_HERE)
                assert here.status == there.status == (404 if who else 401), route
                same = there.body.replace(NOT_HERE.encode(), HERE.encode())
                assert here.body == same, route
                lengths = b"content-length"
                here.headers.pop(lengths, None)
                there.headers.pop(lengths, None)
                assert here.headers == {
                    key: value.replace(NOT_HERE.encode(), HERE.encode())
                    for key, value in there.headers.items()
                }, route


@pytest.mark.anyio
async def test_a_refusal_says_why_to_those_who_may_read(estate: Open) -> None:
    async with estate("carol") as registry:
        await staffed(registry)
        (number,) = await registry.give(
            made("team", "user:carol", "reader"),
        )
        answer = await registry.push(HERE, IMAGE, tag="mine", who="carol")
        assert Seen.of(answer) == Seen(403, "DENIED")
        reason = json.loads(answer.body)["errors"][0]["detail"]["reason"]
        assert reason == f"no grant lets user carol do push in {HERE}"
        (denial,) = await registry.give(made("team", "user:carol", "developer", effect="deny"))
        await registry.namespaces.change("team", by="test", visibility="public")
        assert denial != number
        answer = await registry.push(HERE, IMAGE, tag="mine", who="carol")
        assert Seen.of(answer) == Seen(404, "NAME_UNKNOWN"), "reading is denied, too"
        assert (await registry.ask("", "GET", f"/v2/{HERE}/tags/list")).status == 200
