"""The form for a name and password, the cookies, and what other sites can't do with them."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import pytest

from tests.web.conftest import LOCAL, PASSWORD, SESSION, House, Open, field_of, log_in

pytestmark = pytest.mark.anyio

PAGES = ("/account", "/auth/login")


async def reasons(house: House, action: str) -> list[tuple[str, str, str]]:
    """What the audit log has of an action: who, how it ended, why."""
    stores = house.context.stores
    await stores.trail.flush()
    rows = await stores.index.fetch_all(
        "SELECT actor, outcome, reason FROM audit_events WHERE action = :action ORDER BY id",
        {"action": action},
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def test_a_name_and_a_password(house: Open) -> None:
    """Whoever has both gets to where they wanted; the session is good for the API."""
    async with house() as registry, registry.browser() as browser:
        sent = await browser.get("/account?a=b", follow_redirects=False)
        assert sent.status_code == 303
        assert sent.headers["location"] == "/auth/login?next=%2Faccount%3Fa%3Db"
        page = await browser.get("/account?a=b")
        form = {name: field_of(page, name) for name in ("token", "next")}
        page = await browser.post("/auth/login", data=form | {"name": "root", "password": PASSWORD})
        assert str(page.url) == "http://registry/account?a=b"
        assert "<h1>root</h1>" in page.text
        assert (await browser.get("/api/v1/whoami")).json()["method"] == "local"
        assert ("root", "success", "known by local, in a browser") in await reasons(
            registry, "login"
        )


async def test_a_wrong_password(house: Open) -> None:
    """The same answer whoever it is; neither the password nor a session comes back; after some of
    them nothing is looked at, in the browser as everywhere."""
    async with house() as registry, registry.browser() as browser:
        for name in ("root", "no<body>", "root"):
            page = await log_in(browser, name, "not the password")
            assert page.status_code == 403
            assert "Wrong name or password" in page.text
            assert "not the password" not in page.text
            assert "no<body>" not in page.text
        assert ("root", "failure", "the credentials are wrong, or no longer good") in await reasons(
            registry, "login"
        )
        await log_in(browser, "root", "not the password")
        page = await log_in(browser)
        assert page.status_code == 429
        assert "Too many failed logins" in page.text
        assert SESSION not in browser.cookies


@pytest.mark.parametrize("name", ["ro:ot", "", "é", "a\r\nSet-Cookie: x=y", "x" * 5000, "\0"])
async def test_a_name_that_is_none(house: Open, name: str) -> None:
    async with house() as registry, registry.browser() as browser:
        page = await log_in(browser, name)
        assert page.status_code == 403
        assert "x" not in browser.cookies


async def test_secrets_are_for_programs(house: Open) -> None:
    """Neither a robot nor a personal access token, which may be limited, begins a session."""
    async with house() as registry, registry.browser() as browser:
        services = registry.context.accounts
        _, robot = await services.robots.create("", "ci", by="test")
        _, token = await services.tokens.create("root", "laptop", by="test")
        for secret in (robot, token):
            assert (await log_in(browser, "root", secret)).status_code == 403
            assert SESSION not in browser.cookies


async def test_cookies_on_tls(house: Open) -> None:
    """They are the host's own, and no other is taken for them."""
    async with house() as registry, registry.browser("https://registry") as browser:
        await log_in(browser)
        (kept,) = [c for c in browser.cookies.jar if c.name == f"__Host-{SESSION}"]
        assert kept.secure
        assert kept.path == "/"
        assert not kept.domain_specified
        assert (await browser.get("/api/v1/whoami")).status_code == 200
        async with registry.browser("https://registry") as other:
            for line in (f"{SESSION}={kept.value}", f"{kept.name}=a; {kept.name}={kept.value}"):
                answer = await other.get("/api/v1/whoami", headers={"Cookie": line})
                assert answer.status_code == 401
            lines = [("Cookie", "a=b"), ("Cookie", f"{kept.name}={kept.value}")]
            assert (await other.get("/api/v1/whoami", headers=lines)).status_code == 200


async def test_cookies_of_a_session(house: Open) -> None:
    async with house() as registry, registry.browser() as browser:
        form = {"token": field_of(await browser.get("/auth/login")), "name": "root"}
        answer = await browser.post(
            "/auth/login", data=form | {"password": PASSWORD}, follow_redirects=False
        )
        lines = answer.headers.get_list("set-cookie")
        (line,) = [line for line in lines if line.startswith(f"{SESSION}=")]
        assert re.fullmatch(
            rf"{SESSION}=[\w-]{{43}}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax", line
        )
        rows = await registry.context.stores.index.fetch_all(
            "SELECT fingerprint FROM browser_sessions", {}
        )
        assert browser.cookies[SESSION].encode() not in rows[0]


