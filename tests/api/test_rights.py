"""Who may do what over `/api/v1`: every route for every role, and what nobody may learn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrepot.api.route import Route
from entrepot.api.v1.table import TABLE
from entrepot.core.access import Action
from entrepot.core.accounts import LOCAL
from entrepot.core.decision import Visibility
from tests.access.worlds import ROOT, STAFF, Estate, Open, made
from tests.unit.api.conftest import Answer
from tests.unit.identity.credentials import basic
from tests.wire.images import image

ROUTES = [route for route in TABLE if route.action is not Action.PROBE]
A_LIST = next(route for route in ROUTES if route.path == "/api/v1/namespaces/{namespace}")
SEEING = frozenset({Action.PULL, Action.LIST})
MAKES: dict[tuple[str, str], object] = {
    ("POST", "/api/v1/namespaces"): {"name": "team/new"},
    ("PATCH", "/api/v1/namespaces/{namespace}"): {"description": "new"},
    ("POST", "/api/v1/repositories/{repository}/rollback"): {"tag": "moved"},
    ("POST", "/api/v1/deletions/repositories/{repository}"): {"reference": "three"},
    ("POST", "/api/v1/deletions/namespaces/{namespace}"): {"whole": True},
    ("POST", "/api/v1/protections"): {"namespace": "team", "tags": "new*"},
    ("POST", "/api/v1/holds"): {"repository": "team/held", "reason": "a test"},
    ("POST", "/api/v1/trash/restore"): {"ids": [1]},
    ("POST", "/api/v1/trash/empty"): {"ids": [2]},
    ("PUT", "/api/v1/quotas/{namespace}"): {"resource": "tags", "hard": 1_000_000},
    ("PUT", "/api/v1/retention/policies/{namespace}"): {"rules": [{"keep": []}]},
    ("POST", "/api/v1/retention/runs/{namespace}"): {"dry_run": True},
    ("POST", "/api/v1/grants"): {
        "namespace": "team/sub",
        "roles": ["reader"],
        "subjects": [{"kind": "user", "name": "x"}],
    },
    ("POST", "/api/v1/roles"): {"name": "tester", "actions": ["pull"]},
    ("POST", "/api/v1/users"): {"name": "new"},
    ("PATCH", "/api/v1/users/{user}"): {"description": "new"},
    ("PUT", "/api/v1/users/{user}/password"): {"password": "correct horse battery"},
    ("POST", "/api/v1/users/{user}/tokens"): {},
    ("POST", "/api/v1/users/{user}/tokens/{token}/rotate"): {},
    ("POST", "/api/v1/robots"): {"name": "new", "namespace": "team"},
    ("POST", "/api/v1/robots/{robot}/rotate"): {},
    ("PUT", "/api/v1/schedules/{schedule}"): {"kind": "scrub", "cron": "@yearly"},
    ("PATCH", "/api/v1/schedules/{schedule}"): {"enabled": False},
    ("POST", "/api/v1/collection/runs"): {"dry_run": True},
    ("POST", "/api/v1/runs"): {"kind": "scrub", "settings": {"rate": 1}},
}
QUERIES = {
    "/api/v1/grants": "namespace=team/sub",
    "/api/v1/retention/runs/{namespace}": "run=1",
    "/api/v1/robots": "namespace=team/sub",
    "/api/v1/access/can": "user=ada&action=pull&repository=team/sub/app",
}
HOW = {
    "/api/v1/namespaces/{namespace}": "move_up=true",
    "/api/v1/quotas/{namespace}": "resource=tags",
}
"""Queries of what is removed."""


async def ask(
    registry: Estate, who: str, method: str, path: str, *, query: str = "", body: object = None
) -> Answer:
    sent = b"" if body is None else json.dumps(body).encode()
    kind = "" if body is None else "application/json"
    return await registry.ask(who, method, f"/api/v1{path}", query=query, kind=kind, body=sent)


async def told(registry: Estate, who: str, method: str, path: str, **more: Any) -> Any:
    answer = await ask(registry, who, method, path, **more)
    assert answer.status < 300, answer.body
    return json.loads(answer.body) if answer.body else None


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["errors"][0]["code"])


async def furnished(registry: Estate, visibility: Visibility | None = None) -> dict[str, str]:
    """A nested namespace with a robot, a grant and its staff, and what fields stand for."""
    for name in ("team", "team/sub"):
        await registry.namespaces.create(name, by="test", visibility=visibility)
    await registry.staff("team")
    await told(registry, ROOT, "POST", "/users", body={"name": "ada"})
    token = await told(registry, ROOT, "POST", "/users/ada/tokens", body={})
    robot = {"name": "ci", "namespace": "team/sub"}
    await told(registry, ROOT, "POST", "/robots", body=robot)
    await told(registry, ROOT, "POST", "/roles", body={"name": "unused", "actions": ["pull"]})
    schedule = {"kind": "scrub", "cron": "@yearly"}
    await told(registry, ROOT, "PUT", "/schedules/yearly", body=schedule)
    run = await told(registry, ROOT, "POST", "/retention/runs/team/sub", body={})
    assert run["id"] == 1
    (grant,) = await registry.give(made("team/sub", "user:ada", "reader"))
    await told(registry, ROOT, "PUT", "/retention/policies/team/sub", body={"rules": []})
    for made_of, tag in (
        ("app", "latest"),
        ("app", "moved"),
        ("other", "moved"),
        ("app", "one"),
        ("app", "two"),
        ("app", "three"),
    ):
        assert (await registry.push("team/sub/app", image(made_of), tag=tag)).status == 201
    assert (await registry.push("team/held", image("held"), tag="held")).status == 201
    body: object = {"namespace": "team/sub", "tags": "never*"}
    assert (await told(registry, ROOT, "POST", "/protections", body=body))["id"] == 1
    body = {"repository": "team/held", "reference": "held", "reason": "a test"}
    assert (await told(registry, ROOT, "POST", "/holds", body=body))["id"] == 1
    for tag in ("one", "two"):
        path = f"/v2/team/sub/app/manifests/{tag}"
        assert (await registry.ask(ROOT, "DELETE", path)).status == 202
    return {
        "{repository}": "team/sub/app",
        "{namespace}": "team/sub",
        "{robot}": "robot$team/sub+ci",
        "{grant}": str(grant),
        "{protection}": "1",
        "{hold}": "1",
        "{user}": "ada",
        "{token}": str(token["id"]),
        "{role}": "unused",
        "{schedule}": "yearly",
        "{run}": str(run["id"]),
        "{subject}": "2001:db8::/64",
    }


def expected(route: Route, role: str, visibility: Visibility = "private") -> set[int]:
    """The statuses that somebody may get who has a role in the namespace above."""
    if route.action is Action.CONNECT or (
        route.action is Action.LIST and not route.path.count("{")
    ):
        return {200}
    if role == ROOT:
        return {200, 201, 204} | ({404} if "{subject}" in route.path else set())
    seen = visibility != "private" and role != "denied"
    may = STAFF[role] | (SEEING if seen else set())
    if route.action in may:
        return {200, 201, 204}
    if not is_inside(route):
        return {403}
    return {403} if Action.LIST in may and "{grant}" not in route.path else {404}


def is_inside(route: Route) -> bool:
    """Whether it is about the namespace or something in it."""
    fields = ("{namespace}", "{repository}", "{robot}", "{grant}", "{protection}", "{hold}")
    inside = {
        ("POST", "/api/v1/namespaces"),
        ("POST", "/api/v1/grants"),
        ("POST", "/api/v1/robots"),
        ("POST", "/api/v1/protections"),
        ("POST", "/api/v1/holds"),
        ("POST", "/api/v1/trash/restore"),
        ("POST", "/api/v1/trash/empty"),
    }
    named = any(field in route.path for field in fields)
    return named or route.path in QUERIES or (route.method, route.path) in inside


async def walk(
    registry: Estate, role: str, fields: dict[str, str], visibility: Visibility = "private"
) -> None:
    """Ask for everything; what is removed is asked for last, so that the others find it."""
    order = sorted(
        ROUTES,
        key=lambda route: (
            route.method == "DELETE",
            route.path == "/api/v1/namespaces/{namespace}",
            "{namespace}" in route.path,
            -len(route.path),
        ),
    )
    for route in order:
        path = route.path
        for field, value in fields.items():
            path = path.replace(field, value)
        queries = {"GET": QUERIES, "DELETE": HOW}.get(route.method, {})
        answer = await ask(
            registry,
            role,
            route.method,
            path.removeprefix("/api/v1"),
            query=queries.get(route.path, ""),
            body=MAKES.get((route.method, route.path)),
        )
        what = f"{role}: {route.method} {route.path}: {answer.body!r}"
        wanted = expected(route, role, visibility)
        assert answer.status in wanted, what
        if wanted == {200} and not is_inside(route):
            seen = role == ROOT or expected(A_LIST, role, visibility) == {200, 201, 204}
            assert seen or b"team" not in answer.body, what


@pytest.mark.anyio
@pytest.mark.parametrize("visibility", ["private", "internal", "public"])
@pytest.mark.parametrize("role", ["operator", "admin", ROOT])
async def test_every_route_for_every_role(estate: Open, role: str, visibility: Visibility) -> None:
    async with estate(*STAFF) as registry:
        await walk(registry, role, await furnished(registry, visibility), visibility)


@pytest.mark.anyio
@pytest.mark.parametrize("visibility", ["private", "internal", "public"])
async def test_every_route_for_everybody_else(estate: Open, visibility: Visibility) -> None:
    """Who changes nothing in there by it, so that the next one finds the same: roles that may only
    look, custom ones, grants with an end, that have ended, that are denied, or for something else.
    """
    others = [role for role in STAFF if role not in {"operator", "admin"}]
    async with estate(*STAFF) as registry:
        fields = await furnished(registry, visibility)
        for role in sorted(others, key="keeper".__eq__):
            await walk(registry, role, fields, visibility)


@pytest.mark.anyio
async def test_nobody_gets_in_without_credentials(estate: Open) -> None:
    async with estate("none") as registry:
        for route in ROUTES:
            path = route.path.removeprefix("/api/v1")
            assert (await ask(registry, "", route.method, path)).status == 401, route
        assert (await ask(registry, "", "GET", "/openapi.json")).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    "method, path, body",
    [
        ("GET", "/namespaces/{}", None),
        ("PATCH", "/namespaces/{}", {"description": "x"}),
        ("DELETE", "/namespaces/{}/sub", None),
        ("GET", "/robots/robot${}+ci", None),
        ("POST", "/robots/robot${}+ci/rotate", {}),
        ("POST", "/grants", {"namespace": "{}", "roles": ["admin"]}),
        ("GET", "/grants?namespace={}", None),
    ],
)
async def test_what_may_not_be_seen_does_not_exist(
    estate: Open, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """The same answer to the last byte, whether there is such a namespace or not."""
    async with estate("none") as registry:
        await registry.namespaces.create("here", by="test")
        await told(registry, ROOT, "POST", "/robots", body={"name": "ci", "namespace": "here"})
        answers = []
        for name in ("here", "nope"):
            filled = body
            if body and "namespace" in body:
                filled = {**body, "namespace": name}
            where, _, query = path.replace("{}", name).partition("?")
            answers.append(await ask(registry, "none", method, where, query=query, body=filled))
        here, nope = answers
        assert here.status == nope.status == 404
        assert here.body == nope.body.replace(b"nope", b"here")


@pytest.mark.anyio
async def test_lists_hold_what_may_be_seen(estate: Open) -> None:
    async with estate("reader", "none") as registry:
        await furnished(registry)
        seen = await told(registry, "reader", "GET", "/namespaces")
        assert [entry["name"] for entry in seen["items"]] == ["team", "team/sub"]
        assert (await told(registry, "none", "GET", "/namespaces"))["items"] == []
        await registry.namespaces.change("team/sub", by="test", visibility="internal")
        seen = await told(registry, "none", "GET", "/namespaces")
        assert [entry["name"] for entry in seen["items"]] == ["team/sub"]


@pytest.mark.anyio
async def test_a_limited_secret_makes_no_unlimited_one(estate: Open) -> None:
    """Not even of one's own; an unlimited one may, and then acts for its owner."""
    async with estate() as registry:
        await told(registry, ROOT, "POST", "/users", body={"name": "ada"})
        path, statuses = "/users/ada/tokens", []
        for scopes in (["**:pull,administer,members"], []):
            token = await told(registry, ROOT, "POST", path, body={"scopes": scopes})
            answer = await registry.site.ask(
                "POST",
                f"/api/v1{path}",
                query=b"",
                headers=(
                    (b"authorization", basic("ada", token["secret"]).encode()),
                    (b"content-type", b"application/json"),
                ),
                body=b"{}",
            )
            statuses.append(answer.status)
        assert statuses == [403, 201]


