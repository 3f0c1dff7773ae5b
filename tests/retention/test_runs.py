"""Runs of retention over a real index: what a preview says is what goes, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from entrepot.core.audit import Actor
from entrepot.core.digest import Digest
from entrepot.core.manifest import fallback_tag
from entrepot.core.names import RepositoryName, Tag, parse_reference
from entrepot.core.work import Document
from entrepot.db.audit import search_audit_events
from entrepot.db.errors import DatabaseError
from entrepot.services import delete, pull
from entrepot.services.protection import place_hold, protect_tags
from entrepot.services.retaining import Retainer
from entrepot.services.work import Task
from tests.retention.conftest import DAY, Scene, ended
from tests.wire import images

pytestmark = pytest.mark.anyio

NEWEST = {"name": "builds", "keep": [{"newest": 2}]}
NOBODY = Actor("ada", "user")


async def events(scene: Scene, action: str) -> list[Any]:
    found = await search_audit_events(
        scene.stores.index, {"action": action}, before=(2**62, 2**62), down_to=(0, 0), limit=1000
    )
    return [each.record for each in found]


async def test_what_a_preview_says_goes(each_scene: Scene) -> None:
    """And nothing else; the report, the audit log and the trash say what and why."""
    scene = each_scene
    await scene.push("app", "v1", "v2", "v3", "v4")
    await scene.push("other", "v1", "v2")
    await scene.keep("/", NEWEST)
    assert await scene.going() == {"app": ["v1", "v2"]}
    assert await scene.tags("app") == ["v1", "v2", "v3", "v4"], "a preview deletes nothing"
    run = await scene.run()
    assert await scene.tags("app") == ["v3", "v4"]
    assert await scene.tags("other") == ["v1", "v2"]
    assert run.outcome == "success"
    told = {key: run.report[key] for key in ("repositories", "tags", "going", "deleted", "skipped")}
    assert told == {"repositories": 2, "tags": 6, "going": 2, "deleted": 2, "skipped": 0}
    assert run.report["rules"] == {"/: builds": 2}
    recorded = await events(scene, "tag.delete")
    assert {record.tag for record in recorded} == {"v1", "v2"}
    (record, _) = recorded
    assert (record.actor_kind, record.method) == ("registry", "retention")
    assert record.reason == "builds keeps only the newest 2 by push"
    assert json.loads(record.detail)["operation"] == run.report["operation"]
    rows = await scene.stores.index.fetch_all("SELECT tag, operation FROM trash", {})
    assert sorted(rows) == [("v1", run.report["operation"]), ("v2", run.report["operation"])]
    again = await scene.run()
    assert again.report["going"] == 0


async def test_a_dry_run_deletes_nothing(scene: Scene) -> None:
    await scene.push("app", "v1", "v2", "v3")
    await scene.keep("/", NEWEST)
    run = await scene.run(dry_run=True)
    assert (run.report["going"], run.report["deleted"]) == (1, 0)
    assert await scene.tags("app") == ["v1", "v2", "v3"]


async def test_the_nearest_policy_counts_and_its_patterns_begin_there(scene: Scene) -> None:
    await scene.namespaces.create("team", by="test")
    await scene.namespaces.create("team/sub", by="test")
    for name in ("app", "team/app", "team/sub/app", "team-b/app", "team/sub"):
        await scene.push(name, "v1", "v2", "v3")
    await scene.keep("/", {"keep": [{"newest": 1}]})
    await scene.keep("team", {"repositories": "app", "keep": [{"newest": 2}]})
    two, one = ["v1"], ["v1", "v2"]
    assert await scene.going() == {"app": one, "team-b/app": one, "team/app": two}
    assert await scene.going("team") == {"team/app": two}
    await scene.keep("team/sub")
    assert await scene.going("team/sub") == {}
    await scene.policies.remove("team", by="test")
    assert await scene.going("team") == {"team/app": one}
    run = await scene.run(namespace="team")
    assert await scene.tags("team/app") == ["v3"]
    assert await scene.tags("app") == ["v1", "v2", "v3"]
    assert run.report["namespace"] == "team"


async def test_the_brake(scene: Scene) -> None:
    """More than half of the tags: nothing goes, and the report says so."""
    await scene.push("app", *(f"b{n:02}" for n in range(20)))
    await scene.keep("/", {"keep": [{"newest": 9}]})
    run = await scene.run()
    reason = "11 of 20 tags would go, which is more than the brake of 50 %"
    assert run.report["stopped"] == {"/": [f"app: {reason}", reason]}
    assert run.report["deleted"] == 0
    assert len(await scene.tags("app")) == 20
    assert (await scene.run(brake=54)).report["deleted"] == 0
    assert (await scene.run(brake=55)).report["deleted"] == 11


async def test_the_brake_of_all_repositories_together(scene: Scene) -> None:
    """Which is of one policy; what others say goes."""
    await scene.namespaces.create("team", by="test")
    for number in range(4):
        await scene.push(f"app{number}", "v1", "v2", "v3", "v4", "v5", "v6")
    await scene.push("team/app", "v1", "v2", "v3")
    await scene.keep("/", {"keep": [{"newest": 3}]}, brake=49)
    await scene.keep("team", NEWEST)
    run = await scene.run()
    assert run.report["stopped"] == {
        "/": ["12 of 24 tags would go, which is more than the brake of 49 %"]
    }
    assert (await scene.tags("app0"), await scene.tags("team/app")) == (
        ["v1", "v2", "v3", "v4", "v5", "v6"],
        ["v2", "v3"],
    )


async def test_a_repository_loses_all_its_tags_only_if_that_is_allowed(scene: Scene) -> None:
    await scene.push("app", "v1")
    await scene.keep("/", {"keep": []})
    run = await scene.run()
    assert run.report["stopped"] == {
        "/": ["app: all 1 tags would go, which must be allowed (allow_empty)"]
    }
    assert await scene.tags("app") == ["v1"]
    assert (await scene.run(allow_empty=True)).report["deleted"] == 1
    await scene.push("app", "v2")
    await scene.keep("/", {"keep": []}, allow_empty=True)
    assert (await scene.run()).report["deleted"] == 1


async def test_a_tag_that_moved_meanwhile_stays(scene: Scene) -> None:
    """Between the plan and the deletion, and one that is gone is no fault."""
    await scene.push("app", "v1", "v2", "v3", "v4", "v5")
    await scene.keep("/", {"keep": [{"newest": 2}]}, brake=100)
    plans = await scene.plans()
    await scene.site.push("app", "v1", images.image("moved"))
    await delete.delete_reference(
        scene.stores, RepositoryName("app"), parse_reference("v2"), by=NOBODY
    )
    retainer = Retainer(scene.stores, tell_time=_never)
    plan = plans["app"]
    deleted = await retainer._delete_tags(plan.name, plan.id, plan.going, "operation")
    assert deleted == 1
    assert await scene.tags("app") == ["v1", "v4", "v5"]


async def _never() -> int:
    raise AssertionError("nobody asks for the time")


async def test_pulls_keep_and_so_does_a_push_of_the_same(each_scene: Scene) -> None:
    scene = each_scene
    made = images.image("same")
    await scene.push("app", "old", "pulled", "again", "new", made=made)
    scene.clock.now += 30 * DAY
    await pull.resolve(
        scene.stores, RepositoryName("app"), parse_reference("pulled"), accept=None, pulls=1
    )
    await scene.stores.pulls.write(scene.stores.index, now=scene.clock.now)
    await scene.site.push("app", "again", made)
    scene.clock.now += DAY
    await scene.keep("/", {"keep": [{"pulled_within": "2d"}]})
    assert await scene.going() == {"app": ["new", "old"]}


async def test_labels_are_read_from_configs_and_of_indexes_from_the_first_image(
    scene: Scene,
) -> None:
    def labelled(seed: str, **labels: str) -> images.Image:
        layer = images.gzip_layer(seed)
        config = images.config([layer], author=seed, fields={"config": {"Labels": labels}})
        return images.Image(images.manifest(config, [layer]), (config, layer))

    index = images.index([labelled("index", team="red")], platforms=[images.AMD64])
    for tag, made in (
        ("red", labelled("red", team="red")),
        ("blue", labelled("blue", team="blue")),
        ("none", images.image("none")),
        ("artifact", images.artifact("artifact")),
        ("index", index),
        ("expired", labelled("expired", **{"quay.expires-after": "1d"})),
    ):
        await scene.site.push("app", tag, made)
    noted = images.image(
        "noted", fields={"annotations": {"org.entrepot.expires-after": "3d", "team": "red"}}
    )
    await scene.site.push("app", "noted", noted)
    scene.clock.now += 2 * DAY
    await scene.keep("/", {"expires": True, "keep": [{"labels": {"team": "r*"}}]})
    assert await scene.going() == {"app": ["artifact", "blue", "expired", "none"]}
    scene.clock.now += DAY
    assert await scene.going() == {"app": ["artifact", "blue", "expired", "none", "noted"]}


async def test_untagged_manifests_go_by_a_rule(each_scene: Scene) -> None:
    """Not the children of an index, nor what refers to an image, nor what was pulled lately."""
    scene = each_scene
    await scene.site.push("app", "index", images.multi_platform("index"))
    subject = images.image("subject")
    await scene.site.push("app", "subject", subject)
    signature = images.artifact("signature", subject=subject.manifest)
    await scene.site.push("app", signature.digest, signature)
    used = await scene.site.push("app", "moving", images.image("used"))
    lost = await scene.site.push("app", "lost", images.image("lost"))
    never = images.image("never")
    await scene.site.push("app", never.digest, never)
    await scene.site.push("app", "moving", images.image("next"))
    scene.clock.now += 10 * DAY
    await scene.site.push("app", "lost", images.image("later"))
    await pull.resolve(scene.stores, RepositoryName("app"), used, accept=None, pulls=1)
    await scene.stores.pulls.write(scene.stores.index, now=scene.clock.now)
    scene.clock.now += DAY
    await scene.keep("/", {"untagged": "7d"})
    plan = (await scene.plans())["app"]
    assert [fate.digest for fate in plan.going] == [Digest(never.digest)]
    assert {fate.digest for fate in plan.fates if not fate.tag} == {never.digest, used, lost}
    run = await scene.run()
    assert (run.report["untagged"], run.report["deleted"]) == (1, 0)
    assert (await scene.plans())["app"].going == []


async def test_no_rule_is_shorter_than_what_a_client_relies_on(scene: Scene) -> None:
    """Whoever has just pushed a manifest, or pulled it by its digest, may be about to list it."""
    image = images.image("to be listed")
    digest = await scene.site.push("app", image.digest, image)
    await scene.keep("/", {"untagged": "0d"})
    told = scene.stores.keeping.told
    for _ in range(2):
        scene.clock.now += told - 1
        assert (await scene.run()).report["untagged"] == 0
        await pull.resolve(scene.stores, RepositoryName("app"), digest, accept=None, pulls=1)
        await scene.stores.pulls.write(scene.stores.index, now=scene.clock.now)
    scene.clock.now += told + 1
    assert (await scene.run()).report["untagged"] == 1


async def test_what_comes_free(each_scene: Scene) -> None:
    """What stays, or another repository has, does not; signatures go along."""
    scene = each_scene
    shared, own = images.image("shared"), images.image("own", layer_count=3)
    index = images.index([own, shared])
    signature = images.artifact("signature", subject=index.manifest)
    cosign = images.image("cosign")
    await scene.site.push("app", "v1", index)
    await scene.site.push("app", signature.digest, signature)
    await scene.site.push("app", f"{fallback_tag(Digest(index.digest))}.sig", cosign)
    await scene.site.push("other", "v1", images.image("elsewhere"))
    scene.clock.now += DAY
    await scene.site.push("app", "v2", shared)
    await scene.keep("/", {"keep": [{"newest": 1}]})
    expected = sum(len(blob.data) for made in (own, signature, cosign) for blob in made.blobs)
    assert (await scene.plans())["app"].freed == expected
    await scene.site.push("other", "own", own)
    expected -= sum(len(blob.data) for blob in own.blobs)
    assert (await scene.plans())["app"].freed == expected


async def test_a_policy_that_is_changed_meanwhile_ends_the_run(scene: Scene) -> None:
    await scene.push("app", "v1", "v2", "v3")
    await scene.push("other", "v1", "v2", "v3")
    await scene.keep("/", NEWEST)
    usual = scene.runner()._kinds["retention"]

    async def change(task: Task) -> Document:
        note = task.note

        async def noted(report: Document, *, cursor: Document | None = None) -> None:
            await note(report, cursor=cursor)
            if report["deleted"]:
                await scene.policies.remove("/", by="somebody")

        task.note = noted  # type: ignore[method-assign]
        return await usual(task)

    run = await scene.run(scene.runner(change))
    assert run.report["ended"] == "policies were changed meanwhile"
    assert (await scene.tags("app"), await scene.tags("other")) == (
        ["v2", "v3"],
        ["v1", "v2", "v3"],
    )


async def test_a_run_goes_on_where_it_broke_off(scene: Scene) -> None:
    """In the middle of a repository; it decides for the same time, and its report has all of it."""
    for name in ("a", "b", "c"):
        await scene.push(name, *(f"v{n:03}" for n in range(5)))
    await scene.keep("/", {"keep": [{"newest": 3}]})
    usual = scene.runner()._kinds["retention"]
    noted = 0

    async def break_off(task: Task) -> Document:
        note = task.note

        async def failing(report: Document, *, cursor: Document | None = None) -> None:
            nonlocal noted
            noted += 1
            if noted == 3:
                raise DatabaseError("gone")
            await note(report, cursor=cursor)

        task.note = failing  # type: ignore[method-assign]
        return await usual(task)

    run = await scene.run(scene.runner(break_off))
    assert (run.outcome, await scene.tags("b")) == ("waiting", ["v002", "v003", "v004"])
    assert await scene.tags("c") == ["v000", "v001", "v002", "v003", "v004"]
    scene.clock.now += DAY
    await scene.push("c", "v005")
    await ended(scene.runner())
    run = await scene.runs.find(run.id)
    assert run.outcome == "success"
    assert (run.report["going"], run.report["stopped"]) == (6, {})
    assert await scene.tags("c") == ["v003", "v004", "v005"]


async def test_signatures_of_an_image_stay_with_it(scene: Scene) -> None:
    made = images.image("signed")
    signature = f"{fallback_tag(Digest(made.digest))}.sig"
    await scene.site.push("app", "v1", made)
    await scene.site.push("app", signature, images.image("signature"))
    await scene.push("app", "v2", "v3", "v4")
    await scene.keep("/", {"keep": [{"newest": 4}]})
    await scene.run()
    assert await scene.tags("app") == sorted(["v1", "v2", "v3", "v4", signature])


async def test_what_is_protected_or_on_hold_stays(scene: Scene) -> None:
    """What became so after the plan as well, and what belongs to it; the rest goes."""
    await scene.push("app", "v1", "v2", "v3", "v4", "v5", "v6", "new")
    await protect_tags(scene.stores, "/", repositories="**", tags="v1", exception=False, by="test")
    app = RepositoryName("app")
    await place_hold(scene.stores, app, Tag("v2"), reason="audit", owner="law", by="test")
    subject = await pull.resolve(scene.stores, app, Tag("v2"), accept=None, pulls=0)
    held = images.Content(subject.media_type, subject.payload)
    await scene.site.push("app", "a-report", images.artifact("report", subject=held))
    scene.clock.now += DAY
    await scene.keep("/", {"keep": [{"tags": "new"}]})
    plan = (await scene.plans())["app"]
    assert [fate.tag for fate in plan.going] == ["v3", "v4", "v5", "v6"]
    reasons = {fate.tag: fate.reason for fate in plan.fates if not fate.goes}
    assert reasons["v1"] == "rule 1 protects tags v1 in the root namespace"
    assert reasons["v2"].startswith("hold 1 of law keeps app@sha256:")
    assert reasons["a-report"] == reasons["v2"]
    await place_hold(scene.stores, app, Tag("v3"), reason="late", owner="law", by="test")
    retainer = Retainer(scene.stores, tell_time=_never)
    assert await retainer._delete_tags(app, plan.id, plan.going, "operation") == 3
    assert await scene.tags("app") == ["a-report", "new", "v1", "v2", "v3"]
    await place_hold(scene.stores, app, None, reason="all", owner="law", by="test")
    await scene.keep("/", {"keep": []}, allow_empty=True)
    assert await scene.going() == {}


async def test_many_tags_of_one_repository(scene: Scene) -> None:
    """More than one page and one transaction of them."""
    made = images.image("many")
    await scene.site.push("app", "first", made)
    row = await scene.stores.index.fetch_one("SELECT repository_id, manifest_id FROM tags", {})
    assert row is not None

    async def add(transaction: Any) -> None:
        sql = """
            INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
            VALUES (:repository, :name, :manifest, :at, :at)
        """
        values = {"repository": row[0], "manifest": row[1]}
        await transaction.execute_many(
            sql, [{**values, "name": f"t{n:05}", "at": n} for n in range(4500)]
        )

    await scene.stores.index.write(add)
    await scene.keep("/", {"tags": "t*", "keep": [{"newest": 4000}]})
    (plan,) = (await scene.plans()).values()
    assert (plan.tags, len(plan.going)) == (4501, 500)
    assert (await scene.run()).report["deleted"] == 500
    assert (await scene.tags("app"))[:2] == ["first", "t00500"]
