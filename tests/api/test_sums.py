"""Sums of bytes tell of nothing that the caller may not read: whether somebody else has the same
blobs, or how much there is elsewhere.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from entrepot.db import Transaction
from entrepot.db.runs import add_run, finish_run
from tests.access.worlds import ROOT, Estate, Open, made
from tests.api.test_rights import ask, told
from tests.wire.images import Image, image, multi_platform

SHARED, OWN, FAMILY = (
    image("shared", layer_count=2),
    image("own"),
    multi_platform("family"),
)
BLOB: Final = SHARED.blobs[0].digest
QUESTIONS = (
    ("/usage/namespaces/team", ""),
    ("/usage/namespaces//", ""),
    ("/usage/repositories/team", ""),
    ("/usage/repositories//", ""),
    ("/usage/repository/team/app", ""),
    ("/usage/tags/team/app", ""),
    ("/repositories/team/app/explanation", ""),
    ("/repositories/team/app/explanation", "reference=shared"),
    ("/repositories/team/app/explanation", "reference=family"),
    ("/repositories/team/app/explanation", f"reference={SHARED.digest}"),
    ("/repositories/team/app/explanation", f"reference={BLOB}&blob=true"),
    ("/deletions/repositories/team/app", ""),
    ("/deletions/repositories/team/app", "reference=shared"),
    ("/deletions/repositories/team/app", f"reference={SHARED.digest}"),
    ("/deletions/namespaces/team", ""),
    ("/retention/previews/team", ""),
)


def size(*images: Image, without: tuple[Image, ...] = ()) -> int:
    others = {blob.digest for each in without for blob in each.every_blob()}
    sizes = {blob.digest: len(blob.data) for each in images for blob in each.every_blob()}
    return sum(count for digest, count in sizes.items() if digest not in others)


async def push(registry: Estate, name: str, pushed: Image, tag: str) -> None:
    for child in pushed.children:
        await push(registry, name, child, child.manifest.digest)
    assert (await registry.push(name, pushed, tag=tag)).status == 201


async def furnish(registry: Estate) -> None:
    """`ann` operates `team`, everybody sees `open`, and nobody but administrators `dark`."""
    await registry.namespaces.change("", by="test", visibility="internal")
    for name in ("team", "open", "dark"):
        await registry.namespaces.create(name, by="test")
    for name in ("team", "dark"):
        await registry.namespaces.change(name, by="test", visibility="private")
    await registry.give(made("team", "user:ann", "operator"))
    for pushed, tag in ((SHARED, "shared"), (OWN, "own"), (FAMILY, "family")):
        await push(registry, "team/app", pushed, tag)
    await push(registry, "team/other", OWN, "own")
    rules = {"rules": [{"keep": [{"newest": 1}]}]}
    await told(registry, ROOT, "PUT", "/retention/policies/team", body=rules)


async def answers(registry: Estate, who: str) -> list[Any]:
    return [await told(registry, who, "GET", path, query=query) for path, query in QUESTIONS]


@pytest.mark.anyio
async def test_what_is_hidden_changes_no_sum(estate: Open) -> None:
    """Whoever may not read everything gets the same answers before and after the same blobs are
    pushed where they may not look; administrators, and those who may look there, get others.
    """
    async with estate("ann") as registry:
        await furnish(registry)
        for place, seen in (("dark", False), ("open", True)):
            before, whole = await answers(registry, "ann"), await answers(registry, ROOT)
            for pushed, tag in ((SHARED, "shared"), (FAMILY, "family"), (image(place), "more")):
                await push(registry, f"{place}/app", pushed, tag)
            after, whole_after = await answers(registry, "ann"), await answers(registry, ROOT)
            for question, *pairs in zip(QUESTIONS, before, after, whole, whole_after, strict=True):
                assert (pairs[0] != pairs[1]) == seen, (question, pairs)
                assert place == "open" or pairs[2] != pairs[3], (question, pairs)


@pytest.mark.anyio
async def test_sums_within_what_may_be_read(estate: Open) -> None:
    """Against sums made by hand, with the same blobs somewhere hidden; for everybody it is said
    whether that is all there is.
    """
    async with estate("ann") as registry:
        await furnish(registry)
        await push(registry, "dark/app", SHARED, "shared")
        alone, all_of_it = size(SHARED, FAMILY), size(SHARED, OWN, FAMILY)
        for who, hidden, partial in (("ann", 0, True), (ROOT, size(SHARED), False)):
            used = await told(registry, who, "GET", "/usage/namespaces/team")
            assert used == {
                "name": "team",
                "bytes": all_of_it,
                "exclusive": all_of_it - hidden,
                "shared": hidden,
                "partial": partial,
            }
            used = await told(registry, who, "GET", "/usage/repository/team/app")
            assert (used["bytes"], used["exclusive"]) == (all_of_it, alone - hidden)
            told_of = await told(
                registry,
                who,
                "GET",
                "/repositories/team/app/explanation",
                query="reference=shared",
            )
            freed = size(SHARED) - hidden
            assert (told_of["freed"], told_of["partial"]) == (freed, partial)
            path = "/deletions/repositories/team/app"
            going = await told(registry, who, "GET", path, query=f"reference={SHARED.digest}")
            assert (going["freed"], going["partial"]) == (freed, partial)
            path = "/repositories/team/app/explanation"
            blob = await told(registry, who, "GET", path, query=f"reference={BLOB}&blob=true")
            assert blob["elsewhere"] == ([] if partial else ["dark/app"])
            (first, _) = (await told(registry, who, "GET", "/retention/previews/team"))["items"]
            assert first["freed"] == freed


REPORT = {
    "namespace": "dark",
    "dry_run": False,
    "deleted": 1,
    "freed": 4711,
    "removed": ["dark/app@sha256:0"],
    "rules": {"dark: rule 1": 1},
    "stopped": {"team": ["team/app: all 2 tags would go", "team/secret: all 3 tags would go"]},
    "ended": "because of dark/app",
}


@pytest.mark.anyio
async def test_reports_name_nothing_that_is_hidden(estate: Open) -> None:
    """Neither to those who may see how the work goes, but not what is stored, nor to operators of a
    namespace something of which is denied to them; administrators see it all.
    """
    async with estate("ann", "eve") as registry:
        await furnish(registry)
        await told(registry, ROOT, "POST", "/roles", body={"name": "watch", "actions": ["metrics"]})
        await registry.give(
            made("", "user:eve", "watch"),
            made("team", "user:ann", "operator"),
            made("team", "user:ann", "reader", effect="deny", repositories="secret"),
        )
        await push(registry, "team/secret", OWN, "own")
        body: object = {"kind": "retention", "cron": "@yearly", "settings": {"namespace": "dark"}}
        await told(registry, ROOT, "PUT", "/schedules/dark", body=body)

        async def work(transaction: Transaction) -> None:
            for kind in ("collect", "retention"):
                run = await add_run(transaction, kind, cause="a test", now=1)
                report = REPORT | ({"namespace": "team"} if kind == "retention" else {})
                await finish_run(transaction, run, report, outcome="success", now=2)

        await registry.stores.index.write(work)
        paths = ("/runs", "/runs/1", "/collection", "/collection/runs", "/schedules")
        for path in (*paths, "/schedules/dark"):
            watched = await ask(registry, "eve", "GET", path)
            assert watched.status == 200, watched.body
            assert b"dark/" not in watched.body, path
            assert b'"namespace":"dark"' not in watched.body, path
            whole = await ask(registry, ROOT, "GET", path)
            assert b"dark" in whole.body, path
        (run, *_) = (await told(registry, "eve", "GET", "/runs"))["items"]
        assert (run["report"]["freed"], run["report"]["stopped"]) == (4711, {})
        run = await told(registry, "ann", "GET", "/retention/runs/team", query="run=2")
        assert "freed" not in run["report"]
        assert run["report"]["stopped"] == {"team": ["team/app: all 2 tags would go"]}
        for who, count in (("ann", 2), (ROOT, 3)):
            shown = await told(registry, who, "GET", "/namespaces/team")
            assert shown["repositories"] == count
        plans = (await told(registry, "ann", "GET", "/retention/previews/team"))["items"]
        assert [plan["repository"] for plan in plans] == ["team/app", "team/other"]
        plans = (await told(registry, ROOT, "GET", "/retention/previews/team"))["items"]
        assert [plan["repository"] for plan in plans] == ["team/app", "team/other", "team/secret"]


@pytest.mark.anyio
async def test_pages_tell_of_nothing_that_is_hidden(estate: Open) -> None:
    """What lies between is skipped; there is a next page only if there is something on it."""
    async with estate("ann") as registry:
        await furnish(registry)
        for name in ("dark/app", "team/app", "dark/other", "team/other", "dark/last"):
            await push(registry, name, OWN, "held")
            hold = {"repository": name, "reason": "a test"}
            await told(registry, ROOT, "POST", "/holds", body=hold)
            for tag in ("gone", "gone-too"):
                await push(registry, f"{name}-deleted", OWN, tag)
                path = f"/v2/{name}-deleted/manifests/{tag}"
                assert (await registry.ask(ROOT, "DELETE", path)).status == 202
        for path, kept in (("/holds", 2), ("/trash", 4)):
            for limit in range(1, kept + 1):
                found, query = list[Any](), f"limit={limit}"
                while query:
                    page = await told(registry, "ann", "GET", path, query=query)
                    assert len(page["items"]) == min(limit, kept - len(found))
                    assert "dark" not in str(page)
                    found += page["items"]
                    query = page["next"].partition("?")[2] if page["next"] else ""
                assert len({entry["id"] for entry in found}) == kept == len(found), (path, limit)


@pytest.mark.anyio
async def test_a_page_is_full_however_much_is_hidden(estate: Open) -> None:
    """Also of the trash, where thousands of rows may lie before the next that somebody sees."""
    async with estate("ann") as registry:
        await furnish(registry)
        for name in ("team/app-deleted", "dark/app-deleted"):
            await push(registry, name, OWN, "gone")
            path = f"/v2/{name}/manifests/gone"
            assert (await registry.ask(ROOT, "DELETE", path)).status == 202
        await registry.stores.index.write(_hide_many)
        (shown,) = (await told(registry, "ann", "GET", "/trash", query="limit=1"))["items"]
        assert shown["repository"] == "team/app-deleted"
        page = await told(registry, "ann", "GET", "/trash", query="limit=1&namespace=dark")
        assert (page["items"], page["next"]) == ([], None)
        everything = await told(registry, ROOT, "GET", "/trash", query="limit=1000")
        assert len(everything["items"]) == 1000
        assert everything["next"]


async def _hide_many(transaction: Transaction) -> None:
    """Have 6,000 times in the trash what of `dark` is there."""
    numbers = ({"tag": f"gone-{number}"} for number in range(6000))
    await transaction.execute_many(
        """
        INSERT INTO trash (repository_id, kind, tag, digest, media_type, subject, payload,
                           created_at, created_by, deleted_at, deleted_by, operation, expires_at)
        SELECT repository_id, kind, :tag, trash.digest, media_type, subject, payload,
               trash.created_at, created_by, deleted_at, deleted_by, operation, expires_at
        FROM trash JOIN repositories ON repositories.id = trash.repository_id
        WHERE repositories.name = 'dark/app-deleted' AND kind = 'tag' AND tag = 'gone'
        """,
        numbers,
    )


@pytest.mark.anyio
async def test_what_is_used_of_a_quota_is_for_those_who_push(estate: Open) -> None:
    """A mere reader could tell from it how much there is where they may not look; who pushes is
    told by a refusal anyway.
    """
    async with estate("ann", "eve") as registry:
        await furnish(registry)
        await registry.give(
            made("team", "user:eve", "reader"),
            made("team", "user:eve", "reader", effect="deny", repositories="secret"),
        )
        limit = {"resource": "tags", "soft": 1, "hard": 100}
        await told(registry, ROOT, "PUT", "/quotas/team", body=limit)
        for who, seen in (("eve", False), ("ann", True), (ROOT, True)):
            (shown,) = await told(registry, who, "GET", "/quotas/team")
            (listed,) = (await told(registry, who, "GET", "/quotas"))["items"]
            assert shown == listed
            assert (shown["used"] is not None) == seen
            assert shown["exceeded_at"] is None or seen
            assert (shown["soft"], shown["hard"]) == (1, 100)