@pytest.mark.anyio
async def test_nobody_gives_more_than_they_have(estate: Open) -> None:
    async with estate("boss") as registry:
        await registry.namespaces.create("team", by="test")
        await told(registry, ROOT, "POST", "/roles", body={"name": "chief", "actions": ["members"]})
        await registry.give(made("team", "user:boss", "chief"))
        body = {
            "namespace": "team",
            "roles": ["admin"],
            "subjects": [{"kind": "user", "name": "x"}],
        }
        answer = await ask(registry, "boss", "POST", "/grants", body=body)
        assert (answer.status, code(answer)) == (403, "DENIED")
        answer = await ask(registry, "boss", "POST", "/grants", body={**body, "roles": ["chief"]})
        assert answer.status == 201


@pytest.mark.anyio
async def test_nobody_gets_more_by_a_robot(estate: Open) -> None:
    """Neither by another secret of one that may more, nor by one that is called like it."""
    async with estate("operator") as registry:
        await registry.namespaces.create("team", by="test")
        await registry.give(made("team", "user:operator", "operator"))
        statuses = []
        for name, role in (("weak", "developer"), ("strong", "admin")):
            robot = {"name": name, "namespace": "team"}
            await told(registry, ROOT, "POST", "/robots", body=robot)
            await registry.give(made("team", f"robot:robot$team+{name}", role))
            path = f"/robots/robot$team+{name}/rotate"
            statuses.append((await ask(registry, "operator", "POST", path, body={})).status)
        await registry.give(made("", "robot:robot$team+later", "reader"))
        later = {"name": "later", "namespace": "team"}
        statuses.append((await ask(registry, "operator", "POST", "/robots", body=later)).status)
        statuses.append((await ask(registry, ROOT, "POST", "/robots", body=later)).status)
        assert statuses == [201, 403, 403, 201]


