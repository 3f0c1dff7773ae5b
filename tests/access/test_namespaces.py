"""The tree of namespaces, and which repository is in which."""

from __future__ import annotations

import pytest

from entrepot.core.decision import AccessError, AccessUnknownError
from entrepot.core.names import RepositoryName
from entrepot.db.engine import Transaction
from entrepot.db.namespaces import find_namespace
from entrepot.db.repositories import ensure_repository
from entrepot.services.robots import Lifetimes, Robots
from tests.access.worlds import Rights, made

pytestmark = pytest.mark.anyio


async def push(rights: Rights, *names: str) -> None:
    async def work(transaction: Transaction) -> None:
        for name in names:
            await ensure_repository(transaction, RepositoryName(name), now=0)

    await rights.index._index.write(work)


async def places(rights: Rights) -> dict[str, str]:
    """The namespace of every repository."""
    rows = await rights.index.fetch_all(
        "SELECT r.name, n.name FROM repositories r JOIN namespaces n ON n.id = r.namespace_id", {}
    )
    return dict(rows)


async def parent(rights: Rights, name: str) -> str:
    row = await rights.index.fetch_one(
        "SELECT p.name FROM namespaces n JOIN namespaces p ON p.id = n.parent_id"
        " WHERE n.name = :name",
        {"name": name},
    )
    assert row is not None
    return str(row[0])


async def test_a_repository_is_in_the_nearest_namespace(rights: Rights) -> None:
    """When it is made, when a namespace is put between, and when that goes again."""
    for name in ("team", "team/a/b"):
        await rights.namespaces.create(name, by="test")
    await push(rights, "app", "team", "team/x", "team/a/y", "team/a/b/z", "team-b/x", "teams")
    before = {
        "app": "",
        "team": "team",
        "team/x": "team",
        "team/a/y": "team",
        "team/a/b/z": "team/a/b",
        "team-b/x": "",
        "teams": "",
    }
    assert await places(rights) == before
    await rights.namespaces.create("team/a", by="test")
    assert await places(rights) == before | {"team/a/y": "team/a"}
    assert await parent(rights, "team/a/b") == "team/a"
    assert await parent(rights, "team/a") == "team"
    assert await rights.namespaces.delete("team/a", by="test", move_up=True) == "team"
    assert await places(rights) == before
    assert await parent(rights, "team/a/b") == "team"


async def test_one_with_something_in_it_is_not_deleted_by_accident(rights: Rights) -> None:
    for name in ("team", "empty", "outer", "outer/inner"):
        await rights.namespaces.create(name, by="test")
    await push(rights, "team/x")
    with pytest.raises(AccessError, match=r"has 1 repositories and 0 namespaces .* root namespace"):
        await rights.namespaces.delete("team", by="test")
    with pytest.raises(AccessError, match="has 0 repositories and 1 namespaces"):
        await rights.namespaces.delete("outer", by="test")
    assert await rights.namespaces.delete("empty", by="test") == ""
    assert await rights.namespaces.delete("team", by="test", move_up=True) == ""
    assert await places(rights) == {"team/x": ""}
    assert await find_namespace(rights.index, "team") is None


async def test_its_grants_go_with_it(rights: Rights) -> None:
    await rights.namespaces.create("team", by="test")
    await rights.give(made("team", "user:alice", "reader"))
    await rights.namespaces.delete("team", by="test")
    assert [grant async for grant in rights.grants.list()] == []
    await rights.namespaces.create("team", by="test")
    assert [grant async for grant in rights.grants.list("team")] == []


async def test_one_with_robots_is_not_deleted(rights: Rights) -> None:
    """Their secrets would be gone, and the jobs that use them would not know why."""
    await rights.namespaces.create("team", by="test")
    robots = Robots(
        rights.index._index, now=rights.clock, lifetimes=Lifetimes(overlap=60, longest=0)
    )
    await robots.create("team", "ci", by="test")
    with pytest.raises(AccessError, match=r"robot\$team\+ci is in namespace team: revoke it"):
        await rights.namespaces.delete("team", by="test", move_up=True)
    await rights.give(made("team", "robot:robot$team+ci", "reader"))
    await robots.revoke("robot$team+ci", by="test")
    assert [grant async for grant in rights.grants.list()] == [], "for whoever has the name next"
    await rights.namespaces.delete("team", by="test")


async def test_the_root_stays(rights: Rights) -> None:
    for name in ("", "/"):
        with pytest.raises(AccessError, match="root"):
            await rights.namespaces.delete(name, by="test", move_up=True)
        with pytest.raises(AccessError, match="already"):
            await rights.namespaces.create(name, by="test")
        with pytest.raises(AccessError, match="nothing above"):
            await rights.namespaces.change(name, by="test", visibility=None)
    await rights.namespaces.change("/", by="test", visibility="internal")
    (root,) = await rights.namespaces.list()
    assert (root.visibility, root.parent) == ("internal", None)


async def test_what_is_wrong_is_refused(rights: Rights) -> None:
    await rights.namespaces.create("team", by="test")
    with pytest.raises(AccessError, match="already"):
        await rights.namespaces.create("team", by="test")
    with pytest.raises(AccessError, match="can't be a namespace"):
        await rights.namespaces.create("Team!", by="test")
    for name in ("nope", "team/nope"):
        with pytest.raises(AccessUnknownError, match=f"there is no namespace {name}"):
            await rights.namespaces.change(name, by="test", description="x")
        with pytest.raises(AccessUnknownError):
            await rights.namespaces.delete(name, by="test")
        with pytest.raises(AccessUnknownError):
            await rights.namespaces.find(name)


async def test_settings_are_inherited(rights: Rights) -> None:
    await rights.namespaces.create("team", by="test", visibility="public", description="Ours")
    await rights.namespaces.create("team/a/b", by="test")
    known = await rights.namespaces.find("team/a/b")
    assert (known.visibility, known.visibility_from, known.parent) == ("public", "team", "team")
    await rights.namespaces.change("team/a/b", by="test", visibility="private")
    await rights.namespaces.change("team", by="test", description="Theirs")
    known = await rights.namespaces.find("team/a/b")
    assert (known.visibility, known.visibility_from) == ("private", "team/a/b")
    known = await rights.namespaces.find("team")
    assert (known.visibility, known.namespace.description) == ("public", "Theirs")
