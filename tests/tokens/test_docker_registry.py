"""Debian's docker-registry 2.8 beside us: we are a token server for it, and read what it reads."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from entrepot.core.tokens import libtrust_fingerprint
from tests.clients.provide import path_of
from tests.images_on_disk import digest_of, make_image
from tests.servers import start_registry
from tests.takeover.peer import old_registry
from tests.tokens.signing import (
    EC,
    ISSUER,
    OTHER,
    SERVICE,
    Chain,
    claims_of,
    pem,
    pull,
    self_signed,
    spki,
    token_of,
    x5c,
)

pytestmark = pytest.mark.clients

ADA = ("ada", "in: und wieder out")
CHAIN = Chain()
CERTIFICATE = self_signed(EC)


def test_we_are_a_token_server_for_others(tmp_path: Path) -> None:
    """docker-registry asks its clients for our tokens, and knows them by our certificates."""
    layout = tmp_path / "layout"
    make_image(layout, "one", files={"/greeting": "one\n"})
    auth = {
        "local": {"admin": {"name": ADA[0], "password": ADA[1]}},
        "tokens": {"services": ["other.example"]},
    }
    with start_registry(tmp_path / "ours", config={"auth": auth}) as ours:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(httpx.get(f"{ours.url}/auth/certificates").content)
        token = {
            "realm": f"{ours.url}/auth/token",
            "service": "other.example",
            "issuer": "entrepot",
            "rootcertbundle": str(bundle),
        }
        with old_registry(tmp_path / "theirs", auth={"token": token}) as theirs:
            image = f"docker://{theirs}/team/one:1"
            users = tmp_path / "auth.json"
            skopeo("login", "--tls-verify=false", f"--authfile={users}", theirs, given=ADA)
            known = f"--authfile={users}"
            skopeo("copy", "--dest-tls-verify=false", known, f"oci:{layout}:one", image)
            seen = skopeo("inspect", "--tls-verify=false", known, image)
            assert digest_of(layout, "one") in seen
            mine = httpx.get(
                f"{ours.url}/auth/token", params={"scope": "repository:team/one:pull"}, auth=ADA
            )
            header = {"Authorization": f"Bearer {mine.json()['token']}"}
            answer = httpx.get(f"http://{theirs}/v2/team/one/tags/list", headers=header)
            assert answer.status_code == 401, "a token for us is of no use there"


def skopeo(*arguments: str, given: tuple[str, str] | None = None) -> str:
    more = [f"--username={given[0]}", f"--password={given[1]}"] if given else []
    command = [path_of("skopeo"), "--insecure-policy", *arguments, *more]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Theirs and ours, with the same section `auth: token`."""
    place = tmp_path_factory.mktemp("both")
    bundle = place / "bundle.pem"
    bundle.write_bytes(pem([CERTIFICATE, CHAIN.root]))
    auth = {
        "token": {
            "realm": "https://auth.example/token",
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(bundle),
        }
    }
    with ExitStack() as stack:
        theirs = stack.enter_context(old_registry(place / "theirs", auth=auth))
        config = {"auth": auth, "storage": {"delete": {"enabled": True}}}
        ours = stack.enter_context(start_registry(place / "ours", config=config, workers=1))
        yield f"http://{theirs}", ours.url


ALL = [pull("a/b", "*"), {"type": "registry", "name": "catalog", "actions": ["*"]}]
LIBTRUST = libtrust_fingerprint(spki(EC))
JWK = {**EC.as_dict(private=False), "kid": LIBTRUST}


