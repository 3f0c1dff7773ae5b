"""A registry with a token server beside it (`auth: token`), from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import Registry, start_registry, wait_until
from tests.takeover.peer import old_registry
from tests.tokens.issuers import start_issuer
from tests.tokens.signing import (
    EC,
    ED,
    ISSUER,
    OTHER,
    RSA,
    SERVICE,
    claims_of,
    key_set,
    pem,
    pull,
    self_signed,
    token_of,
)

REALM = "https://auth.example/token"


def status(registry: Registry, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{registry.url}/v2/a/tags/list", headers=headers, timeout=30).status_code


def test_its_keys_are_read_again_from_where_they_are(tmp_path: Path) -> None:
    """A new key counts, with or without its name in the token, and one that was taken back no
    more; what the configuration says of clocks and algorithms holds.
    """
    with start_issuer() as server:
        server.publish(EC)
        token = {
            "realm": REALM,
            "service": SERVICE,
            "issuer": ISSUER,
            "jwks": f"{server.url}/keys",
            "jwksrefresh": "1s",
            "leeway": "5s",
            "signingalgorithms": ["ES256"],
        }
        with start_registry(tmp_path / "registry", config={"auth": {"token": token}}) as registry:

            def made(key: Any = EC, **changes: Any) -> str:
                return token_of(claims_of(pull("a"), **changes), key)

            wait_until(lambda: status(registry, made()) == 404, what="the first key")
            assert status(registry, made(OTHER)) == 401
            assert status(registry, made(exp=claims_of()["iat"] - 30)) == 401, "by default it may"
            assert status(registry, made(nbf=claims_of()["iat"] + 30)) == 401
            server.publish(OTHER)
            wait_until(
                lambda: {status(registry, made(OTHER)) for _ in range(6)} == {404},
                seconds=60,
                what="the new key on every worker",
            )
            wait_until(
                lambda: {status(registry, made(EC)) for _ in range(6)} == {401},
                seconds=60,
                what="the end of the old key on every worker",
            )


def test_files_with_keys_are_read_again(tmp_path: Path) -> None:
    """A bundle and a key set, without a restart: the new keys count on every worker, and what is no
    longer in the files no more.
    """
    bundle, keys = tmp_path / "bundle.pem", tmp_path / "keys.json"
    bundle.write_bytes(pem([self_signed(EC)]))
    keys.write_bytes(key_set(RSA))
    token = {
        "realm": REALM,
        "service": SERVICE,
        "issuer": ISSUER,
        "rootcertbundle": str(bundle),
        "jwks": str(keys),
        "jwksrefresh": "1s",
    }
    with start_registry(tmp_path / "registry", config={"auth": {"token": token}}) as registry:

        def answers(key: Any, alg: str = "ES256") -> set[int]:
            """What each of the two workers says to a token, in all likelihood."""
            return {
                status(registry, token_of(claims_of(pull("a")), key, alg=alg)) for _ in "123456"
            }

        assert answers(EC) == answers(RSA, "RS256") == {404}
        assert answers(OTHER) == answers(ED, "EdDSA") == {401}
        bundle.write_bytes(pem([self_signed(OTHER)]))
        keys.write_bytes(key_set(ED))
        wait_until(lambda: answers(OTHER) == {404}, what="the bundle's new key")
        wait_until(lambda: answers(ED, "EdDSA") == {404}, what="the set's new key")
        wait_until(lambda: answers(EC) == {401}, what="the end of the bundle's old key")
        wait_until(lambda: answers(RSA, "RS256") == {401}, what="the end of the set's old key")


@pytest.mark.clients
def test_the_realm_of_autoredirect_is_as_theirs(tmp_path: Path) -> None:
    """Below the host that the client asked, by https unless a proxy says otherwise, which they
    begin to believe with registry:3 only.
    """
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(pem([self_signed(EC)]))
    token = {
        "realm": REALM,
        "service": SERVICE,
        "issuer": ISSUER,
        "rootcertbundle": str(bundle),
        "autoredirect": True,
    }
    auth = {"token": token}
    with (
        old_registry(tmp_path / "theirs", auth=auth) as theirs,
        start_registry(tmp_path / "ours", config={"auth": auth}, workers=1) as ours,
    ):
        for headers in (
            {"Host": "hub.example"},
            {"Host": "hub.example:5000", "X-Forwarded-Proto": "https"},
        ):
            said = [
                httpx.get(f"{url}/v2/", headers=headers).headers["www-authenticate"]
                for url in (f"http://{theirs}", ours.url)
            ]
            assert said[0] == said[1]
        plain = {"Host": "hub.example:5000", "X-Forwarded-Proto": "http"}
        challenge = httpx.get(f"{ours.url}/v2/", headers=plain).headers["www-authenticate"]
        assert challenge.startswith('Bearer realm="http://hub.example:5000/auth/token",')
    token["autoredirectpath"] = "/tokens"
    with start_registry(tmp_path / "other", config={"auth": auth}, workers=1) as ours:
        said_of = httpx.get(f"{ours.url}/v2/", headers={"Host": "hub.example"}).headers
        expected = f'Bearer realm="https://hub.example/tokens",service="{SERVICE}"'
        assert said_of["www-authenticate"] == expected
