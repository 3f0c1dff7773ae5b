"""What `/api/v1` takes: refusals that say where, pages, limits, conflicts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrepot.api.v1.operation import LARGEST
from tests.access.worlds import ROOT, Open
from tests.api.test_rights import ask, code, told


@pytest.mark.anyio
@pytest.mark.parametrize(
    "method, path, body, says",
    [
        ("POST", "/users", {"name": "ada", "passwrd": "x"}, "unknown field `passwrd`"),
        ("POST", "/users", {"name": 5}, "Expected `str`, got `int` - at `$.name`"),
        ("POST", "/users", {"name": "a\u0000b"}, "at `$.name`"),
        ("POST", "/users", {"name": "a/b"}, "can't be a user's name"),
        ("POST", "/users", {"name": "ada", "password": "x"}, "password"),
        ("POST", "/users", [], "Expected `object`"),
        ("POST", "/namespaces", {"name": "Team"}, "can't be a namespace"),
        ("POST", "/namespaces", {"name": "team", "visibility": "open"}, "$.visibility"),
        ("POST", "/grants", {"namespace": "/", "roles": ["reader"]}, "say who gets the roles"),
        ("POST", "/grants", {"namespace": "/", "roles": []}, "$.roles"),
        (
            "POST",
            "/grants",
            {
                "namespace": "/",
                "roles": ["reader"],
                "repositories": "A",
                "subjects": [{"kind": "user", "name": "x"}],
            },
            "character 1",
        ),
        ("POST", "/roles", {"name": "tester", "actions": ["fly"]}, "'fly' is no action"),
        ("POST", "/robots", {"name": "ci", "scopes": ["**"]}, "write PATTERN:ACTIONS"),
        ("POST", "/robots", {"name": "ci", "expires_in": -1}, "$.expires_in"),
        ("GET", "/users?limit=0", None, "$.limit"),
        ("GET", "/users?limit=1001", None, "$.limit"),
        ("GET", "/users?limit=x", None, "$.limit"),
        ("GET", "/users?n=1", None, "unknown field `n`"),
        ("GET", "/users?after=%00", None, "control characters"),
        ("GET", "/users?after=a&after=b", None, "more than once"),
        ("GET", "/grants?after=x", None, "not the mark of a page"),
        ("GET", "/access/can?action=pull", None, "missing required field `repository`"),
    ],
)
async def test_a_refusal_says_where(
    estate: Open, method: str, path: str, body: Any, says: str
) -> None:
    async with estate() as registry:
        where, _, query = path.partition("?")
        answer = await ask(registry, ROOT, method, where, query=query, body=body)
        assert (answer.status, code(answer)) == (400, "REQUEST_INVALID")
        assert says in json.loads(answer.body)["errors"][0]["detail"]["reason"]


@pytest.mark.anyio
async def test_bodies(estate: Open) -> None:
    """They are JSON, and not endless."""
    async with estate() as registry:
        path = "/api/v1/users"
        answer = await registry.ask(ROOT, "POST", path, kind="text/plain", body=b"{}")
        assert (answer.status, code(answer)) == (400, "REQUEST_INVALID")
        for body in (b"", b"{", b'"\xff"', b"[" * 30_000):
            answer = await registry.ask(ROOT, "POST", path, kind="application/json", body=body)
            assert (answer.status, code(answer)) == (400, "REQUEST_INVALID"), body[:10]
        answer = await registry.ask(
            ROOT, "POST", path, kind="application/json", body=b" " * (LARGEST + 1)
        )
        assert (answer.status, code(answer)) == (413, "REQUEST_INVALID")


@pytest.mark.anyio
async def test_pages(estate: Open) -> None:
    """Each leads to the next one until all have come, none twice, in their order."""
    async with estate() as registry:
        names = [f"user{number}" for number in range(5)]
        for name in names:
            await told(registry, ROOT, "POST", "/users", body={"name": name})
            await told(registry, ROOT, "POST", "/robots", body={"name": name})
            await told(registry, ROOT, "POST", "/namespaces", body={"name": name})
            await told(
                registry, ROOT, "POST", "/grants", body={"namespace": name, "roles": ["reader"]}
            )
        for path, key, count in (
            ("/users", "name", 5),
            ("/robots", "name", 5),
            ("/namespaces", "name", 6),
            ("/grants", "id", 5),
        ):
            found, link = [], f"/api/v1{path}?limit=2"
            for _ in range(-(-count // 2)):
                where, _, query = link.removeprefix("/api/v1").partition("?")
                page = await told(registry, ROOT, "GET", where, query=query)
                found += [entry[key] for entry in page["items"]]
                link = page["next"] or ""
            assert link == ""
            assert len(found) == count
            assert found == sorted(set(found))


@pytest.mark.anyio
async def test_conflicts(estate: Open) -> None:
    async with estate() as registry:
        makes: list[tuple[str, dict[str, Any]]] = [
            ("/users", {"name": "ada"}),
            ("/namespaces", {"name": "team"}),
            ("/roles", {"name": "tester", "actions": ["pull"]}),
            ("/robots", {"name": "ci", "namespace": "team"}),
        ]
        for path, body in makes:
            assert (await ask(registry, ROOT, "POST", path, body=body)).status == 201
            answer = await ask(registry, ROOT, "POST", path, body=body)
            assert (answer.status, code(answer)) == (409, "CONFLICT")
        answer = await ask(registry, ROOT, "DELETE", "/namespaces/team")
        assert (answer.status, code(answer)) == (409, "CONFLICT")
        await told(registry, ROOT, "PATCH", "/users/ada", body={"administrator": True})
        answer = await ask(registry, ROOT, "DELETE", "/users/ada")
        assert (answer.status, code(answer)) == (409, "CONFLICT"), "the last administrator"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "/users/nobody",
        "/robots/robot$nope",
        "/grants/7",
        "/grants/x",
        "/grants/99999999999999999999",
    ],
)
async def test_what_is_not_there(estate: Open, path: str) -> None:
    async with estate() as registry:
        answer = await ask(registry, ROOT, "GET", path)
        assert (answer.status, code(answer)) == (404, "OBJECT_UNKNOWN")
        assert answer.headers.get(b"content-type") == b"application/json"


@pytest.mark.anyio
async def test_secrets_are_shown_once_and_never_kept(estate: Open) -> None:
    async with estate() as registry:
        answer = await ask(registry, ROOT, "POST", "/robots", body={"name": "ci"})
        assert answer.headers[b"cache-control"] == b"no-store"
        secret = json.loads(answer.body)["secret"]
        assert secret.startswith("entr_rob_")
        rotated = await told(registry, ROOT, "POST", "/robots/robot$ci/rotate", body={"overlap": 0})
        assert rotated["secret"] != secret
        shown = await ask(registry, ROOT, "GET", "/robots/robot$ci")
        assert secret.encode() not in shown.body
        assert rotated["secret"].encode() not in shown.body
        (row,) = await registry.stores.index.fetch_all(
            "SELECT COUNT(*) FROM audit_events WHERE detail LIKE '%entr_rob%'", {}
        )
        assert row[0] == 0
