"""Nothing writes without an event: neither in the source, nor by any route; and nothing is refused
without one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import entrepot
from entrepot.api.routes import TABLE
from entrepot.core.access import Action
from entrepot.core.audit import Record
from tests.access.worlds import ROOT, SECOND, Estate, Open, made
from tests.api.test_rights import HOW, MAKES, QUERIES, ask, furnished
from tests.unit.identity.credentials import basic
from tests.wire.images import image

SOURCE = Path(entrepot.__file__).parent
WRITES = {"write", "write_lazily"}
BY_ITSELF = {
    "services/accounts.py rehash": "another hash of the same password",
    "services/audit.py flush": "the events themselves",
    "services/audit.py write": "what the trail does",
    "services/audit.py write_lazily": "what the trail does",
    "services/checkpoints.py prune": "a signed checkpoint says what is gone",
    "services/checkpoints.py sign": "the checkpoints themselves",
    "services/collecting.py let_go": "which process collects",
    "services/collecting.py hold": "which process collects",
    "services/exports.py _cutoff": "how far an export is",
    "services/exports.py export_layout": "how far an export is",
    "services/guarding.py add": "failed logins are noted one by one, and so are locks",
    "services/guarding.py clear": "forgets failed logins at one that is noted",
    "services/imports.py _write": "how far an import is; its begin and its end are noted",
    "services/maintenance.py _mark_synced": "blobs are durable",
    "services/maintenance.py forget_old_uploads": "uploads that ended long ago",
    "services/maintenance.py recover": "which run of the machine this is",
    "services/ownership.py check_owner": "which index this is, asked for the first time",
    "services/passing.py _ask_for": "what is to be looked at; that it was asked for is noted",
    "services/pull.py _keep_blob": "somebody was told of a blob, which stays a while longer",
    "services/pull.py _keep_manifest": "and of a manifest",
    "services/pulls.py write": "how often manifests are pulled",
    "services/quotas.py forget_counted": "without a quota nothing is counted; its end is noted",
    "services/recounting.py": "how much is used, counted again; a sum that was wrong is noted",
    "services/removing.py delete": "objects whose collection is noted are deleted",
    "services/removing.py forget": "that objects were deleted some time ago",
    "services/removing.py take_over": "who deletes objects",
    "services/sweeping.py _links": "what is to be looked at",
    "services/sweeping.py _write": "how far sweeps are",
    "services/takeover.py take_over": "indexes what registry:2 left, when it is asked for",
    "services/takeover.py take_over_blob": "indexes what registry:2 left",
    "services/timekeeping.py tell_time": "what the clock said",
    "services/upload_sessions.py remove": "how far an upload is",
    "services/upload_sessions.py save": "how far an upload is",
    "services/uploads.py _end": "an upload ends of which nothing comes",
    "services/uses.py write": "when secrets were last used; logins are noted",
    "services/work.py": "which process does what; what came of it is noted",
}
"""Who writes past the trail, and why nobody needs an event of it."""


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give the functions of a module and the methods of its classes, and not what is in them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node)


def _owner(node: ast.Attribute) -> str:
    """Return on what a method is called: `index` of `self._index.write`."""
    owner = node.value
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    return name.lstrip("_")


def _writing(owner: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Give the functions above the index that write by `owner`."""
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if place.startswith("db/"):
            continue
        for function in _functions(ast.parse(path.read_text())):
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Attribute)
                    and node.attr in WRITES
                    and _owner(node) == owner
                ):
                    yield f"{place} {function.name}", function
                    break


def test_who_writes_without_an_event_says_why() -> None:
    """A new transaction goes through the trail, or gets a line here with its reason."""
    writing = {place for place, _ in _writing("index")}
    modules = {place.partition(" ")[0] for place in writing}
    silent = [place for place in writing if not {place, place.partition(" ")[0]} & set(BY_ITSELF)]
    assert silent == [], "use trail.write, or say in BY_ITSELF why nobody needs to know"
    assert [place for place in BY_ITSELF if place not in writing | modules] == []