ELSEWHERE = [
    {},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://registry.evil.example"},
    {"Origin": "https://registry"},
    {"Origin": "http://registry", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://registry", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
]
HERE = [{"Origin": "http://registry"}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"}]


@pytest.mark.parametrize("headers", ELSEWHERE)
async def test_other_sites_change_nothing(house: Open, headers: dict[str, str]) -> None:
    """By a session: neither with the API, by whatever method, nor with forms; nor can they log
    somebody in. Reading goes on, for the answer is not theirs to see."""
    async with house() as registry, registry.browser(origin=False) as browser:
        form = {"token": field_of(await browser.get("/auth/login")), "name": "root"}
        form |= {"password": PASSWORD}
        refused = await browser.post("/auth/login", data=form, headers=headers)
        assert refused.status_code == 403
        assert SESSION not in browser.cookies
        await browser.post("/auth/login", data=form, headers=HERE[0])
        token = field_of(await browser.get("/account"))
        for method, path, body in (
            ("POST", "/api/v1/namespaces", {"name": "team"}),
            ("PATCH", "/api/v1/users/root", {"description": "x"}),
            ("PUT", "/api/v1/users/root/password", {"password": "another password"}),
            ("DELETE", "/api/v1/locks", None),
        ):
            answer = await browser.request(method, path, json=body, headers=headers)
            assert answer.status_code == 403, (method, path)
            assert answer.json()["errors"][0]["code"] == "DENIED"
        for path in ("/account/tokens", "/auth/logout"):
            data = {"token": token, "name": "x"}
            assert (await browser.post(path, data=data, headers=headers)).status_code == 403
        assert (await browser.get("/api/v1/whoami", headers=headers)).status_code == 200
        assert (await registry.context.accounts.tokens.list("root")) == []


@pytest.mark.parametrize("headers", HERE)
async def test_pages_of_ours_do(house: Open, headers: dict[str, str]) -> None:
    async with house() as registry, registry.browser(origin=False) as browser:
        form = {"token": field_of(await browser.get("/auth/login")), "name": "root"}
        await browser.post("/auth/login", data=form | {"password": PASSWORD}, headers=headers)
        made = await browser.post("/api/v1/namespaces", json={"name": "team"}, headers=headers)
        assert made.status_code == 201
        gone = await browser.request("DELETE", "/api/v1/namespaces/team", headers=headers)
        assert gone.status_code == 200


@pytest.mark.parametrize("path", ["/account/tokens", "/auth/logout", "/account/sessions/1/end"])
async def test_a_form_needs_the_token_of_its_session(house: Open, path: str) -> None:
    """Neither none nor that of another session will do."""
    async with house() as registry, registry.browser() as browser, registry.browser() as other:
        await log_in(browser)
        await log_in(other)
        for token in ("", "x", "é", field_of(await other.get("/account"))):
            answer = await browser.post(path, data={"token": token, "name": "x"})
            assert answer.status_code == 403
        assert (await browser.get("/api/v1/whoami")).status_code == 200


async def test_the_form_of_the_login_needs_its_token(house: Open) -> None:
    async with house() as registry, registry.browser() as browser, registry.browser() as other:
        theirs = field_of(await other.get("/auth/login"))
        for token in ("", theirs):
            form = {"token": token, "name": "root", "password": PASSWORD}
            page = await browser.post("/auth/login", data=form)
            assert page.status_code == 400
            assert SESSION not in browser.cookies


async def test_credentials_go_before_a_session(house: Open) -> None:
    """Who brings both is who the credentials say; wrong ones are not helped by the session. Pages
    look at the session alone."""
    async with house() as registry, registry.browser() as browser:
        await log_in(browser)
        await registry.context.accounts.users.create("ada", password=PASSWORD, by="test")
        me = await browser.get("/api/v1/whoami", auth=("ada", PASSWORD))
        assert me.json()["name"] == "ada"
        wrong = await browser.get("/api/v1/whoami", auth=("ada", "wrong"))
        assert wrong.status_code == 401
        page = await browser.get("/account", auth=("ada", PASSWORD))
        assert "<h1>root</h1>" in page.text
        async with registry.browser() as bare:
            sent = await bare.get("/account", auth=("ada", PASSWORD), follow_redirects=False)
            assert sent.status_code == 303


async def ended(browser: httpx.AsyncClient) -> None:
    """Return when its session is over, within five seconds."""
    for _ in range(250):
        if (await browser.get("/api/v1/whoami")).status_code == 401:
            return
        await anyio.sleep(0.02)
    raise AssertionError("the session goes on")


async def test_what_ends_a_session(house: Open) -> None:
    """Another password, and being disabled; and a session for a name is not one for the next who
    has it."""
    async with house() as registry:
        users, directory = registry.context.accounts.users, registry.context.browser
        assert directory is not None
        for end in ("password", "disable", "delete"):
            await users.create("ada", password=PASSWORD, by="test")
            async with registry.browser() as browser:
                assert (await log_in(browser, "ada")).status_code == 200
                if end == "password":
                    await users.set_password("ada", "another password", by="test")
                elif end == "disable":
                    await users.change("ada", disabled=True, by="test")
                else:
                    await users.delete("ada", by="test")
                    await users.create("ada", password=PASSWORD, by="test")
                await ended(browser)
            await users.delete("ada", by="test")


async def test_the_language_is_the_browsers(house: Open) -> None:
    async with house() as registry, registry.browser() as browser:
        for accepted, language in (
            ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
            ("zh-Hant", "zh-CN"),
            ("de, zh;q=0.3, en;q=0.2", "zh-CN"),
            ("en-GB,zh;q=0.9", "en"),
            ("zh;q=0", "en"),
            ("zh;q=x, \r", "en"),
            ("", "en"),
        ):
            headers = {"Accept-Language": accepted.strip()}
            page = await browser.get("/auth/login", headers=headers)
            assert f'<html lang="{language}">' in page.text, accepted
            assert page.headers["content-language"] == language
        await log_in(browser)
        page = await browser.get("/account", headers={"Accept-Language": "zh"})
        assert "个人访问令牌" in page.text


async def test_pages_load_nothing_and_run_nothing(house: Open) -> None:
    """By what they are, and by what the browser is told."""
    async with house() as registry, registry.browser() as browser:
        await log_in(browser)
        pages = [await browser.get(path) for path in PAGES]
        pages.append(await browser.get("/auth/callback/sso"))
        pages.append(await browser.post("/account/tokens"))
        for page in pages:
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'sha256-")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert not re.search(r"<script|<link|\ssrc=|\son\w+=|style=|https?://", page.text)


async def test_without_a_session_there_are_no_pages(house: Open) -> None:
    """Whoever isn't known is sent to the login, whatever they send."""
    async with house() as registry, registry.browser() as browser:
        for cookie in ("", "x", "a" * 4000, "é"):
            headers = {b"Cookie": f"{SESSION}={cookie}".encode()}
            for method, path in (
                ("GET", "/account"),
                ("POST", "/account/tokens"),
                ("POST", "/account/tokens/1/revoke"),
                ("POST", "/account/sessions/1/end"),
                ("POST", "/auth/logout"),
            ):
                answer = await browser.request(
                    method, path, headers=headers, follow_redirects=False
                )
                assert answer.status_code == 303, path
                assert answer.headers["location"].startswith("/auth/login")
                assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "auth: {htpasswd: {realm: r, path: HERE/htpasswd}}",
        LOCAL.replace("limits", "sessions: {enabled: false}, limits"),
        f"{LOCAL}\naccess: {{enabled: false}}",
    ],
)
async def test_where_nobody_logs_in_there_is_no_login(
    house: Open, text: str, tmp_path: Path
) -> None:
    async with house(text.replace("HERE", str(tmp_path))) as registry:
        assert registry.context.browser is None
        async with registry.browser() as browser:
            for path in PAGES:
                assert (await browser.get(path)).status_code == 404


