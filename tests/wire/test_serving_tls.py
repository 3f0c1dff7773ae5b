"""TLS as clients see it: versions, protocols, client certificates, and certificates that change."""

from __future__ import annotations

import hashlib
import shutil
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import httpx
import pytest

from tests.certificates import Authority, Pair
from tests.servers import Registry, RegistryStartError, start_registry, wait_until

pytestmark = pytest.mark.chosen_kind("TLS knows nothing of the index and the storage")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


Serving = Literal["granian", "ours"]


@pytest.fixture(params=get_args(Serving))
def serving(request: pytest.FixtureRequest) -> Serving:
    """What serves: granian, or, where users are told by their certificates, `server/http1.py`."""
    kind: Serving = request.param
    return kind


def tls(pair: Pair, serving: Serving = "granian", **more: Any) -> dict[str, Any]:
    section = {"certificate": str(pair.certificate), "key": str(pair.key), **more}
    if serving == "granian":
        return {"http": {"tls": section}}
    own = {
        "clientcas": [str(pair.certificate.with_name("ca.crt"))],
        "clientauth": "verify-client-cert-if-given",
    }
    return {"http": {"tls": {**own, **section}}, "auth": {"certificate": {}}}


def context(authority: Authority, *, shown: Pair | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.certificate))
    made.set_alpn_protocols(["h2", "http/1.1"])
    if shown is not None:
        made.load_cert_chain(shown.certificate, shown.key)
    return made


def somebody(authority: Authority) -> ssl.SSLContext:
    """A client that is known wherever certificates tell users."""
    return context(authority, shown=authority.client())


