"""What other sites make a browser send: refused, and in the audit log. Where a login leads to."""

from __future__ import annotations

import pytest

from entrepot.core.form_tokens import NOT_OURS
from tests.web.conftest import PASSWORD, House, Open, field_of, log_in

pytestmark = pytest.mark.anyio

EVIL = {"Origin": "https://evil.example"}
ELSEWHERE = "the request comes from another site, or doesn't say whence"
HERE = ["/account?a=%2Fb", "/auth/login"]
OTHERS = [
    *("//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "evil"),
    *("/a\r\nSet-Cookie: a=b", "/ /evil.example", "javascript:alert(1)", "/" + "a" * 2000),
]


async def refusals(house: House) -> list[tuple[str, ...]]:
    """What the audit log has that was no success: who, what, how it ended, on what, and why."""
    stores = house.context.stores
    await stores.trail.flush()
    rows = await stores.index.fetch_all(
        "SELECT actor, action, outcome, target, reason FROM audit_events"
        " WHERE outcome <> 'success' ORDER BY id",
        {},
    )
    return [tuple(row) for row in rows]


async def test_a_forged_request_is_recorded(house: Open) -> None:
    """With whose session it came, for what, and that it was from elsewhere."""
    async with house() as registry, registry.browser() as browser:
        await log_in(browser)
        token = field_of(await browser.get("/account"))
        answer = await browser.post("/api/v1/namespaces", json={"name": "team"}, headers=EVIL)
        assert answer.status_code == 403
        form = {"token": token, "name": "x"}
        assert (await browser.post("/account/tokens", data=form, headers=EVIL)).status_code == 403
        form["token"] = "another"
        assert (await browser.post("/auth/logout", data=form)).status_code == 403
        assert await refusals(registry) == [
            ("root", "api.settings", "denied", "/api/v1/namespaces", ELSEWHERE),
            ("root", "web.connect", "denied", "/account/tokens", ELSEWHERE),
            ("root", "web.connect", "denied", "/auth/logout", NOT_OURS),
        ]
        assert (await browser.get("/api/v1/whoami")).status_code == 200


async def test_a_forged_login_is_recorded_once(house: Open) -> None:
    """Nobody knows who it is; and nobody can fill the log with it."""
    async with house() as registry, registry.browser() as browser:
        form = {"token": field_of(await browser.get("/auth/login")), "name": "root"}
        form |= {"password": PASSWORD}
        for _ in range(3):
            assert (await browser.post("/auth/login", data=form, headers=EVIL)).status_code == 403
        form["token"] = "another"
        for _ in range(3):
            assert (await browser.post("/auth/login", data=form)).status_code == 400
        assert await refusals(registry) == [
            ("", "login", "failure", "", ELSEWHERE),
            ("", "login", "failure", "", NOT_OURS),
        ]


@pytest.mark.parametrize("wanted", HERE)
async def test_a_login_leads_to_a_page_of_ours(house: Open, wanted: str) -> None:
    async with house() as registry, registry.browser() as browser:
        form = {"token": field_of(await browser.get("/auth/login")), "name": "root"}
        form |= {"password": PASSWORD, "next": wanted}
        answer = await browser.post("/auth/login", data=form, follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"] == wanted


@pytest.mark.parametrize("wanted", OTHERS)
async def test_a_login_leads_nowhere_else(house: Open, wanted: str) -> None:
    """Neither by the page's address nor by its form."""
    async with house() as registry, registry.browser() as browser:
        page = await browser.get("/auth/login", params={"next": wanted})
        assert field_of(page, "next") == ""
        form = {"token": field_of(page), "name": "root", "password": PASSWORD, "next": wanted}
        answer = await browser.post("/auth/login", data=form, follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/account"
        assert "a" not in answer.cookies
