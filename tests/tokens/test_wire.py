"""The token server from outside: what it answers, what it asks for, and what a change does."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.postgres import Postgres
from tests.programs import run
from tests.servers import Registry, start_registry, wait_until
from tests.tokens.issuers import AUDIENCE, Issuer, start_issuer

USER, PASSWORD = "ada", "in: und wieder out"
ADA = (USER, PASSWORD)
LOCAL = {"local": {"admin": {"name": USER, "password": PASSWORD}}}
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


def entrepot(registry: Registry, *command: str, given: str = "") -> str:
    """What a command says that is run beside the server, with its configuration."""
    done = run(*command, "-c", str(registry.config_path), text=given)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with start_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Registry]:
    """A registry with an administrator, a public namespace, and jobs that are let in."""
    rules = [
        {"claims": {"ref": "main"}, "scopes": [{"repositories": "team/**", "actions": ["pull"]}]},
        {"claims": {"ref": "robot"}, "robot": "robot$team+ci"},
    ]
    workload = {"name": "ci", "issuer": issuer.url, "audience": AUDIENCE, "rules": rules}
    config = {"auth": {**LOCAL, "workloads": [workload]}}
    place = tmp_path_factory.mktemp("wire") / "registry"
    with start_registry(place, config=config) as registry:
        entrepot(registry, "namespace", "create", "open", "--visibility", "public")
        entrepot(registry, "namespace", "create", "team")
        entrepot(registry, "robot", "create", "ci", "--namespace", "team")
        entrepot(registry, "access", "grant", "team", "--roles=developer", "--robot=robot$team+ci")
        yield registry


@pytest.fixture
def http(site: Registry) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


# What is answered --------------------------------------------------------------------------------


def test_get(http: httpx.Client) -> None:
    """Everything that the specification names, and what must not be kept by anybody between."""
    scopes = ["repository:team/a:pull,push", "registry:catalog:* repository:team/b:pull"]
    query = {"service": "entrepot", "scope": scopes, "account": USER, "client_id": "docker"}
    answer = http.get("/auth/token", params=query, auth=ADA)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert said["token"] == said["access_token"]
    assert said["expires_in"] == 300
    issued = time.strptime(said["issued_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.mktime(issued) - time.mktime(time.gmtime())) < 60
    assert "refresh_token" not in said
    inside = claims(said["token"])
    assert inside["access"] == [
        {"type": "repository", "name": "team/a", "actions": ["pull", "push"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
        {"type": "repository", "name": "team/b", "actions": ["pull"]},
    ]
    assert (inside["sub"], inside["iss"], inside["aud"]) == (USER, "entrepot", "entrepot")
    assert inside["exp"] - inside["iat"] == 300
    offline = http.get("/auth/token", params={"offline_token": "true"}, auth=ADA).json()
    assert offline["refresh_token"]
    assert "refresh_token" not in http.get("/auth/token", params={"offline_token": "true"}).json()


def test_anybody_may_pull_what_is_public(http: httpx.Client) -> None:
    """And asks for a token first, as docker does; for the rest there is nothing in it."""
    scope = ["repository:open/x:pull,push", "repository:team/a:pull"]
    answer = http.get("/auth/token", params={"scope": scope})
    assert answer.json()["scope"] == "repository:open/x:pull"
    header = bearer(answer)
    assert http.get("/v2/", headers=header).status_code == 200
    assert http.get("/v2/open/x/tags/list", headers=header).status_code == 404
    refused = http.get("/v2/team/a/tags/list", headers=header)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].endswith(
        'scope="repository:team/a:pull",error="insufficient_scope"'
    )


def test_post(http: httpx.Client) -> None:
    """A password for a token and a refresh token, if it is asked for; that for another token, and
    its end. Several scopes come in one parameter, and what isn't allowed is left out.
    """
    login = {"service": "entrepot", "client_id": "docker"}
    form = {**login, "username": USER, "password": PASSWORD, "access_type": "offline"}
    said = http.post(
        "/auth/token", data={**form, "grant_type": "password", "scope": "repository:a:pull"}
    ).json()
    assert said["scope"] == "repository:a:pull"
    refresh = {**login, "grant_type": "refresh_token", "refresh_token": said["refresh_token"]}
    again = http.post("/auth/token", data={**refresh, "scope": "repository:b:push"}).json()
    assert again["scope"] == "repository:b:push"
    assert again["access_token"] == again["token"]
    assert (again["token_type"], again["expires_in"]) == ("Bearer", 300)
    time.strptime(again["issued_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert claims(again["access_token"])["access"] == [
        {"type": "repository", "name": "b", "actions": ["push"]}
    ]
    several = "repository:a:pull,push repository:b:pull oven:x:bake"
    online = {**form, "grant_type": "password", "access_type": "online", "scope": several}
    said_online = http.post("/auth/token", data=online).json()
    assert said_online["scope"] == "repository:a:pull,push repository:b:pull"
    assert "refresh_token" not in said_online
    assert again["refresh_token"] == said["refresh_token"]
    assert http.post("/auth/revoke", data={"token": said["refresh_token"]}).status_code == 200
    refused = http.post("/auth/token", data=refresh)
    assert refused.status_code == 401
    assert refused.json()["error"] == "invalid_grant"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer abc"}, {"Authorization": "x"}])
def test_wrong_credentials_get(http: httpx.Client, header: Mapping[str, str]) -> None:
    auth = None if header else (USER, "wrong")
    answer = http.get("/auth/token", headers=header, auth=auth)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize(
    "form, status, error",
    [
        ({"grant_type": "password", "username": USER, "password": "no"}, 401, "invalid_grant"),
        ({"grant_type": "password", "username": "a:b", "password": "c"}, 401, "invalid_grant"),
        ({"grant_type": "password"}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "made up"}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token"}, 401, "invalid_grant"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({"scope": ""}, 400, "unsupported_grant_type"),
        ({"grant_type": EXCHANGE}, 400, "invalid_request"),
        (
            {"grant_type": EXCHANGE, "subject_token": "a.b.c", "subject_token_type": JWT},
            401,
            "invalid_grant",
        ),
        ({"grant_type": "password", "service": "other"}, 400, "invalid_request"),
        ({"grant_type": "password", "client_id": "x" * 300}, 400, "invalid_request"),
        ({"grant_type": "password", "client_id": "a\r\nb"}, 400, "invalid_request"),
        ({"grant_type": "password", "scope": "repository:A:pull"}, 400, "invalid_scope"),
        ({"grant_type": "password", "scope": 'repository:a:pull",x="'}, 400, "invalid_scope"),
        ({f"f{number}": "x" for number in range(100)}, 400, "invalid_request"),
    ],
)
def test_forms_that_are_refused(
    http: httpx.Client, form: dict[str, str], status: int, error: str
) -> None:
    """In OAuth's form, with the registry's beside it for clients that know that one."""
    answer = http.post("/auth/token", data=form)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == error
    assert answer.json()["errors"][0]["message"] == answer.json()["error_description"]
    assert answer.headers["cache-control"] == "no-store"


def test_sizes_are_bounded(http: httpx.Client) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    large = http.post("/auth/token", content=b"a=" + b"x" * 70_000, headers=kind)
    assert large.status_code == 400
    assert http.post("/auth/token", content=b"{}").json()["error"] == "invalid_request"
    many = {"scope": ["repository:a:pull"] * 101}
    assert http.get("/auth/token", params=many, auth=ADA).json()["error"] == "invalid_scope"


def test_keys_are_published(http: httpx.Client) -> None:
    keys = http.get("/auth/jwks")
    assert keys.headers["content-type"] == "application/jwk-set+json"
    assert keys.headers["cache-control"] == "public, max-age=300"
    assert {key["kty"] for key in keys.json()["keys"]} == {"EC"}
    certificates = http.get("/auth/certificates")
    assert certificates.text.startswith("-----BEGIN CERTIFICATE-----")


# What is asked for -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method, path, scope",
    [
        ("GET", "/v2/", ""),
        ("GET", "/v2/a/b/manifests/c", ',scope="repository:a/b:pull"'),
        ("PUT", "/v2/a/b/manifests/c", ',scope="repository:a/b:pull,push"'),
        ("POST", "/v2/a/b/blobs/uploads/", ',scope="repository:a/b:pull,push"'),
        ("DELETE", "/v2/a/b/manifests/c", ',scope="repository:a/b:delete"'),
    ],
)
def test_challenges(http: httpx.Client, site: Registry, method: str, path: str, scope: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 401
    expected = f'Bearer realm="{site.url}/auth/token",service="entrepot"{scope}'
    assert answer.headers["www-authenticate"] == expected


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def test_bad_tokens(http: httpx.Client) -> None:
    """One answer for all of them, with `invalid_token`, also for what is made of a good one: not
    signed, signed by our public key as if that were a secret, with critical headers, nested.
    """
    good = http.get("/auth/token", auth=ADA).json()["token"]
    head, body, signature = good.split(".")
    said = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert said["alg"] == "ES256"
    tokens = ["x", "a.b.c", f"{head}.{body}.AAAA", f"{good}.{good}", encoded(good.encode())]
    changes: list[dict[str, Any]] = [{"alg": "none"}, {"alg": "NONE"}, {"crit": ["exp"]}]
    for change in changes:
        changed = encoded(json.dumps(said | change).encode())
        tokens += [f"{changed}.{body}.{signature}", f"{changed}.{body}."]
    published = http.get("/auth/certificates").content
    point = x509.load_pem_x509_certificate(published).public_key()
    pem = point.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    symmetric = f"{encoded(json.dumps(said | {'alg': 'HS256'}).encode())}.{body}"
    for secret in (published, published.strip(), pem, pem.strip(), b""):
        signed = hmac.digest(secret, symmetric.encode(), "sha256")
        tokens.append(f"{symmetric}.{encoded(signed)}")
    tokens.append(f"{encoded(b'[' * 6000)}.{body}.{signature}")
    for token in tokens:
        answer = http.get("/v2/a/tags/list", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token
        assert (
            'scope="repository:a:pull",error="invalid_token"' in answer.headers["www-authenticate"]
        )
    assert http.get("/v2/", headers={"Authorization": f"Bearer {good}"}).status_code == 200


def test_a_name_in_the_path_is_not_put_into_the_challenge(http: httpx.Client) -> None:
    """What is no name of a repository does not get into a header, whatever it is."""
    for name in ('x",error="y', "x%0d%0aSet-Cookie:%20a=b", "UPPER", "%E2%82%AC"):
        answer = http.get(f"/v2/{name}/tags/list")
        assert answer.status_code in {400, 401}
        assert "set-cookie" not in answer.headers
        assert "scope=" not in answer.headers.get("www-authenticate", "")


def test_the_realm_is_where_the_client_found_the_registry(
    http: httpx.Client, tmp_path: Path
) -> None:
    """Through a proxy, below a prefix, with a host that is configured, with relative addresses."""
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "hub.example"}
    challenge = http.get("/v2/", headers=proxied).headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="https://hub.example/auth/token",')
    settings = {"prefix": "/hub/", "host": "https://a.example", "relativeurls": True}
    config = {"http": settings, "auth": LOCAL}
    with start_registry(tmp_path / "registry", config=config, workers=1) as registry:
        answer = httpx.get(f"{registry.url}/hub/v2/")
        assert answer.headers["www-authenticate"] == (
            'Bearer realm="https://a.example/hub/auth/token",service="a.example"'
        )
        token = httpx.get(f"{registry.url}/hub/auth/token", auth=ADA)
        assert httpx.get(f"{registry.url}/hub/v2/", headers=bearer(token)).status_code == 200


def test_basic_credentials_work_without_a_token(http: httpx.Client) -> None:
    """For scripts that never asked for one."""
    assert http.get("/v2/", auth=ADA).status_code == 200
    assert http.get("/v2/", auth=(USER, "wrong")).status_code == 401


def test_an_htpasswd_file_alone_is_as_in_registry_2(tmp_path: Path) -> None:
    """Basic, and no token server, unless it is asked for."""
    users = tmp_path / "htpasswd"
    users.write_text("ada:$2b$04$zDSTjpbnVjWtqFF2KBDEzurbKBCpDmjFITFWJa3h6XTgM9p6KHDWi\n")
    auth: dict[str, Any] = {"htpasswd": {"realm": "r", "path": str(users)}}
    with start_registry(tmp_path / "a", config={"auth": auth}, workers=1) as registry:
        answer = httpx.get(f"{registry.url}/v2/")
        assert answer.headers["www-authenticate"] == 'Basic realm="r"'
        assert httpx.get(f"{registry.url}/auth/token").status_code == 404
    auth["tokens"] = {"enabled": True}
    with start_registry(tmp_path / "b", config={"auth": auth}, workers=1) as registry:
        answer = httpx.get(f"{registry.url}/v2/")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert httpx.get(f"{registry.url}/auth/token").status_code == 401


# Jobs --------------------------------------------------------------------------------------------


def test_a_job_exchanges_its_token(http: httpx.Client, issuer: Issuer) -> None:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": issuer.token(ref="main"),
        "subject_token_type": JWT,
        "scope": "repository:team/a:pull,push repository:other:pull",
    }
    said = http.post("/auth/token", data=form).json()
    assert said["scope"] == "repository:team/a:pull"
    assert said["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    header = {"Authorization": f"Bearer {said['token']}"}
    assert http.get("/v2/team/a/tags/list", headers=header).status_code == 404
    assert http.get("/v2/team/b/tags/list", headers=header).status_code == 401
    assert http.get("/v2/other/tags/list", headers=header).status_code == 401


def test_a_job_brings_its_token_as_a_password(http: httpx.Client, issuer: Issuer) -> None:
    """As `docker login` does, and then acts as the robot that the rule names."""
    token = issuer.token(ref="robot")
    query = {"scope": "repository:team/a:pull,push,delete", "offline_token": "true"}
    said = http.get("/auth/token", params=query, auth=("oidc", token)).json()
    assert said["scope"] == "repository:team/a:pull,push"
    assert claims(said["token"])["sub"] == "robot$team+ci"
    assert "refresh_token" not in said
    assert http.get("/v2/", auth=("oidc", token)).status_code == 200
    assert http.get("/auth/token", auth=("oidc", issuer.token(ref="x"))).status_code == 401


# After a change ----------------------------------------------------------------------------------


def test_a_change_counts_on_every_node(postgres: Postgres, tmp_path: Path) -> None:
    """A second node refuses a token within 5 s after its holder lost the grant or was disabled;
    somebody else's tokens go on, and so do the tokens that either node has issued.
    """
    config = {"database": {"url": postgres.empty_database()}, "auth": LOCAL}
    with (
        start_registry(tmp_path / "a", config=config, workers=1) as one,
        start_registry(tmp_path / "b", config=config, workers=1) as two,
    ):
        entrepot(one, "namespace", "create", "team")
        for name in ("bob", "eve"):
            entrepot(one, "user", "create", name, "--password-stdin", given=PASSWORD)
            entrepot(one, "access", "grant", "team", "--roles=developer", f"--user={name}")
        query = {"scope": "repository:team/a:pull,push"}
        path = "/v2/team/a/tags/list"
        headers = {
            name: bearer(httpx.get(f"{one.url}/auth/token", params=query, auth=(name, PASSWORD)))
            for name in ("bob", "eve")
        }

        def known(name: str) -> bool:
            answer = httpx.get(two.url + path, headers=headers[name])
            return "NAME_UNKNOWN" in answer.text

        def enters(name: str) -> bool:
            return httpx.get(f"{two.url}/v2/", headers=headers[name]).status_code == 200

        def pushes(name: str) -> bool:
            answer = httpx.post(f"{two.url}/v2/team/a/blobs/uploads/", headers=headers[name])
            return answer.status_code == 202

        assert all(known(name) and enters(name) and pushes(name) for name in ("bob", "eve"))
        grants = json.loads(entrepot(one, "access", "list", "--user=bob", "--output=json"))
        entrepot(one, "access", "revoke", str(grants[0]["id"]))
        wait_until(lambda: not pushes("bob"), what="the end of the grant")
        assert enters("bob")
        assert pushes("eve")
        entrepot(one, "user", "disable", "bob")
        wait_until(lambda: not enters("bob"), what="the end of the user")
        assert enters("eve")
        assert pushes("eve")
