"""Users told by the certificates that they show to the registry itself, over its own TLS."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from tests.accounts.test_server import entrepot
from tests.certificates import Authority, Pair
from tests.servers import Registry, children, start_registry, wait_until

pytestmark = pytest.mark.chosen_kind("who somebody is doesn't depend on the index or the storage")

ADMIN: Final = "a phrase for the admin"
EMPTY: Final = hashlib.sha256(b"").hexdigest()
VERIFIED: Final = {"X-SSL-Client-Verify": "SUCCESS"}


@dataclass(frozen=True, slots=True)
class House:
    """A registry where ada develops team-a, tom has no rights, and eve's account is disabled."""

    registry: Registry
    authority: Authority
    pairs: dict[str, Pair]

    def client(self, name: str | None, **options: Any) -> httpx.Client:
        """An HTTP client of somebody, by the certificate alone."""
        return client_of(self.registry, self.authority, self.pairs.get(name or ""), **options)

    def events(self, **query: str) -> list[dict[str, Any]]:
        with self.client(None, auth=("admin", ADMIN)) as client:
            answer = client.get("/api/v1/audit/events", params={"limit": 100, **query})
            return list(answer.raise_for_status().json()["items"])

    def failures(self) -> set[tuple[str, str]]:
        """Whose logins failed, and why."""
        found = self.events(action="login", outcome="failure")
        return {(event["actor"], event["reason"]) for event in found}


def client_of(
    registry: Registry, authority: Authority, shown: Pair | None, **options: Any
) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return httpx.Client(base_url=registry.url, verify=context, timeout=30, **options)


def config(authority: Authority, **more: Any) -> dict[str, Any]:
    pair = authority.server()
    tls = {
        "certificate": str(pair.certificate),
        "key": str(pair.key),
        "clientcas": [str(authority.certificate)],
        "clientauth": "verify-client-cert-if-given",
    }
    local = {"admin": {"password": ADMIN}, "argon2": {"timecost": 1, "memorycost": 1024}}
    certificate = {"pattern": "[a-z]+"}
    return {"http": {"tls": tls, **more}, "auth": {"local": local, "certificate": certificate}}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    authority = Authority(folder / "certificates")
    names = ("ada", "tom", "eve", "admin", "NOT.A.NAME")
    pairs = {name: authority.client(name) for name in names}
    pairs["expired"] = authority.client("expired", days=-1)
    pairs["stranger"] = Authority(folder / "stranger", name="A stranger").client("ada")
    with start_registry(folder / "registry", config=config(authority)) as registry:
        entrepot(registry, "namespace", "create", "team-a")
        entrepot(registry, "access", "grant", "team-a", "--roles", "developer", "--user", "ada")
        entrepot(registry, "user", "create", "eve", "--no-password")
        entrepot(registry, "user", "disable", "eve")
        made = House(registry, authority, pairs)
        with made.client("ada") as ada:
            wait_until(lambda: upload(ada, "team-a/app").status_code == 201, what="the grant")
        yield made


def upload(client: httpx.Client, repository: str, content: bytes = b"") -> httpx.Response:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    query = {"digest": digest}
    return client.post(f"/v2/{repository}/blobs/uploads/", params=query, content=content)


def test_each_is_who_their_certificate_says(house: House) -> None:
    """On every connection, whatever came on others, and whatever headers claim."""
    blob = f"/v2/team-a/app/blobs/sha256:{EMPTY}"
    claims = {**VERIFIED, "X-SSL-Client-Cert": quote(house.pairs["ada"].certificate.read_text())}
    with house.client("ada") as ada, house.client("tom") as tom, house.client(None) as nobody:
        for _ in range(6):
            assert ada.get(blob).status_code == 200
            for headers in ({}, claims):
                assert tom.get(blob, headers=headers).status_code == 404
                assert nobody.get(blob, headers=headers).status_code == 401
        assert upload(tom, "team-a/app").status_code in {403, 404}
        assert upload(nobody, "team-a/app").status_code == 401

    def known() -> set[str]:
        return {each["actor"] for each in house.events(action="login", outcome="success")}

    wait_until(lambda: known() >= {"ada", "tom"}, what="the events")


def test_a_password_counts_before_the_certificate(house: House) -> None:
    with house.client("ada") as client:
        assert client.get("/v2/", auth=("admin", "wrong")).status_code == 401
        users = client.get("/api/v1/users", auth=("admin", ADMIN))
        assert users.status_code == 200
        assert client.get("/api/v1/users").status_code in {403, 404}


