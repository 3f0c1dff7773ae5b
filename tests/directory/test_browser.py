"""A real provider, a real registry, and people who log in with a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest

from tests.accounts.test_server import as_json
from tests.directory.openid import SECRET, OpenId, fill_in, log_in_by_device, new_key, openid
from tests.directory.test_openid import config
from tests.programs import environment
from tests.servers import Registry, start_registry, wait_until

SESSION = "entrepot-session"
UNDER_WAY = "entrepot-login"

Hooks = Mapping[str, list[Callable[..., Any]]]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenId]:
    with openid(tmp_path_factory.mktemp("openid")) as running:
        yield running


@pytest.fixture(scope="module")
def registry(provider: OpenId, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with start_registry(folder / "registry", config=config(provider)) as running:
        yield running


@contextmanager
def a_browser(
    registry: Registry, *, follow_redirects: bool = True, hooks: Hooks | None = None
) -> Iterator[httpx.Client]:
    """A browser; it goes where it is sent, unless told otherwise."""
    with httpx.Client(
        follow_redirects=follow_redirects,
        timeout=30,
        base_url=registry.url,
        headers={"Origin": registry.url},
        event_hooks=hooks,
    ) as browser:
        yield browser


def log_in(browser: httpx.Client, name: str, page: str = "/account") -> httpx.Response:
    answer = fill_in(browser, browser.get(page), name)
    assert answer.status_code == 200, answer.text
    return answer


@contextmanager
def waiting(registry: Registry) -> Iterator[httpx.Client]:
    """A browser that follows the provider to its end, and then waits."""

    def stop(request: httpx.Request) -> None:
        if request.url.path.startswith("/auth/callback/") and not request.headers.get("go"):
            raise _StoppedError(request.url)

    with a_browser(registry, hooks={"request": [stop]}) as browser:
        yield browser


class _StoppedError(Exception):
    def __init__(self, url: httpx.URL) -> None:
        super().__init__(str(url))
        self.url = url


def returning(browser: httpx.Client, name: str, page: str = "/auth/login") -> httpx.URL:
    """The address that the provider sends a `waiting` browser to."""
    with pytest.raises(_StoppedError) as stopped:
        fill_in(browser, browser.get(page), name)
    return stopped.value.url


def go(browser: httpx.Client, url: httpx.URL | str, **changes: str) -> httpx.Response:
    """Go there, with other parameters."""
    given = httpx.URL(url)
    url = given.copy_with(params=dict(given.params) | changes)
    return browser.get(url, headers={"go": "on"}, follow_redirects=False)


def field_of(page: httpx.Response, name: str = "token") -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


def cli(registry: Registry, *command: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    environment["REGISTRY_CONFIGURATION_PATH"] = str(registry.config_path)
    subprocess.run(
        [sys.executable, "-m", "entrepot", *command],
        check=True,
        capture_output=True,
        timeout=60,
        env=environment,
    )


def push(registry: Registry, secret: str, repository: str) -> int:
    url = f"{registry.url}/v2/{repository}/blobs/uploads/"
    return httpx.post(url, auth=("any", secret), timeout=30).status_code


def test_whoever_logs_in_there_is_known_here(registry: Registry) -> None:
    """The page says who, by whom and with which groups; the session is good for the API, on every
    worker, and not for images."""
    with a_browser(registry) as browser:
        page = log_in(browser, "ada")
        assert page.url.path == "/account"
        for said in ("<h1>ada</h1>", "<dd>sso</dd>", "<li>team-a</li>", "<li>devs</li>"):
            assert said in page.text
        for _ in range(8):
            me = browser.get("/api/v1/whoami").json()
            assert (me["name"], me["groups"]) == ("ada", ["devs", "team-a"])
        assert browser.get("/api/v1/users").status_code == 403
        assert browser.get("/v2/").status_code == 401
        assert browser.get("/v2/_catalog").status_code == 401
    wait_until(lambda: "code=***" in registry.log(), what="the line of the access log")
    assert not re.search(r"(code|state)=(?!\*)", registry.log())


def test_what_is_asked_of_the_provider(registry: Registry, provider: OpenId) -> None:
    """An authorization code with PKCE by SHA-256, a state and a nonce, each new every time."""
    seen = []
    for _ in range(2):
        answer = httpx.get(f"{registry.url}/auth/login")
        assert answer.status_code == 303
        assert "no-store" in answer.headers["cache-control"]
        page = urlsplit(answer.headers["location"])
        assert f"{page.scheme}://{page.netloc}" == provider.url
        asked = {name: value for name, (value,) in parse_qs(page.query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["redirect_uri"] == f"{registry.url}/auth/callback/sso"
        assert asked["scope"] == "openid profile email groups"
        seen += [asked["state"], asked["nonce"], asked["code_challenge"]]
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{UNDER_WAY}=")
        for part in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"):
            assert part in cookie
        for secret in (asked["state"], asked["nonce"]):
            assert secret not in cookie
    assert len(set(seen)) == 6
    assert all(len(value) >= 43 for value in seen)


def test_a_provider_that_wants_pkce_gets_it(registry: Registry) -> None:
    """Without the challenge this provider, which wants one, lets nobody in."""
    with a_browser(registry, follow_redirects=False) as browser:
        page = httpx.URL(browser.get("/auth/login").headers["location"])
        bare = {k: v for k, v in page.params.items() if not k.startswith("code_challenge")}
        answer = browser.get(page.copy_with(params=bare))
        assert "error=invalid_request" in answer.headers["location"]
        refused = browser.get(answer.headers["location"])
        assert refused.status_code == 403
        assert SESSION not in browser.cookies


@pytest.mark.parametrize(
    "changes, status",
    [
        ({"state": "another"}, 400),
        ({"state": ""}, 400),
        ({"iss": "https://evil.example"}, 403),
        ({"iss": ""}, 403),
        ({"code": "another"}, 400),
        ({"code": ""}, 403),
        ({"code": "a" * 5000}, 403),
        ({"error": "access_denied"}, 403),
    ],
)
def test_what_comes_back_must_be_what_was_asked_for(
    registry: Registry, changes: dict[str, str], status: int
) -> None:
    """Another state, another issuer or none, another code: nobody gets a session."""
    with waiting(registry) as browser:
        url = returning(browser, "ada")
        answer = go(browser, url, **changes)
        assert answer.status_code == status, answer.text
        assert SESSION not in browser.cookies
        assert "<h1>" in answer.text


def test_a_parameter_that_is_there_twice_counts_as_none(registry: Registry) -> None:
    with waiting(registry) as browser:
        url = str(returning(browser, "ada"))
        state = httpx.URL(url).params["state"]
        answer = browser.get(f"{url}&state={state}", headers={"go": "on"}, follow_redirects=False)
        assert answer.status_code == 400


def test_a_login_belongs_to_its_browser(registry: Registry) -> None:
    """Nobody can bring another browser into their own session: without its cookie, or with that of
    another login, nothing comes of it."""
    with waiting(registry) as browser, waiting(registry) as victim:
        url = returning(browser, "ada")
        assert go(victim, url).status_code == 400
        theirs = returning(victim, "bob")
        assert go(victim, url).status_code == 400
        assert SESSION not in victim.cookies
        assert theirs.params["state"] != url.params["state"]


def test_a_code_belongs_to_its_browser(registry: Registry) -> None:
    """A code that somebody else got is of no use with the state of one's own: PKCE."""
    with waiting(registry) as browser, waiting(registry) as thief:
        stolen = returning(browser, "ada").params["code"]
        own = returning(thief, "bob")
        answer = go(thief, own, code=stolen)
        assert answer.status_code == 400
        assert SESSION not in thief.cookies


