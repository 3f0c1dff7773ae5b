"""What somebody may not see does not exist over `/api/v1` either: the table of routes is walked."""

from __future__ import annotations

import json
from itertools import product

import pytest

from entrepot.api.route import Route
from entrepot.core.access import Action
from entrepot.core.decision import Visibility
from tests.access.worlds import Estate, Open, made
from tests.api.test_rights import HOW, MAKES, QUERIES, ROUTES, ask, furnished
from tests.unit.api.conftest import Answer

HERE, NOWHERE = "team", "nope"
"""As long as each other, so that answers about them are."""

PLACES = ("{namespace}", "{repository}", "{robot}", "{grant}")


def is_about_a_place(route: Route) -> bool:
    """Whether the path, the query or the body names a namespace, or something in one."""
    named = (
        *(QUERIES.get(route.path, "") if route.method == "GET" else "",),
        json.dumps(MAKES.get((route.method, route.path))),
    )
    return any(field in route.path for field in PLACES) or any(HERE in text for text in named)


WALKED = [route for route in ROUTES if is_about_a_place(route)]


async def send(
    registry: Estate, who: str, route: Route, fields: dict[str, str], place: str
) -> Answer:
    """Ask about what is in `team`, or about the same in a namespace that there is not."""
    path = route.path.removeprefix("/api/v1")
    for field, value in fields.items():
        path = path.replace(field, value)
    query = {"GET": QUERIES, "DELETE": HOW}.get(route.method, {}).get(route.path, "")
    body = json.dumps(MAKES.get((route.method, route.path)))
    if "{grant}" in route.path and place == NOWHERE:
        path = path.replace(fields["{grant}"], "4711")
    told = [text.replace(HERE, place) for text in (path, query, body)]
    return await ask(registry, who, route.method, told[0], query=told[1], body=json.loads(told[2]))


def test_the_walk_knows_the_newer_routes() -> None:
    walked = {route.path.split("/")[3] for route in WALKED}
    assert walked >= {"access", "grants", "namespaces", "quotas", "repositories", "retention"}
    assert len(WALKED) > 20


@pytest.mark.anyio
@pytest.mark.parametrize(
    "who, around, own",
    [
        *product(("none", "elsewhere"), ("private", "internal", "public"), ("private",)),
        ("ended", "internal", "private"),
        ("narrow", "public", "private"),
        ("denied", "private", "public"),
    ],
)
async def test_what_may_not_be_seen_does_not_exist(
    estate: Open, who: str, around: Visibility, own: Visibility
) -> None:
    """The same answer to the last byte and header, whether it is there or not: for somebody without
    rights, or whose rights have ended, are for something else or denied, and for an admin of
    another namespace; also where everything around may be seen.
    """
    async with estate(who) as registry:
        fields = await furnished(registry)
        await registry.namespaces.create("other", by="test")
        await registry.give(made("other", "user:elsewhere", "admin"))
        await registry.namespaces.change("team", by="test", visibility=own)
        await registry.namespaces.change("", by="test", visibility=around)
        for route in WALKED:
            here = await send(registry, who, route, fields, HERE)
            nope = await send(registry, who, route, fields, NOWHERE)
            assert (here.status, nope.status) == (404, 404), (route, here.body, nope.body)
            body = nope.body.replace(NOWHERE.encode(), HERE.encode())
            assert here.body == body.replace(b"4711", fields["{grant}"].encode()), route
            for answer in (here, nope):
                answer.headers.pop(b"content-length", None)  # numbers of grants differ
            assert here.headers == nope.headers, route


@pytest.mark.anyio
@pytest.mark.parametrize("visibility", ["internal", "public"])
async def test_what_is_visible_may_be_looked_at_and_no_more(
    estate: Open, visibility: Visibility
) -> None:
    """Without a role: what says who is in there and what is done is refused, with the reason."""
    async with estate("none") as registry:
        fields = await furnished(registry)
        await registry.namespaces.change("team", by="test", visibility=visibility)
        for route in WALKED:
            answer = await send(registry, "none", route, fields, HERE)
            if route.action in {Action.LIST, Action.PULL}:
                assert answer.status == 200, (route, answer.body)
            else:
                expected = 404 if "{grant}" in route.path else 403
                assert answer.status == expected, (route, answer.body)