def handshake(registry: Registry, using: ssl.SSLContext) -> tuple[str | None, str | None, bytes]:
    """The TLS version, the protocol agreed on, and the certificate shown."""
    with (
        socket.create_connection(("127.0.0.1", registry.port), timeout=10) as plain,
        using.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        shown = secured.getpeercert(binary_form=True) or b""
        return secured.version(), secured.selected_alpn_protocol(), shown


def test_http2_is_agreed_on(authority: Authority, tmp_path: Path) -> None:
    pair = authority.server()
    with (
        start_registry(tmp_path / "r", config=tls(pair)) as registry,
        httpx.Client(verify=context(authority), http2=True) as client,
    ):
        assert handshake(registry, context(authority))[1] == "h2"
        answer = client.get(f"{registry.url}/v2/")
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")


def test_http2_can_be_disabled(authority: Authority, tmp_path: Path, serving: Serving) -> None:
    """Where certificates tell users, it is never offered."""
    config = tls(authority.server(), serving)
    if serving == "granian":
        config["http"]["http2"] = {"disabled": True}
    with start_registry(tmp_path / "r", config=config) as registry:
        assert handshake(registry, context(authority))[1] == "http/1.1"
        assert httpx.get(f"{registry.url}/v2/", verify=somebody(authority)).status_code == 200


def only(version: ssl.TLSVersion, authority: Authority) -> ssl.SSLContext:
    made = context(authority)
    made.minimum_version = made.maximum_version = version
    return made


def test_tls_1_2_is_the_lowest_version(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    with start_registry(tmp_path / "r", config=tls(authority.server(), serving)) as registry:
        assert handshake(registry, context(authority))[0] == "TLSv1.3"
        assert handshake(registry, only(ssl.TLSVersion.TLSv1_2, authority))[0] == "TLSv1.2"


def test_tls_1_3_can_be_the_lowest_version(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    config = tls(authority.server(), serving, minimumtls="tls1.3")
    with start_registry(tmp_path / "r", config=config) as registry:
        assert handshake(registry, context(authority))[0] == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(registry, only(ssl.TLSVersion.TLSv1_2, authority))


def test_cipher_suites_of_old_are_refused(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    """In TLS 1.2 those without authenticated encryption; with forward secrecy and it they count."""
    with start_registry(tmp_path / "r", config=tls(authority.server(), serving)) as registry:
        using = only(ssl.TLSVersion.TLSv1_2, authority)
        using.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        assert handshake(registry, using)[0] == "TLSv1.2"
        using.set_ciphers("ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(registry, using)


@pytest.mark.parametrize("mode", ["", "require-and-verify-client-cert"])
def test_client_certificates_are_required(
    authority: Authority, tmp_path: Path, mode: str, serving: Serving
) -> None:
    """With `clientcas` nobody comes in without a certificate of one of them."""
    other = Authority(tmp_path / "other", name="Another authority")
    stranger = Authority(tmp_path / "stranger", name="A stranger")
    config = tls(
        authority.server(),
        serving,
        clientcas=[str(other.certificate), str(authority.certificate)],
        clientauth=mode,
    )
    with start_registry(tmp_path / "r", config=config) as registry:
        for issuer in (authority, other):
            known = context(authority, shown=issuer.client())
            assert httpx.get(f"{registry.url}/v2/", verify=known).status_code == 200
        for unknown in (context(authority), context(authority, shown=stranger.client())):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{registry.url}/v2/", verify=unknown)


def test_client_certificates_can_be_optional(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    """A wrong one is refused; without one there is a connection, and nobody is known."""
    stranger = Authority(tmp_path / "stranger", name="A stranger")
    config = tls(
        authority.server(),
        serving,
        clientcas=[str(authority.certificate)],
        clientauth="verify-client-cert-if-given",
    )
    with start_registry(tmp_path / "r", config=config) as registry:
        answer = httpx.get(f"{registry.url}/v2/", verify=context(authority))
        assert answer.status_code == (200 if serving == "granian" else 401)
        answer = httpx.get(f"{registry.url}/v2/", verify=somebody(authority))
        assert answer.status_code == 200
        wrong = context(authority, shown=stranger.client())
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{registry.url}/v2/", verify=wrong)


def test_a_changed_certificate_is_taken_up(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    """Without a signal; half a pair, or rubbish, changes nothing and is logged as an error."""
    used = Authority(tmp_path / "used").server()
    shutil.copyfile(authority.certificate, used.certificate.with_name("ca.crt"))
    pairs = first, second = authority.server("first"), authority.server("second")
    replace(used, first)
    shows = {pair: ssl.PEM_cert_to_DER_cert(pair.certificate.read_text()) for pair in pairs}
    with start_registry(tmp_path / "r", config=tls(used, serving)) as registry:
        trusting = somebody(authority)
        assert handshake(registry, trusting)[2] == shows[first]
        replace(used, Pair(second.certificate, first.key))
        wait_until(lambda: "was not reloaded" in registry.log(), what="the complaint")
        assert handshake(registry, trusting)[2] == shows[first]
        replace(used, second)
        wait_until(
            lambda: all(handshake(registry, trusting)[2] == shows[second] for _ in range(10)),
            what="the new certificate from every worker",
        )
        assert httpx.get(f"{registry.url}/v2/", verify=trusting).status_code == 200
        used.certificate.write_text("rubbish")
        complaints = registry.log().count("was not reloaded")
        registry.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: registry.log().count("was not reloaded") > complaints, what="the complaint"
        )
        assert handshake(registry, trusting)[2] == shows[second]


def replace(used: Pair, by: Pair) -> None:
    shutil.copyfile(by.certificate, used.certificate)
    shutil.copyfile(by.key, used.key)


def test_a_certificate_that_cannot_be_used_ends_the_start(
    authority: Authority, tmp_path: Path
) -> None:
    wrong = Pair(authority.server("one").certificate, authority.server("two").key)
    with (
        pytest.raises(RegistryStartError, match="can't be used: key values mismatch") as caught,
        start_registry(tmp_path / "r", config=tls(wrong)),
    ):
        pass
    assert "Traceback" not in str(caught.value)


def test_silence_after_the_handshake_is_cut_off(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    """Who sends nothing, or keeps an HTTP/2 connection without using it, loses the connection."""
    config = tls(authority.server(), serving)
    config["http"]["limits"] = {"headertimeout": "300ms", "keepalivetimeout": "300ms"}
    with start_registry(tmp_path / "r", config=config) as registry:
        for sent in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"):
            with (
                socket.create_connection(("127.0.0.1", registry.port), timeout=20) as plain,
                context(authority).wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                secured.sendall(sent)
                while secured.recv(4096):
                    pass


def test_a_slow_request_is_not_silence(
    authority: Authority, tmp_path: Path, serving: Serving
) -> None:
    """A connection with a request in progress stays, however long no data goes either way."""
    config = tls(authority.server(), serving)
    if serving == "ours":
        config["access"] = {"enabled": False}
    config["http"]["limits"] = {"keepalivetimeout": "1s", "idletimeout": "60s"}
    content = b"slow"
    digest = hashlib.sha256(content).hexdigest()
    with (
        start_registry(tmp_path / "r", config=config) as registry,
        httpx.Client(verify=somebody(authority), http2=True, timeout=20) as client,
    ):
        idle = threading.Event()

        def body() -> Iterator[bytes]:
            yield content[:1]
            idle.wait(3)
            yield content[1:]

        answer = client.post(
            f"{registry.url}/v2/a/blobs/uploads/",
            params={"digest": f"sha256:{digest}"},
            content=body(),
        )
        version = "HTTP/2" if serving == "granian" else "HTTP/1.1"
        assert (answer.status_code, answer.http_version) == (201, version)