def test_a_login_is_done_once(registry: Registry) -> None:
    """What came back counts once: the cookie is gone, and with it the provider refuses the code."""
    with waiting(registry) as browser:
        url = returning(browser, "ada")
        kept = browser.cookies[UNDER_WAY]
        assert go(browser, url).status_code == 303
        assert browser.cookies[SESSION]
        assert UNDER_WAY not in browser.cookies
        assert go(browser, url).status_code == 400
        browser.cookies.clear()
        browser.cookies.set(UNDER_WAY, kept, domain="127.0.0.1", path="/")
        assert go(browser, url).status_code == 400
        assert SESSION not in browser.cookies


@pytest.mark.parametrize("cookie", ["", "x", "a" * 9000, "é", "AAAA" * 40])
def test_a_cookie_that_is_none(registry: Registry, cookie: str) -> None:
    headers = {b"Cookie": f"{UNDER_WAY}={cookie}".encode()}
    url = f"{registry.url}/auth/callback/sso?code=x&state="
    answer = httpx.get(url, headers=headers)
    assert answer.status_code == 400
    assert "<h1>" in answer.text


def test_somebody_who_does_not_want_to(registry: Registry) -> None:
    """Whoever goes back at the provider is told so, and has no session."""
    with a_browser(registry) as browser:
        answer = fill_in(browser, browser.get("/account"), "ada", abort=True)
        assert answer.status_code == 403
        assert answer.url.path == "/auth/callback/sso"
        assert SESSION not in browser.cookies


