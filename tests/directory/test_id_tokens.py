"""ID tokens that a provider would never give, and one that lies: each is refused."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from entrepot.core.access import Identity
from entrepot.core.errors import UnreachableError
from entrepot.identity.errors import LoginUnfinishedError
from entrepot.identity.openid import Provider, ProviderRules
from entrepot.identity.remote_keys import discovered
from entrepot.telemetry import Metrics
from tests.tokens.signing import EC, OTHER, RSA, key_set, token_of

pytestmark = pytest.mark.anyio

CLIENT = "registry"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Liar:
    """A provider's server that answers what a test wants."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoints: dict[str, Any] = {
            "issuer": url,
            "jwks_uri": f"{url}/keys",
            "token_endpoint": f"{url}/token",
            "device_authorization_endpoint": f"{url}/device",
            "userinfo_endpoint": f"{url}/me",
        }
        self.userinfo: Any = {"sub": "1"}
        self.token: Any = ""
        self.device: Any = {"device_code": "d", "user_code": "u", "verification_uri": "file:///x"}

    def page(self, path: str) -> Any:
        return {
            "/.well-known/openid-configuration": self.endpoints,
            "/keys": json.loads(key_set(RSA, EC)),
            "/token": {"id_token": self.token, "access_token": "a"},
            "/device": self.device,
            "/me": self.userinfo,
        }[path]

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        said = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": "1",
            "exp": now + 300,
            "iat": now,
            "preferred_username": "ada",
            "groups": ["team-a"],
        }
        return {name: value for name, value in {**said, **changes}.items() if value is not None}


@contextmanager
def serving() -> Iterator[Liar]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(server_of_lies.page(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server_of_lies = Liar(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server_of_lies
        server.shutdown()
        thread.join()


@pytest.fixture
def liar() -> Iterator[Liar]:
    with serving() as running:
        yield running


@pytest.fixture
def provider(liar: Liar, tmp_path: Path) -> Provider:
    return provider_of(liar, tmp_path)


def provider_of(liar: Liar, folder: Path) -> Provider:
    async def adopt(identity: Identity) -> Identity:
        return identity

    rules = ProviderRules(
        name="sso",
        issuer=liar.url,
        clientid=CLIENT,
        clientsecret="",
        scopes=(),
        username="preferred_username",
        prefix="",
        groups="groups",
        mapping={},
        domains=(),
        cafile="",
        leeway=60.0,
    )
    keys = discovered(liar.url, every=300.0)
    return Provider(rules, keys, adopt=adopt, metrics=Metrics(folder))


async def test_a_good_token(liar: Liar, provider: Provider) -> None:
    liar.token = token_of(liar.claims(aud=[CLIENT, "other"], azp=CLIENT))
    assert await provider.finish("code") == Identity("ada", "oidc", groups=("team-a",))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": [CLIENT, "other"]},
        {"azp": "other"},
        {"exp": 1},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"preferred_username": "robot$ci"},
        {"preferred_username": "../x"},
        {"preferred_username": "ada\n"},
        {"preferred_username": ["ada"]},
        {"preferred_username": {"ada": 1}},
        {"preferred_username": None},
        {"groups": [["team-a"]]},
        {"groups": {"team-a": True}},
        {"groups": ["a\nb"]},
        {"groups": ["g"] * 501},
        {"_claim_names": {"groups": "src1"}},
    ],
)
async def test_claims_that_are_not_for_us(
    liar: Liar, provider: Provider, changes: dict[str, Any]
) -> None:
    """Another issuer's, another client's, too old, too early, or of a name that can't be one."""
    liar.token = token_of(liar.claims(**changes))
    with pytest.raises(LoginUnfinishedError, match="access_denied"):
        await provider.finish("code")


def _by_public_key(payload: str) -> str:
    """A token signed with the public key as a secret, which no library makes."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"key-1"}').rstrip(b"=").decode()
    signed = f"{head}.{payload}"
    mark = hmac.digest(EC.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


async def test_signatures_that_are_not_the_providers(liar: Liar, provider: Provider) -> None:
    """No algorithm, another key, and a public key that is taken for a secret (HS256)."""
    said = liar.claims()
    good = token_of(said)
    head, payload, _ = good.split(".")
    none = "eyJhbGciOiJub25lIn0"
    for token in (
        token_of(said, OTHER),
        _by_public_key(payload),
        f"{none}.{payload}.",
        f"{none}.{payload}.AAAA",
        f"{head}.{payload}.AAAA",
        token_of(said, header={"crit": ["exp"]}),
        "x" * 40_000,
        "",
    ):
        liar.token = token
        with pytest.raises(LoginUnfinishedError, match="access_denied"):
            await provider.finish("code")


async def test_userinfo_about_somebody_else(liar: Liar, provider: Provider) -> None:
    """An access token of another subject would bring their groups."""
    liar.token = token_of(liar.claims(groups=None))
    liar.userinfo = {"sub": "1", "groups": ["devs"], "preferred_username": "eve"}
    assert await provider.finish("code") == Identity("ada", "oidc", groups=("devs",))
    liar.userinfo = {"sub": "2", "groups": ["admins"]}
    with pytest.raises(LoginUnfinishedError, match="access_denied"):
        await provider.finish("code")
    liar.userinfo = ["no object"]
    with pytest.raises(UnreachableError, match="userinfo"):
        await provider.finish("code")


async def test_pages_that_are_none(liar: Liar, provider: Provider) -> None:
    """What is shown to somebody is a page of the web, whatever the provider says."""
    with pytest.raises(UnreachableError, match="names no page"):
        await provider.begin()


async def test_the_discovery_document_of_another(liar: Liar, provider: Provider) -> None:
    liar.endpoints["issuer"] = "https://other.example"
    with pytest.raises(UnreachableError, match="another issuer"):
        await provider.finish("code")
