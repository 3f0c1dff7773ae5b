"""Logins in a browser that goes from node to node, of people of a directory, a file, a provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import bcrypt
import httpx
import pytest

from tests.directory.openid import openid
from tests.directory.slapd import PASSWORD, slapd
from tests.directory.test_browser import (
    SESSION,
    a_browser,
    field_of,
    go,
    log_in,
    push,
    returning,
    waiting,
)
from tests.directory.test_openid import config as of_provider
from tests.directory.test_server import config as of_directory
from tests.servers import Registry, merged, start_registry

Nodes = tuple[Registry, Registry]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    """Two nodes with the same storage and index, each a process of its own."""
    folder = tmp_path_factory.mktemp("nodes")
    root = folder / "registry"
    if request.param == "postgres":
        database = request.getfixturevalue("postgres").database()
    else:
        database = f"sqlite:///{root}/entrepot/index.sqlite3"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=5)).decode()
    (folder / "htpasswd").write_text(f"hal:{hashed}\n")
    htpasswd = {"realm": "r", "administrators": [], "groups": {"team-a": ["hal"]}}
    with ExitStack() as stack:
        people = stack.enter_context(slapd(folder / "slapd"))
        provider = stack.enter_context(openid(folder / "openid"))
        config: dict[str, Any] = merged(
            of_provider(provider, prefix="sso:"),
            {
                **of_directory(people),
                "storage": {"filesystem": {"rootdirectory": str(root)}},
                "database": {"url": database},
                "http": {"workers": 1},
            },
        )
        config["auth"]["htpasswd"] = {**htpasswd, "path": str(folder / "htpasswd")}
        one, other = (
            stack.enter_context(start_registry(folder / name, config=config))
            for name in ("one", "other")
        )
        yield one, other


def on(node: Registry, url: httpx.URL | str) -> httpx.URL:
    """The same address on another node."""
    return httpx.URL(url).copy_with(port=node.port)


def fill(browser: httpx.Client, page: httpx.Response, node: Registry, **form: str) -> Any:
    """Send the form of a page to a node, as a balancer may."""
    headers = {"Origin": f"http://127.0.0.1:{node.port}"}
    data = {"token": field_of(page), **form}
    return browser.post(on(node, page.url), data=data, headers=headers, follow_redirects=False)


def test_begun_on_one_node_and_finished_on_the_other(nodes: Nodes) -> None:
    """The session is good on both, and over on both; what was used is used up on both."""
    one, other = nodes
    with waiting(one) as browser:
        begin = "/auth/login?provider=sso&next=%2Faccount%3Fa"
        url = returning(browser, "ada", begin)
        assert url.port == one.port
        done = go(browser, on(other, url))
        assert done.status_code == 303
        assert done.headers["location"] == "/account?a"
        for node in nodes:
            assert go(browser, on(node, url)).status_code == 400
            me = browser.get(f"{node.url}/api/v1/whoami").json()
            assert (me["name"], me["groups"]) == ("sso:ada", ["devs", "team-a"])
        page = browser.get(f"{one.url}/account")
        form = {"token": field_of(page)}
        headers = {"Origin": other.url}
        browser.post(f"{other.url}/auth/logout", data=form, headers=headers)
        assert browser.get(f"{one.url}/api/v1/whoami").status_code == 401


@pytest.mark.parametrize("name, method", [("ada", "ldap"), ("hal", "htpasswd")])
def test_the_form_with_people_of_a_directory_and_a_file(
    nodes: Nodes, name: str, method: str
) -> None:
    """Got from one node and sent to the other: in with the right password alone, with the groups
    that people have there, and so have the tokens that they make.
    """
    one, other = nodes
    with a_browser(one) as browser:
        page = browser.get("/auth/login")
        assert "provider=sso" in page.text
        for password in ("wrong", ""):
            refused = fill(browser, page, other, name=name, password=password)
            assert refused.status_code == 403
            assert SESSION not in browser.cookies
        done = fill(browser, page, other, name=name, password=PASSWORD)
        assert done.status_code == 303
        for node in nodes:
            me = browser.get(f"{node.url}/api/v1/whoami").json()
            assert (me["name"], me["method"]) == (name, method)
            assert "team-a" in me["groups"]
        page = browser.get("/account")
        assert f"<h1>{name}</h1>" in page.text
        form = {"token": field_of(page), "name": "laptop", "actions": "", "days": "30"}
        made = browser.post("/account/tokens", data=form)
        secret = re.search(r"entr_pat_\w+", made.text)
        assert secret is not None, made.text
        for node in nodes:
            assert push(node, secret[0], "team-a/one") == 202
            assert push(node, secret[0], "team-b/one") == 404


def test_several_logins_of_one_person(nodes: Nodes) -> None:
    """Who is called alike by two sources has a name of their own by each."""
    one, other = nodes
    with a_browser(one) as here, a_browser(other) as there:
        assert (
            log_in(here, "bob", "/auth/login?provider=sso&next=%2Faccount").url.path == "/account"
        )
        fill(there, there.get("/auth/login"), other, name="bob", password=PASSWORD)
        assert here.get("/api/v1/whoami").json()["name"] == "sso:bob"
        assert there.get("/api/v1/whoami").json()["name"] == "bob"
