"""What somebody may not read does not show: in mounts, the catalog, tags, and uploads."""

from __future__ import annotations

import json

import pytest

from tests.access.test_routes import UPLOAD
from tests.access.worlds import Estate, Open, made
from tests.unit.api.conftest import Answer
from tests.wire.images import image

SECRET, MINE = image("isolation-secret"), image("isolation-mine")


async def divided(registry: Estate) -> None:
    """Alice develops in `a`, Bob in `b`; both have something, and there is a common place."""
    for name in ("a", "b", "common"):
        await registry.namespaces.create(name, by="test")
    await registry.namespaces.change("common", by="test", visibility="public")
    await registry.give(
        made("a", "user:alice", "developer"),
        made("b", "user:bob", "developer"),
    )
    for name, content in (("a/app", MINE), ("b/app", SECRET), ("common/base", MINE)):
        assert (await registry.push(name, content, tag="v1")).status == 201


async def catalog(registry: Estate, who: str, query: str = "") -> list[str]:
    answer = await registry.ask(who, "GET", "/v2/_catalog", query=query)
    assert answer.status == 200, answer.body
    found: list[str] = json.loads(answer.body)["repositories"]
    return found


async def mount(registry: Estate, who: str, to: str, digest: str, source: str = "") -> Answer:
    query = f"mount={digest}" + (f"&from={source}" if source else "")
    return await registry.ask(who, "POST", f"/v2/{to}/blobs/uploads/", query=query)


@pytest.mark.anyio
async def test_a_blob_is_mounted_only_from_what_may_be_pulled(estate: Open) -> None:
    """With and without `from`; and a refusal is what a blob gets that is nowhere."""
    async with estate("alice", "bob") as registry:
        await divided(registry)
        secret, base = SECRET.blobs[0].digest, MINE.blobs[0].digest
        nowhere = "sha256:" + "0" * 64
        for source in ("", "b/app", "b/nope"):
            for digest in (secret, nowhere):
                answer = await mount(registry, "alice", "a/new", digest, source)
                assert answer.status == 202, (source, digest)
        assert (await registry.ask("alice", "HEAD", f"/v2/a/new/blobs/{secret}")).status == 404
        assert (await mount(registry, "alice", "a/one", base, "common/base")).status == 201
        assert (await mount(registry, "alice", "a/two", base)).status == 201
        assert (await mount(registry, "bob", "b/new", base)).status == 201, "it is public, too"
        assert (await mount(registry, "root", "a/new", secret)).status == 201
        assert (await mount(registry, "alice", "b/new", base, "a/app")).status == 404


@pytest.mark.anyio
async def test_a_blob_is_reached_through_a_repository_that_links_it(estate: Open) -> None:
    async with estate("alice", "bob") as registry:
        await divided(registry)
        secret = SECRET.blobs[0].digest
        for name in ("a/app", "b/app", "b/nope"):
            answer = await registry.ask("alice", "GET", f"/v2/{name}/blobs/{secret}")
            assert answer.status == 404
            assert json.loads(answer.body)["errors"][0]["code"] == "BLOB_UNKNOWN"
        assert (await registry.ask("bob", "GET", f"/v2/b/app/blobs/{secret}")).status == 200


@pytest.mark.anyio
async def test_the_catalog_shows_what_may_be_listed(estate: Open) -> None:
    async with estate("alice", "bob", "carol") as registry:
        await divided(registry)
        everything = ["a/app", "b/app", "common/base"]
        assert await catalog(registry, "root") == everything
        assert await catalog(registry, "alice") == ["a/app", "common/base"]
        assert await catalog(registry, "bob") == ["b/app", "common/base"]
        assert await catalog(registry, "carol") == ["common/base"]
        assert await catalog(registry, "") == ["common/base"]
        await registry.give(made("", "user:carol", "reader"))
        assert await catalog(registry, "carol") == everything
        await registry.give(made("", "user:carol", "reader", effect="deny", repositories="b/*"))
        assert await catalog(registry, "carol") == ["a/app", "common/base"]