@pytest.mark.parametrize("name", ["mallory", "trent"])
def test_nobody_takes_a_name_or_a_group_that_is_none(registry: Registry, name: str) -> None:
    """A robot's name, or groups that aren't names, let nobody in; the audit log knows."""
    with a_browser(registry) as browser:
        answer = fill_in(browser, browser.get("/account"), name)
        assert answer.status_code == 403
        assert SESSION not in browser.cookies


PATHS = ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: a=b"]


@pytest.mark.parametrize("wanted", PATHS)
def test_nobody_is_sent_to_another_host(registry: Registry, wanted: str) -> None:
    """Whatever `next` says that is no path here, the login ends at the account."""
    with waiting(registry) as browser:
        url = returning(browser, "ada", "/auth/login?" + urlencode({"next": wanted}))
        answer = go(browser, url)
        assert answer.headers["location"] == "/account"
        assert "a=b" not in str(answer.headers)


def test_somebody_gets_to_the_page_that_they_asked_for(registry: Registry) -> None:
    with a_browser(registry) as browser:
        assert log_in(browser, "ada", "/account?a=%2Fb&c").url.raw_path == b"/account?a=%2Fb&c"


def test_log_out(registry: Registry) -> None:
    """The session is over on the server, not only in the browser. Other sites can't do that."""
    with a_browser(registry) as browser:
        page = log_in(browser, "ada")
        kept = browser.cookies[SESSION]
        form = {"token": field_of(page)}
        evil = {"Origin": "https://evil.example"}
        assert browser.post("/auth/logout", data=form, headers=evil).status_code == 403
        assert browser.post("/auth/logout", data={"token": "x"}).status_code == 403
        assert browser.get("/api/v1/whoami").status_code == 200
        done = browser.post("/auth/logout", data=form)
        assert done.url.path == "/auth/login"
        assert "logged out" in done.text
        assert SESSION not in browser.cookies
        browser.cookies.clear()
        browser.cookies.set(SESSION, kept, domain="127.0.0.1", path="/")
        assert browser.get("/api/v1/whoami").status_code == 401
        sent = browser.get("/account", follow_redirects=False)
        assert sent.headers["location"] == "/auth/login?next=%2Faccount"


def test_a_token_has_the_groups_of_its_owner(registry: Registry) -> None:
    """Made in the browser, shown once, good for docker, until it is revoked there."""
    with a_browser(registry) as browser:
        page = log_in(browser, "ada")
        wanted = {"token": field_of(page), "name": "laptop <i>", "actions": "", "days": "30"}
        made = browser.post("/account/tokens", data=wanted)
        secret = re.search(r"entr_pat_\w+", made.text)
        assert secret is not None, made.text
        assert "laptop &lt;i&gt;" in made.text
        assert "laptop <i>" not in made.text
        assert secret[0] not in browser.get("/account").text
        assert push(registry, secret[0], "team-a/one") == 202
        assert push(registry, secret[0], "team-b/one") == 404
        wanted |= {"actions": "pull", "repositories": "team-a/**"}
        limited = re.search(r"entr_pat_\w+", browser.post("/account/tokens", data=wanted).text)
        assert limited is not None
        assert push(registry, limited[0], "team-a/one") == 403
        refused = browser.post("/account/tokens", data=wanted | {"repositories": "a//b"})
        assert refused.status_code == 400
        assert 'role="alert"' in refused.text
        for path in re.findall(r'action="(/account/tokens/\d+/revoke)"', made.text):
            form = {"token": field_of(made)}
            assert browser.post(path, data=form).url.path == "/account"

        def ended() -> bool:
            return push(registry, secret[0], "team-a/one") == 401

        wait_until(ended, what="the end of the token")
    assert secret[0] not in registry.log()


def test_a_login_by_device_renews_the_groups(tmp_path: Path) -> None:
    """Whoever lost a group at the provider loses it for their tokens with the next login, by device
    as in a browser; the audit log says so.
    """
    with openid(tmp_path / "openid") as provider:
        given = {**config(provider), "http": {"workers": 1}}
        with start_registry(tmp_path / "registry", config=given) as registry:
            with a_browser(registry) as browser:
                form = {"token": field_of(log_in(browser, "ada")), "name": "laptop"}
                page = browser.post("/account/tokens", data={**form, "actions": "", "days": "30"})
            secret = re.search(r"entr_pat_\w+", page.text)
            assert secret is not None, page.text
            assert push(registry, secret[0], "team-a/one") == 202
            provider.stop()
            provider.people["ada"] = {"groups": ["devs"]}
            provider.start()
            log_in_by_device(registry.url, "ada", environment=environment(HOME=str(tmp_path)))
            wait_until(
                lambda: push(registry, secret[0], "team-a/one") == 404,
                seconds=30,
                what="the end of the group",
            )
            (told,) = as_json(registry, "audit", "search", "--action=user.groups")
            assert (told["actor"], told["target"]) == ("ada", "ada")