@pytest.mark.parametrize(
    "name, actor, reason",
    [
        ("eve", "eve", "eve may not log in by a client certificate"),
        ("admin", "admin", "admin may not log in by a client certificate"),
        ("NOT.A.NAME", "", "the client certificate names nobody who is known here"),
    ],
)
def test_whom_a_certificate_does_not_let_in(
    house: House, name: str, actor: str, reason: str
) -> None:
    """A disabled account, one that has a password, a subject that is no user's: 401 with why, also
    where tokens are given, and a failed login in the audit log. A password works nevertheless.
    """
    with house.client(name) as client:
        for path in ("/v2/", "/v2/team-a/app/tags/list", "/auth/token"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"]
            assert answer.json()["errors"][0]["message"] == reason
        assert client.get("/v2/", auth=("admin", ADMIN)).status_code == 200
    wait_until(lambda: (actor, reason) in house.failures(), what="the event")


@pytest.mark.parametrize(
    "name, alert, reason",
    [
        ("expired", "expired", "certificate has expired"),
        ("stranger", "unknown ca", "unable to get local issuer certificate"),
    ],
)
def test_certificates_that_open_no_connection(
    house: House, name: str, alert: str, reason: str
) -> None:
    """The client is told why by TLS, the log says so, and it is a failed login."""
    with house.client(name) as client, pytest.raises(httpx.TransportError, match=alert):
        client.get("/v2/")
    told = ("", f"the client certificate was refused: {reason}")
    wait_until(lambda: told in house.failures(), what="the event")
    assert "a TLS handshake failed" in house.registry.log()


def test_another_site_can_not_use_a_browsers_certificate(house: House) -> None:
    """What may change something is refused if a browser says that another site made it send it."""
    with house.client("ada") as ada:
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert upload(ada, "team-a/app").status_code == 201
            ada.headers.update(headers)
            assert upload(ada, "team-a/app").status_code == 403
            for header in headers:
                del ada.headers[header]


def test_a_proxy_is_not_its_clients(tmp_path: Path) -> None:
    """From a trusted proxy its header counts, and never the certificate that it shows itself."""
    authority = Authority(tmp_path / "certificates")
    proxy, ada = authority.client("proxy"), authority.client("ada")
    told = config(authority, trustedproxies=["127.0.0.1"])
    of_ada = {**VERIFIED, "X-SSL-Client-Cert": quote(ada.certificate.read_text())}
    with (
        start_registry(tmp_path / "registry", config=told) as registry,
        client_of(registry, authority, proxy) as client,
    ):
        assert client.get("/v2/").status_code == 401
        assert client.get("/v2/", headers=of_ada).status_code == 200
        unverified = {**of_ada, "X-SSL-Client-Verify": "NONE"}
        assert client.get("/v2/", headers=unverified).status_code == 401


def test_an_authority_that_is_taken_back_and_an_end_in_peace(tmp_path: Path) -> None:
    """Both without cutting anybody: whom other authorities vouch for goes on, and an upload that
    runs when the server is told to end is finished.
    """
    authority = Authority(tmp_path / "certificates")
    other = Authority(tmp_path / "other", name="Another authority")
    both = tmp_path / "both.pem"
    both.write_bytes(authority.certificate.read_bytes() + other.certificate.read_bytes())
    told = config(authority, draintimeout="60s")
    told["http"]["tls"]["clientcas"] = [str(both)]
    told["access"] = {"enabled": False}
    with (
        start_registry(tmp_path / "registry", config=told) as registry,
        client_of(registry, authority, authority.client("ada")) as ada,
    ):

        def knows_tom() -> bool:
            with client_of(registry, authority, other.client("tom")) as tom:
                try:
                    return tom.get("/v2/").status_code == 200
                except httpx.TransportError:
                    return False

        assert knows_tom()
        both.write_bytes(authority.certificate.read_bytes())
        wait_until(lambda: not any(knows_tom() for _ in range(6)), what="the end of the authority")
        assert ada.get("/v2/").status_code == 200

        def body() -> Iterator[bytes]:
            yield b"a" * (1 << 20)
            registry.process.terminate()
            registry.wait_until_closed()
            yield b"b" * (1 << 20)

        content = b"a" * (1 << 20) + b"b" * (1 << 20)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        query = {"digest": digest}
        answer = ada.post("/v2/a/blobs/uploads/", params=query, content=body())
        assert answer.status_code == 201
        assert registry.process.wait(60) == 0


def test_large_blobs_leave_the_memory_alone(house: House) -> None:
    """Both ways, through TLS: no worker ever holds much of one."""
    size = 128 << 20
    content = bytes(range(256)) * (size // 256)
    before = most_memory(house.registry)
    with house.client("ada") as ada:
        assert upload(ada, "team-a/large", content).status_code == 201
        url = f"/v2/team-a/large/blobs/sha256:{hashlib.sha256(content).hexdigest()}"
        received = hashlib.sha256()
        with ada.stream("GET", url) as answer:
            for piece in answer.iter_bytes():
                received.update(piece)
        assert url.endswith(received.hexdigest())
    assert most_memory(house.registry) - before < size // 2


def most_memory(registry: Registry) -> int:
    """The most bytes that any worker of a server has ever had in memory."""
    pids = children(registry, "entrepot-worker")
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return max(int(status.partition("VmHWM:")[2].split()[0]) for status in statuses) * 1024


def test_http_without_tls_gets_an_answer(house: House) -> None:
    answer = httpx.get(house.registry.url.replace("https", "http") + "/v2/", timeout=30)
    assert answer.status_code == 400
    assert "https://" in answer.text


def test_who_only_listens_is_no_failure(house: House) -> None:
    """A load balancer's probe leaves nothing in the log."""
    before = house.registry.log().count("a TLS handshake failed")
    for _ in range(3):
        socket.create_connection(("127.0.0.1", house.registry.port)).close()
    with house.client("ada") as ada:
        assert ada.get("/v2/").status_code == 200
    assert house.registry.log().count("a TLS handshake failed") == before
