"""Pages tell nobody of what is hidden or somebody else's: the table of pages is walked."""

from __future__ import annotations

import httpx
import pytest

from entrepot.core.access import Action
from entrepot.web.routes import TABLE
from tests.web.conftest import PASSWORD, House, Open, field_of, log_in

pytestmark = pytest.mark.anyio

ROOT = httpx.BasicAuth("root", PASSWORD)


async def walked(
    browser: httpx.AsyncClient, *, token: int, session: int
) -> list[tuple[str, int, bool]]:
    """What every page answers, and whether it tells of somebody else's; the last is the logout."""
    secret = field_of(await browser.get("/account"))
    form = {"token": secret, "name": "", "repositories": "**", "actions": "pull"}
    found = []
    for route in sorted(TABLE, key=lambda route: route.path == "/auth/logout"):
        path = route.path.replace("{provider}", "sso")
        path = path.replace("{token}", str(token)).replace("{session}", str(session))
        data = form if route.method == "POST" else None
        page = await browser.request(route.method, path, data=data, follow_redirects=False)
        told_of = "secret-team" in page.text or "of root" in page.text
        found.append((route.path, page.status_code, told_of))
    return found


async def told(registry: House, path: str, body: object) -> None:
    async with registry.browser() as browser:
        answer = await browser.post(f"/api/v1{path}", json=body, auth=ROOT)
        assert answer.status_code == 201, answer.text


async def test_every_page_is_about_whoever_looks_at_it(house: Open) -> None:
    """Whether there are namespaces, and tokens and sessions of others by the numbers that are sent,
    changes nothing for somebody without rights; and those of others are not ended by it.
    """
    assert {route.action for route in TABLE} == {Action.LOGIN, Action.CONNECT}
    async with house() as registry, registry.browser() as root, registry.browser() as ada:
        await told(registry, "/users", {"name": "ada", "password": PASSWORD})
        await log_in(ada, "ada")
        before = await walked(ada, token=4711, session=4711)
        await told(registry, "/namespaces", {"name": "secret-team", "visibility": "private"})
        await told(registry, "/users/root/tokens", {"name": "of root"})
        await log_in(root)
        tokens = (await root.get("/api/v1/users/root/tokens")).json()["items"]
        (token,) = (entry["id"] for entry in tokens)
        ((session,),) = await registry.context.stores.index.fetch_all(
            "SELECT id FROM browser_sessions", {}
        )
        await log_in(ada, "ada")
        after = await walked(ada, token=token, session=session)
        assert after == before
        assert not any(told_of for *_, told_of in after)
        assert (await root.get("/account", follow_redirects=False)).status_code == 200
        assert (await root.get("/api/v1/users/root/tokens")).json()["items"][0]["id"] == token


async def test_what_is_done_on_pages_is_recorded(house: Open) -> None:
    """Who, from where, by which way, in which request and why, as over the API."""
    async with house() as registry, registry.browser() as here, registry.browser() as there:
        for browser in (there, here):
            await log_in(browser)
        index = registry.context.stores.index
        ((other,), (own,)) = await index.fetch_all(
            "SELECT id FROM browser_sessions ORDER BY id", {}
        )
        assert own != other
        form = {"token": field_of(await here.get("/account")), "name": "laptop", "actions": ""}
        assert (await here.post("/account/tokens", data=form)).status_code == 200
        ((made,),) = await index.fetch_all("SELECT id FROM credentials", {})
        for path in (
            f"/account/tokens/{made}/revoke",
            f"/account/sessions/{other}/end",
            "/auth/logout",
        ):
            assert (await here.post(path, data=form)).status_code == 200
        await registry.context.stores.trail.flush()
        rows = await index.fetch_all(
            "SELECT action, outcome, actor, actor_kind, method, address, request_id, reason"
            " FROM audit_events WHERE actor = 'root' ORDER BY id",
            {},
        )
        done = [row[0] for row in rows if row[0] != "login"]
        assert done == ["token.create", "token.revoke", "logout", "logout"]
        for _, outcome, actor, kind, method, address, request, reason in rows:
            assert (outcome, actor, kind, method) == ("success", "root", "user", "local")
            assert address
            assert request
            assert reason