@pytest.mark.anyio
async def test_questions_about_others_are_for_members_admins(estate: Open) -> None:
    """And they learn of the groups of somebody only those that matter there."""
    async with estate("none", "admin") as registry:
        await registry.namespaces.create("team", by="test")
        await registry.give(made("team", "user:admin", "admin"), made("team", "group:g", "reader"))
        body = {"name": "ada", "groups": ["g", "secret"]}
        await told(registry, ROOT, "POST", "/users", body=body)
        own = "action=pull&repository=team/app"
        mine = await told(registry, "none", "GET", "/access/can", query=own)
        assert (mine["allowed"], mine["who"]) == (False, "none")
        asked = f"user=ada&{own}"
        answer = await ask(registry, "none", "GET", "/access/can", query=asked)
        assert (answer.status, code(answer)) == (404, "OBJECT_UNKNOWN")
        verdict = await told(registry, "admin", "GET", "/access/can", query=asked)
        assert (verdict["allowed"], verdict["groups"]) == (True, ["g"])
        verdict = await told(registry, ROOT, "GET", "/access/can", query=asked)
        assert verdict["groups"] == ["g", "secret"]


@pytest.mark.anyio
async def test_without_access_control_there_is_no_api(estate: Open) -> None:
    async with estate("none", text="access: {enabled: false}\n") as registry:
        for route in ROUTES:
            path = route.path.removeprefix("/api/v1")
            answer = await ask(registry, "none", route.method, path)
            assert (answer.status, code(answer)) == (403, "DENIED"), route


@pytest.mark.anyio
async def test_who_one_is(estate: Open) -> None:
    async with estate("none") as registry:
        me = await told(registry, "none", "GET", "/whoami")
        assert (me["name"], me["kind"], me["administrator"]) == ("none", "user", False)
        assert me["method"] != LOCAL
        assert (await told(registry, ROOT, "GET", "/whoami"))["administrator"]