def test_somebody_ends_their_other_session(registry: Registry) -> None:
    """One sees one's own sessions, and ends them; nobody ends those of others."""
    with a_browser(registry) as here, a_browser(registry) as there, a_browser(registry) as bob:
        log_in(there, "eve")
        page = log_in(here, "eve")
        (path,) = re.findall(r'action="(/account/sessions/\d+/end)"', page.text)
        theirs = field_of(log_in(bob, "bob"))
        bob.post(path, data={"token": theirs})
        assert there.get("/api/v1/whoami").status_code == 200
        here.post(path, data={"token": field_of(page)})
        assert there.get("/api/v1/whoami").status_code == 401
        assert here.get("/api/v1/whoami").status_code == 200


def test_a_disabled_account_loses_its_sessions(registry: Registry) -> None:
    """On every worker, soon, and there is no new one; somebody who is deleted, too."""
    with a_browser(registry) as browser, a_browser(registry) as bob:
        log_in(browser, "ada")
        log_in(bob, "bob")
        cli(registry, "user", "disable", "ada")
        cli(registry, "user", "delete", "bob")

        def over() -> bool:
            return all(
                each.get("/api/v1/whoami").status_code == 401
                for _ in range(8)
                for each in (browser, bob)
            )

        wait_until(over, what="the end of the sessions")
        assert fill_in(browser, browser.get("/auth/login"), "ada").status_code == 403
        cli(registry, "user", "enable", "ada")


def test_several_providers(provider: OpenId, tmp_path: Path) -> None:
    """The page leads to each of them; their people have names of their own, and what one provider
    says is not taken for the other's."""
    with openid(tmp_path / "openid") as other:
        given = config(provider)
        second = {**given["auth"]["oidc"][0], "name": "second", "issuer": other.url}
        given["auth"]["oidc"] += [{**second, "prefix": "second:"}]
        with (
            start_registry(tmp_path / "registry", config=given) as registry,
            waiting(registry) as browser,
        ):
            page = browser.get("/account")
            links = [unescape(link) for link in re.findall(r'href="(/auth/login[^"]*)"', page.text)]
            assert [httpx.URL(link).params["provider"] for link in links] == ["sso", "second"]
            assert 'name="password"' not in page.text
            for link, name in zip(links, ("ada", "second:ada"), strict=True):
                url = returning(browser, "ada", link)
                wrong = url.path.replace("sso", "-").replace("second", "sso").replace("-", "second")
                assert go(browser, url.copy_with(path=wrong)).status_code == 400
                url = returning(browser, "ada", link)
                assert go(browser, url).headers["location"] == "/account"
                assert browser.get("/api/v1/whoami").json()["name"] == name
            assert browser.get("/auth/login?provider=third").status_code == 404


def test_the_provider_is_away_and_comes_back_with_another_key(tmp_path: Path) -> None:
    """503 and its name in the log, never an open door; who is logged in goes on. A new key is found
    by itself."""
    with openid(tmp_path / "openid") as provider:
        given = {**config(provider), "http": {"workers": 1}}
        with start_registry(tmp_path / "registry", config=given) as registry:
            with waiting(registry) as browser, a_browser(registry) as inside:
                log_in(inside, "ada")
                url = returning(browser, "ada")
                provider.stop()
                answer = go(browser, url)
                assert answer.status_code == 503
                assert answer.headers["retry-after"]
                assert SESSION not in browser.cookies
                assert inside.get("/api/v1/whoami").status_code == 200
                log = registry.log_path.read_text()
                assert 'provider":"sso"' in log
                assert provider.url in log
                assert SECRET not in log
                registry.stop()
                registry.start()
                assert browser.get("/auth/login", follow_redirects=False).status_code == 503
                assert inside.get("/api/v1/whoami").status_code == 200
                provider.key = new_key()
                provider.start()

            def in_again() -> bool:
                with a_browser(registry) as browser:
                    return fill_in(browser, browser.get("/account"), "ada").status_code == 200

            # Unknown keys are asked for every ten seconds at most.
            wait_until(in_again, seconds=60, what="the new key")