@pytest.mark.anyio
async def test_pages_of_the_catalog_are_full_and_meet(estate: Open) -> None:
    """Whatever lies between, and wherever a page ends; names next to prefixes are not in them."""
    async with estate("alice") as registry:
        names = ["a", "a-b/x", "a.c", "a/x", "a/x/y", "a0", "aa/x", "b/1", "b/2/3", "c/x", "z"]
        for name in names:
            assert (await registry.push(name, MINE, tag="v1")).status == 201
        await registry.namespaces.create("a", by="test")
        await registry.give(
            made("a", "user:alice", "reader"),
            made("", "user:alice", "reader", repositories="b/*/3"),
            made("", "user:alice", "reader", repositories="c/x"),
            made("", "user:alice", "reader", repositories="z/**"),
            made("", "user:alice", "developer", repositories="nothing/here"),
        )
        visible = ["a", "a/x", "a/x/y", "b/2/3", "c/x", "z"]
        assert await catalog(registry, "alice") == visible
        for size in range(1, len(visible) + 1):
            found, last = list[str](), ""
            while page := await catalog(registry, "alice", f"n={size}&last={last}"):
                assert len(page) == min(size, len(visible) - len(found))
                found, last = found + page, page[-1]
            assert found == visible
        for last, rest in (("a-b/x", 5), ("a/x/zz", 3), ("%F0%9F%90%B3", 0), ("a%00", 5)):
            assert len(await catalog(registry, "alice", f"last={last}")) == rest, last


@pytest.mark.anyio
async def test_a_link_to_the_next_page_is_there_only_if_there_is_one(estate: Open) -> None:
    """It would tell of what can't be seen."""
    async with estate("alice", "bob") as registry:
        await divided(registry)
        answer = await registry.ask("alice", "GET", "/v2/_catalog", query="n=2")
        assert b"link" not in answer.headers
        answer = await registry.ask("alice", "GET", "/v2/_catalog", query="n=1")
        assert b"last=a%2Fapp" in answer.headers[b"link"]


@pytest.mark.anyio
async def test_an_upload_goes_on_only_in_its_repository(estate: Open) -> None:
    """Its id alone, which anybody might have seen, lets nobody go on with it elsewhere."""
    async with estate("alice", "bob") as registry:
        await divided(registry)
        begun = await registry.ask("bob", "POST", "/v2/b/app/blobs/uploads/")
        where = begun.headers[b"location"].decode()
        path, _, state = where.partition("?")
        path = path[path.index("/v2/") :]
        held = await registry.ask("bob", "PATCH", path, query=state, body=b"secret")
        assert held.status == 202
        for elsewhere, query in (
            (path.replace("/b/app/", "/a/app/"), ""),
            (path.replace("/b/app/", "/a/app/"), state),
            (f"/v2/a/app/blobs/uploads/{UPLOAD}", ""),
        ):
            for method in ("GET", "PATCH", "PUT", "DELETE"):
                answer = await registry.ask("alice", method, elsewhere, query=query)
                assert answer.status == 404, (method, elsewhere)
        assert (await registry.ask("alice", "GET", path, query=state)).status == 404
        assert (await registry.ask("bob", "GET", path, query=state)).status == 204


@pytest.mark.anyio
async def test_tags_by_pattern(estate: Open) -> None:
    """Who may push `dev-*` pushes nothing else: not by several tags at once, not by deletion."""
    async with estate("alice") as registry:
        await registry.namespaces.create("a", by="test")
        await registry.give(made("a", "user:alice", "operator", tags="dev-*"))
        assert (await registry.push("a/app", MINE, tag="v1")).status == 201
        assert (await registry.push("a/app", MINE, tag="dev-1", who="alice")).status == 201
        assert (await registry.push("a/app", MINE, tag="v1", who="alice")).status == 403
        for tags, status in (("tag=dev-2&tag=dev-3", 201), ("tag=dev-2&tag=v1", 403)):
            answer = await registry.ask(
                "alice",
                "PUT",
                f"/v2/a/app/manifests/{MINE.digest}",
                query=tags,
                kind=MINE.manifest.media_type,
                body=MINE.manifest.data,
            )
            assert answer.status == status, tags
        for reference, status in (("dev-1", 202), ("v1", 403), (MINE.digest, 403)):
            path = f"/v2/a/app/manifests/{reference}"
            assert (await registry.ask("alice", "DELETE", path)).status == status
        for tag in ("v1", "nope"):
            answer = await registry.ask("alice", "GET", f"/v2/a/app/manifests/{tag}")
            assert answer.status == 403, "whether it is there or not"
        assert (await registry.ask("alice", "GET", "/v2/a/app/manifests/dev-2")).status == 200


@pytest.mark.anyio
async def test_a_repository_is_made_by_the_first_push_of_whoever_may(estate: Open) -> None:
    async with estate("alice", "bob") as registry:
        await divided(registry)
        assert (await registry.push("a/fresh", MINE, tag="v1", who="bob")).status == 404
        assert (await registry.push("a/fresh", MINE, tag="v1", who="alice")).status == 201
        assert "a/fresh" in await catalog(registry, "alice")
        assert (await registry.push("fresh", MINE, tag="v1", who="alice")).status == 404
