"""The table of routes: deny by default, and every path means one thing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.api.asgi import Application
from entrepot.api.errors import STATUS
from entrepot.api.route import Route
from entrepot.api.routes import TABLE, Router
from entrepot.core import errors
from entrepot.core.access import Action
from entrepot.core.errors import ProtocolError
from tests.unit.api.conftest import running
from tests.unit.identity.credentials import basic, hash_of, write_users

DIGEST = "sha256:" + "a" * 64
UPLOAD = "11111111-2222-4333-8444-555555555555"
FIELDS = {
    "{name}": "a/b",
    "{reference}": "latest",
    "{digest}": DIGEST,
    "{upload}": UPLOAD,
    "{namespace}": "team/x",
    "{robot}": "robot$team/x+ci",
    "{subject}": "2001:db8::/64",
    "{user}": "somebody",
    "{role}": "tester",
    "{grant}": "1",
    "{token}": "1",
}
PROBES = {"/", "/livez", "/readyz", "/v2", "/api/v1/openapi.json"}
CHANGING = {
    Action.TAG,
    *(Action.PUSH, Action.DELETE, Action.SETTINGS, Action.MEMBERS, Action.ROBOTS),
    Action.RETENTION,
}
NAMES = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)?(/[a-z0-9]+){0,3}", fullmatch=True).filter(
    str.isascii
)


def path_of(route: Route) -> str:
    """A path that the route answers."""
    path = route.path
    for field, value in FIELDS.items():
        path = path.replace(field, value)
    return path


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_every_route_has_an_action_a_handler_and_a_label() -> None:
    for route in TABLE:
        assert isinstance(route.action, Action), route
        assert callable(route.handler), route
        assert route.label, route
    assert len({(route.method, route.path) for route in TABLE}) == len(TABLE)


def test_only_probes_need_no_permission() -> None:
    """What anybody may ask says nothing of the registry's content."""
    assert {route.path for route in TABLE if route.action is Action.PROBE} == PROBES
    assert all(route.method == "GET" for route in TABLE if route.action is Action.PROBE)


def test_what_changes_content_needs_a_right_to_change() -> None:
    for route in TABLE:
        if route.method not in {"GET", "HEAD"}:
            assert route.action in CHANGING | {Action.ADMINISTER, Action.LOGIN}, route


def test_whoever_logs_in_is_told_apart_by_the_handler() -> None:
    """These routes show nothing of the registry's content, and are all below one path."""
    for route in TABLE:
        assert (route.action is Action.LOGIN) == route.path.startswith("/auth/"), route


@pytest.mark.parametrize("route", TABLE, ids=named)
def test_every_route_is_found(route: Route) -> None:
    for prefix in ("", "/private/registry"):
        match = Router(prefix=prefix).match(prefix + path_of(route))
        assert match is not None
        assert match.routes[route.method] is route
        assert len(match.fields) == route.path.count("{")


@settings(deadline=None)
@given(name=NAMES, route=st.sampled_from([r for r in TABLE if "{name}" in r.path]))
def test_the_name_is_what_comes_before_the_last_keyword(name: str, route: Route) -> None:
    match = Router().match(path_of(route).replace("a/b", name, 1))
    assert match is not None
    assert match.fields[0] == name
    assert match.routes[route.method] is route


@pytest.mark.parametrize("word", ["list", "tags", "uploads", "blobs", "manifests", "referrers"])
def test_words_of_the_table_are_good_tags_and_names(word: str) -> None:
    """A tag may be called `list`, and a repository may end in `/tags`."""
    for route in TABLE:
        path = path_of(route).replace("a/b", f"a/{word}", 1).replace("latest", word)
        match = Router().match(path)
        assert match is not None, path
        assert match.routes[route.method] is route, path


@settings(deadline=None)
@given(st.text("/av2_catalogmanifestsblobsuploads.%{}", max_size=40))
def test_any_path_is_a_route_or_none(path: str) -> None:
    match = Router().match(path)
    assert match is None or match.routes


@pytest.mark.parametrize(
    "path", ["/v2/a/manifests/latest", "/registry", "/registryv2/", "/private/registry/v3/", ""]
)
def test_other_prefixes_are_not_found(path: str) -> None:
    assert Router(prefix="/private/registry").match(path) is None


def test_every_error_has_a_status() -> None:
    """The table in `api.errors` is complete, and in the range of errors."""

    def below(kind: type[ProtocolError]) -> set[type[ProtocolError]]:
        return {kind, *(found for child in kind.__subclasses__() for found in below(child))}

    known = {kind for kind in below(errors.ProtocolError) if kind.__module__ == errors.__name__}
    assert known - {errors.ProtocolError} == set(STATUS)
    assert all(400 <= status < 600 for status in STATUS.values())


# Without credentials ----------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path) -> str:
    """The `auth` section for one user, alice, with the password `wonderland`."""
    path = tmp_path / "htpasswd"
    write_users(path, b"alice:" + hash_of("wonderland"))
    limits = "limits: {attempts: 1000, addressattempts: 1000}"
    return f"auth: {{htpasswd: {{realm: test, path: {path}}}, {limits}}}"


def test_every_route_with_an_action_asks_for_credentials(
    build: Callable[[str], Application], users: str
) -> None:
    """None of them does anything for a stranger, or for a wrong password; probes answer anybody."""
    application = build(users)
    wrong = ((b"authorization", basic("alice", "mirror").encode()),)

    async def scenario() -> None:
        async with running(application) as site:
            for route in TABLE:
                for headers in ((), wrong):
                    answer = await site.ask(route.method, path_of(route), headers=headers)
                    if route.action is Action.PROBE:
                        assert answer.status in {200, 301}, named(route)
                    elif route.action is Action.LOGIN:
                        assert answer.status == 404, "with an htpasswd file there are no tokens"
                    else:
                        assert answer.status == 401, named(route)
                        assert answer.body.startswith(b'{"errors"') or route.method == "HEAD"
                        assert answer.headers[b"www-authenticate"] == b'Basic realm="test"'

    asyncio.run(scenario())


def test_every_route_serves_who_has_them(build: Callable[[str], Application], users: str) -> None:
    application = build(users)
    right = ((b"authorization", basic("alice", "wonderland").encode()),)

    async def scenario() -> None:
        async with running(application) as site:
            for route in TABLE:
                answer = await site.ask(route.method, path_of(route), headers=right)
                if route.label == "api" and route.action is not Action.PROBE:
                    assert answer.status == 403, "without access control there is no API"
                else:
                    assert answer.status not in {401, 403, 500, 503}, named(route)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "storage, refused",
    [
        ("maintenance: {readonly: {enabled: true}}", {Action.PUSH, Action.DELETE}),
        ("delete: {enabled: false}", {Action.DELETE}),
    ],
)
def test_what_the_configuration_rules_out(
    build: Callable[..., Application], storage: str, refused: set[Action]
) -> None:
    """405 with the reason, on every route of these actions and on no other. Those of the API are
    not there at all without access control.
    """
    application = build("", storage=storage)

    async def scenario() -> None:
        async with running(application) as site:
            for route in TABLE:
                answer = await site.ask(route.method, path_of(route))
                expected = route.action in refused and route.label != "api"
                assert (answer.status == 405) == expected, named(route)
                assert answer.status != 405 or b"reason" in answer.body

    asyncio.run(scenario())