async def test_an_error_is_told_as_a_page(house: Open) -> None:
    async with house() as registry, registry.browser() as browser:
        await log_in(browser)
        for method, path, status in (
            ("GET", "/auth/callback/sso", 404),
            ("POST", "/account/tokens", 400),
        ):
            page = await browser.request(method, path)
            assert page.status_code == status
            assert "<h1>" in page.text
        answer = await browser.post("/account/tokens", data={"x": "y" * 70_000})
        assert answer.status_code == 400


async def test_a_page_behind_a_prefix(house: Open) -> None:
    """Every address has it."""
    async with (
        house(f"{LOCAL}\nhttp: {{prefix: /hub/}}") as registry,
        registry.browser() as browser,
    ):
        page = await browser.get("/hub/account")
        assert str(page.url) == "http://registry/hub/auth/login?next=%2Fhub%2Faccount"
        form = {name: field_of(page, name) for name in ("token", "next")}
        target = re.search(r'action="([^"]*)"', page.text)
        assert target is not None
        page = await browser.post(target[1], data=form | {"name": "root", "password": PASSWORD})
        assert page.url.path == "/hub/account"
        for action in re.findall(r'action="([^"]*)"', page.text):
            assert action.startswith("/hub/")


def lose_sessions(folder: Path) -> None:
    with closing(sqlite3.connect(next(folder.rglob("index.sqlite3")))) as index:
        index.execute("ALTER TABLE browser_sessions RENAME TO elsewhere")


async def test_the_index_is_away(house: Open, tmp_path: Path) -> None:
    """Then nobody gets in by a session: 503."""
    async with house() as registry, registry.browser() as browser:
        await log_in(browser)
        lose_sessions(tmp_path)
        # Rows that were read are read again once something has been written.
        await registry.context.accounts.users.create("ada", password=None, by="test")
        for path in ("/account", "/api/v1/whoami"):
            answer = await browser.get(path)
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