def make_tokens() -> dict[str, str]:
    return {
        "libtrust": token_of(claims_of(*ALL), header={"kid": LIBTRUST}),
        "x5c": token_of(claims_of(*ALL), header={"x5c": x5c(CERTIFICATE)}),
        "chain": token_of(claims_of(*ALL), header={"x5c": CHAIN.header()}),
        "jwk": token_of(claims_of(*ALL), header={"jwk": JWK}),
        "jwk with a chain": token_of(
            claims_of(*ALL), header={"jwk": {**JWK, "x5c": CHAIN.header()}}
        ),
        "pull": token_of(claims_of(pull("a/b")), header={"kid": LIBTRUST}),
        "push": token_of(claims_of(pull("a/b", "pull", "push")), header={"kid": LIBTRUST}),
        "delete": token_of(claims_of(pull("a/b", "delete")), header={"kid": LIBTRUST}),
        "nothing": token_of(claims_of(), header={"kid": LIBTRUST}),
        "expired": token_of(claims_of(*ALL, exp=1), header={"kid": LIBTRUST}),
        "early": token_of(claims_of(*ALL, nbf=9_000_000_000), header={"kid": LIBTRUST}),
        "for others": token_of(claims_of(*ALL, aud="other"), header={"kid": LIBTRUST}),
        "of others": token_of(claims_of(*ALL, iss="other"), header={"kid": LIBTRUST}),
        "forged": token_of(claims_of(*ALL), OTHER, header={"kid": LIBTRUST}),
        "unknown key": token_of(claims_of(*ALL), OTHER, header={"kid": "unknown"}),
        "garbage": "a.b.c",
    }


TOKENS = list(make_tokens())
REQUESTS = [
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/a/b/tags/list"),
    ("GET", "/v2/c/tags/list"),
    ("POST", "/v2/a/b/blobs/uploads/"),
    ("DELETE", "/v2/a/b/manifests/sha256:" + "a" * 64),
]


@pytest.mark.parametrize("name", ["no token", *TOKENS])
def test_the_same_tokens_are_accepted(both: tuple[str, str], name: str) -> None:
    """With the same challenge for those that are not, on every kind of request."""
    token = make_tokens().get(name)
    header = {"Authorization": f"Bearer {token}"} if token else {}
    for method, path in REQUESTS:
        theirs, ours = (
            httpx.request(method, f"{url}{path}", headers=header, timeout=30) for url in both
        )
        assert challenge(ours) == challenge(theirs), (method, path, theirs.text)
        if theirs.status_code == 401:
            assert ours.status_code == 401
            assert needed(ours) == needed(theirs)
        else:
            assert ours.status_code == theirs.status_code


def challenge(answer: httpx.Response) -> dict[str, Any]:
    """The parts of a challenge; the order of actions in a scope is not theirs to promise."""
    text = answer.headers.get("www-authenticate", "")
    parts = dict(re.findall(r'(\w+)="([^"]*)"', text))
    scope = parts.pop("scope", "")
    resource, _, actions = scope.rpartition(":")
    return {**parts, "scope": (resource, sorted(actions.split(",")))}


def needed(answer: httpx.Response) -> list[Mapping[str, str]]:
    """What the body says is needed."""
    detail = answer.json()["errors"][0]["detail"] or []
    return sorted(detail, key=lambda entry: str(entry["Action"]))


def test_silly_is_as_silly(tmp_path: Path) -> None:
    """Any Authorization header lets in; without one there is the same challenge."""
    auth = {"silly": {"realm": "https://auth.example/token", "service": "s"}}
    with (
        old_registry(tmp_path / "theirs", auth=auth) as theirs,
        start_registry(tmp_path / "ours", config={"auth": auth}, workers=1) as ours,
    ):
        for method, path in REQUESTS[:-1]:
            answers = [
                httpx.request(method, f"{url}{path}") for url in (f"http://{theirs}", ours.url)
            ]
            assert [answer.status_code for answer in answers] == [401, 401]
            said = [
                sorted(re.split(r'[ ,"]', answer.headers["www-authenticate"])) for answer in answers
            ]
            assert said[0] == said[1]
            header = {"Authorization": "seriously, foo"}
            statuses = {
                httpx.request(method, f"{url}{path}", headers=header).status_code
                for url in (f"http://{theirs}", ours.url)
            }
            assert len(statuses) == 1
            assert 401 not in statuses
