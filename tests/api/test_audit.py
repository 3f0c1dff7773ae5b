"""The audit log over `/api/v1`: who may read it, its filters and pages, exports in pieces."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from entrepot.core.audit import Actor, Record, event
from entrepot.db import DatabaseError, Transaction
from entrepot.services.audit import Notes
from tests.access.worlds import ROOT, Estate, Open, made
from tests.api.test_rights import ask, code, told

pytestmark = pytest.mark.anyio

ADA = Actor("ada", "user", "local", "", "203.0.113.8")
BOB = Actor("bob", "user", "ldap", "", "2001:db8::7")


async def record(registry: Estate, by: Actor, *pushed: str) -> None:
    async def work(_: Transaction, notes: Notes) -> None:
        for name in pushed:
            notes.add(event("manifest.push", repository=name, target="=it"))

    await registry.stores.trail.write(work, by=by)


async def found(registry: Estate, query: str) -> list[Any]:
    page = await told(registry, ROOT, "GET", "/audit/events", query=query)
    assert page["next"] is None
    return list(page["items"])


async def test_a_role_may_read_it(estate: Open) -> None:
    """Whoever has `audit` in the root; in a namespace it is worth nothing."""
    async with estate("auditor", "other") as registry:
        await registry.namespaces.create("team", by="test")
        body = {"name": "audits", "actions": ["audit"]}
        await told(registry, ROOT, "POST", "/roles", body=body)
        await registry.give(
            made("", "user:auditor", "audits"), made("team", "user:other", "audits")
        )
        for path in ("/audit/events", "/audit/export", "/audit/verify"):
            assert (await ask(registry, "auditor", "GET", path)).status == 200
            answer = await ask(registry, "other", "GET", path)
            assert (answer.status, code(answer)) == (403, "DENIED")
        await registry.stores.trail.flush()
        denied = await found(registry, "outcome=denied&user=other")
        assert {each["target"] for each in denied} == {
            "/api/v1/audit/events",
            "/api/v1/audit/export",
            "/api/v1/audit/verify",
        }


async def test_every_filter(estate: Open) -> None:
    async with estate() as registry:
        await record(registry, ADA, "team/a", "team/b")
        await record(registry, BOB, "team/a", "teamwork")
        kind = "action=manifest&"

        async def names(query: str) -> list[str]:
            return [each["repository"] for each in await found(registry, kind + query)]

        assert await names("user=ada") == ["team/b", "team/a"]
        assert await names("namespace=team") == ["team/a", "team/b", "team/a"]
        assert await names("repository=team/a&user=bob") == ["team/a"]
        assert await names("address=2001:db8::7") == ["teamwork", "team/a"]
        assert len(await names("target=%3Dit&outcome=success")) == 4
        assert await names("outcome=failure") == []
        moment = datetime.now(UTC)
        for shift, count in ((-1, 4), (1, 0)):
            text = (moment + timedelta(minutes=shift)).isoformat().replace("+", "%2B")
            assert len(await names(f"since={text}")) == count
            assert len(await names(f"until={text}")) == 4 - count


@pytest.mark.parametrize(
    "query, says",
    [
        ("outcome=fine", "$.outcome"),
        ("since=yesterday", "is not a time"),
        ("since=2026-01-31T12:00:00", "is not a time"),
        ("until=2026-02-31T12:00:00Z", "is not a time"),
        ("after=x", "mark of a page"),
        ("after=1-2-3", "mark of a page"),
        ("limit=1001", "$.limit"),
    ],
)
async def test_what_is_no_query(estate: Open, query: str, says: str) -> None:
    async with estate() as registry:
        answer = await ask(registry, ROOT, "GET", "/audit/events", query=query)
        assert (answer.status, code(answer)) == (400, "REQUEST_INVALID")
        assert says in answer.body.decode()


async def test_pages_lead_on(estate: Open) -> None:
    """Over more events than are looked at in one go, of which few are wanted."""
    async with estate() as registry:
        for number in range(4):
            await record(registry, ADA, *(["many"] * 1100), f"rare-{number}")
        seen: list[str] = []
        query = "user=ada&namespace=rare-0&limit=1"
        assert (await found(registry, query))[0]["repository"] == "rare-0"
        where, query = "/audit/events", "action=manifest.push&limit=1000"
        while True:
            page = await told(registry, ROOT, "GET", where, query=query)
            seen += [each["repository"] for each in page["items"]]
            if page["next"] is None:
                break
            where, _, query = page["next"].removeprefix("/api/v1").partition("?")
        assert len(seen) == 4404
        assert [name for name in seen if name != "many"] == [f"rare-{n}" for n in (3, 2, 1, 0)]


async def test_exports(estate: Open) -> None:
    """As lines of JSON in ECS, or as CSV, whole and in the order of time; nothing for HEAD."""
    async with estate() as registry:
        await record(registry, ADA, *(f"many-{n}" for n in range(1500)))
        names = [f"many-{n}" for n in reversed(range(1500))]
        answer = await ask(registry, ROOT, "GET", "/audit/export", query="user=ada")
        assert answer.headers[b"content-type"] == b"application/x-ndjson"
        assert b"content-length" not in answer.headers
        events = [json.loads(line) for line in answer.body.splitlines()]
        assert [each["entrepot"]["repository"] for each in events] == names
        assert {each["event"]["action"] for each in events} == {"manifest.push"}
        answer = await ask(registry, ROOT, "GET", "/audit/export", query="user=ada&format=csv")
        assert answer.headers[b"content-type"] == b"text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
        assert [row["repository"] for row in rows] == names
        assert rows[0]["target"] == "'=it", "no spreadsheet computes it"
        answer = await ask(registry, ROOT, "HEAD", "/audit/export")
        assert (answer.status, answer.body) == (200, b"")


async def test_an_export_that_breaks_off_is_not_whole(
    estate: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index fails in the middle: the answer has no end, so nobody takes it for all."""
    async with estate() as registry:
        await record(registry, ADA, "one")
        audit = registry.application._context.accounts.audit

        async def broken(*_: object, **__: object) -> AsyncIterator[list[Record]]:
            yield []
            raise DatabaseError("away")

        monkeypatch.setattr(type(audit), "every", broken)
        with pytest.raises(DatabaseError):
            await ask(registry, ROOT, "GET", "/audit/export")


async def test_verifying(estate: Open) -> None:
    """What was changed shows; of many problems a thousand are told, and how many there are."""
    async with estate() as registry:
        await record(registry, ADA, *(["many"] * 1200))
        report = await told(registry, ROOT, "GET", "/audit/verify")
        assert (report["problems"], report["found"]) == ([], 0)
        assert report["events"] >= 1200

        async def tamper(transaction: Transaction) -> int:
            row = await transaction.fetch_one("SELECT count(*) FROM audit_events", {})
            await transaction.execute("UPDATE audit_events SET target = 'forged'", {})
            assert row is not None
            return int(row[0])

        forged = await registry.stores.index.write(tamper)
        report = await told(registry, ROOT, "GET", "/audit/verify")
        assert len(report["problems"]) == 1000
        assert report["found"] == forged
        assert report["problems"][0].startswith("changed: event ")
        query = f"checkpoint=5:{'0' * 64}"
        report = await told(registry, ROOT, "GET", "/audit/verify", query=query)
        assert report["found"] == forged + 1
        answer = await ask(registry, ROOT, "GET", "/audit/verify", query="checkpoint=5")
        assert (answer.status, code(answer)) == (400, "REQUEST_INVALID")