def test_who_writes_by_the_trail_says_what() -> None:
    """The transaction that is given to it uses its notes."""
    silent = []
    for place, function in _writing("trail"):
        inner = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.AsyncFunctionDef) and node is not function
        ]
        told = {
            name.id
            for each in inner
            for name in ast.walk(each)
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)
        }
        if "notes" not in told:
            silent.append(place)
    assert silent == []


async def _records(registry: Estate, who: str, outcome: str) -> list[Record]:
    """What was done, the newest first, but for logins."""
    await registry.stores.trail.flush()
    page = await registry.application._context.accounts.audit.search(
        {"actor": who, "outcome": outcome}, since=0, until=2**62, limit=1000
    )
    return [found.record for found in page.found if found.record.action != "login"]


async def _events(registry: Estate, who: str, outcome: str) -> int:
    return len(await _records(registry, who, outcome))


def _is_whole(record: Record, registry: Estate) -> bool:
    """Whether it says who, by which credential, from where, when, in which request, and why."""
    said = (record.method, record.request_id, record.reason, record.node)
    known = (record.actor_kind, record.address) == ("user", "127.0.0.1")
    age = registry.stores.now() - record.occurred_at
    return known and all(said) and 0 <= age < 600 * SECOND


@pytest.mark.anyio
async def test_every_route_that_changes_something(estate: Open) -> None:
    """As somebody who may: each is a success with an event, of whom and of what."""
    async with estate("reader", "developer", "operator", "admin") as registry:
        fields = {**await furnished(registry), "{subject}": "eve"}
        wrong = ((b"authorization", basic("eve", "wrong").encode()),)
        assert (await registry.site.ask("GET", "/v2/", headers=wrong)).status == 401
        routes = [
            route
            for route in TABLE
            if route.path.startswith("/api/v1") and route.method not in {"GET", "HEAD"}
        ]
        routes.sort(
            key=lambda route: (
                route.method == "DELETE",
                route.path == "/api/v1/namespaces/{namespace}",
                "{namespace}" in route.path,
                -len(route.path),
            )
        )
        for route in routes:
            path = route.path
            for field, value in fields.items():
                path = path.replace(field, value)
            before = await _events(registry, ROOT, "success")
            answer = await ask(
                registry,
                ROOT,
                route.method,
                path.removeprefix("/api/v1"),
                query=HOW.get(route.path, "") if route.method == "DELETE" else "",
                body=MAKES.get((route.method, route.path)),
            )
            assert answer.status < 300, (route, answer.body)
            records = await _records(registry, ROOT, "success")
            assert len(records) > before, route
            assert all(_is_whole(each, registry) for each in records[: len(records) - before]), (
                route,
                records,
            )


@pytest.mark.anyio
async def test_what_is_done_with_content(estate: Open) -> None:
    """By the grant that allows it, if there is one; a blob alone is recorded where that is asked
    for, and an upload that ends of which nothing comes is not.
    """
    pushed = image("recorded")
    blob, kind = pushed.blobs[0], pushed.manifest.media_type
    async with estate("operator", text="audit: {blobs: true, pulls: true}\n") as registry:
        await registry.namespaces.create("team", by="test")
        (grant,) = await registry.give(made("team", "user:operator", "operator"))
        uploads, manifests = "/v2/team/a/blobs/uploads/", "/v2/team/a/manifests"
        mount, manifest = f"mount={blob.digest}&from=team/a", pushed.manifest.data
        expected: list[tuple[str, str, str, bytes, str]] = [
            *(
                ("POST", uploads, f"digest={each.digest}", each.data, "blob.push")
                for each in pushed.blobs
            ),
            ("POST", "/v2/team/b/blobs/uploads/", mount, b"", "blob.mount"),
            ("PUT", f"{manifests}/1", "", manifest, "manifest.push"),
            ("GET", f"{manifests}/1", "", b"", "manifest.pull"),
            ("DELETE", f"{manifests}/1", "", b"", "tag.delete"),
            ("DELETE", f"{manifests}/{pushed.digest}", "", b"", "manifest.delete"),
            ("DELETE", f"/v2/team/b/blobs/{blob.digest}", "", b"", "blob.delete"),
        ]
        for method, path, query, body, action in expected:
            before = await _events(registry, "operator", "success")
            answer = await registry.ask(
                "operator", method, path, query=query, body=body, kind=kind if body else ""
            )
            assert answer.status < 300, (path, answer.body)
            records = await _records(registry, "operator", "success")
            (new,) = records[: len(records) - before]
            assert (new.action, new.grant_id, new.repository) == (action, grant, path[4:10])
            assert _is_whole(new, registry), new


@pytest.mark.anyio
async def test_every_refusal(estate: Open) -> None:
    """As somebody who is known and may not: on every route that needs a right."""
    async with estate("reader", "developer", "operator", "admin", "none") as registry:
        fields = {
            **await furnished(registry),
            "{name}": "team/app",
            "{reference}": "v1",
            "{digest}": f"sha256:{'0' * 64}",
            "{upload}": "0" * 32,
        }
        refused = 0
        for route in TABLE:
            if route.action in {Action.PROBE, Action.LOGIN, Action.CONNECT}:
                continue
            path = route.path
            for field, value in fields.items():
                path = path.replace(field, value)
            before = await _events(registry, "none", "denied")
            body = MAKES.get((route.method, route.path))
            query = {"GET": QUERIES, "DELETE": HOW}.get(route.method, {}).get(route.path, "")
            if path.startswith("/api/v1"):
                where = path.removeprefix("/api/v1")
                answer = await ask(registry, "none", route.method, where, query=query, body=body)
            else:
                answer = await registry.ask("none", route.method, path)
            if answer.status < 400:
                assert route.action is Action.LIST, route  # a list holds what may be seen
                continue
            refused += 1
            assert answer.status in {401, 403, 404}, (route, answer.status)
            assert await _events(registry, "none", "denied") == before + 1, route
        assert refused > 40


@pytest.mark.anyio
async def test_whoever_gives_more_than_they_have_is_noted(estate: Open) -> None:
    """Also what is refused after the action itself was allowed."""
    async with estate("boss") as registry:
        await registry.namespaces.create("team", by="test")
        role = {"name": "chief", "actions": ["members"]}
        assert (await ask(registry, ROOT, "POST", "/roles", body=role)).status == 201
        await registry.give(made("team", "user:boss", "chief"))
        body = {
            "namespace": "team",
            "roles": ["admin"],
            "subjects": [{"kind": "user", "name": "boss"}],
        }
        assert (await ask(registry, "boss", "POST", "/grants", body=body)).status == 403
        await registry.stores.trail.flush()
        page = await registry.application._context.accounts.audit.search(
            {"actor": "boss", "outcome": "denied"}, since=0, until=2**62, limit=9
        )
        (denied,) = (found.record for found in page.found)
        assert (denied.action, denied.target) == ("api.members", "/api/v1/grants")
        assert denied.reason.startswith("the role admin is more: ")


@pytest.mark.anyio
async def test_locks_are_noted(estate: Open) -> None:
    """With how many failures there were."""
    async with estate() as registry:
        wrong = ((b"authorization", basic("eve", "wrong").encode()),)
        for _ in range(10):
            await registry.site.ask("GET", "/v2/", headers=wrong)
        await registry.stores.trail.flush()
        page = await registry.application._context.accounts.audit.search(
            {"action": "login.lock"}, since=0, until=2**62, limit=9
        )
        (locked,) = (found.record for found in page.found)
        assert (locked.actor, locked.outcome) == ("eve", "denied")
        assert locked.detail == '{"failures":10,"seconds":1}'
