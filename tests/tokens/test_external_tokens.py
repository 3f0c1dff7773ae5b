"""`auth: token`: every dialect in which a token names its key, and what is refused."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OctKey

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.errors import UnreachableError
from entrepot.core.tokens import LONGEST_TOKEN, TokenRefusedError, TokenRules, libtrust_fingerprint
from entrepot.identity.external_tokens import ExternalTokens
from entrepot.identity.jws import ALGORITHMS
from entrepot.identity.key_sources import Joined, KeySource, bundle_file, key_set_file
from entrepot.identity.remote_keys import key_set_url
from tests.tokens.issuers import start_issuer
from tests.tokens.signing import (
    EC,
    ED,
    ISSUER,
    OTHER,
    RSA,
    SECRET,
    SERVICE,
    Chain,
    b64,
    certify,
    claims_of,
    key_set,
    pem,
    pull,
    self_signed,
    spki,
    token_of,
    x5c,
)

START = time.time()
"""When it is for those who judge, and who sign: some tokens are made when this is read."""

claims = partial(claims_of, at=START)

CHAIN = Chain()
EXPIRED = Chain(days=-1)
FOREIGN = Chain()
CERTIFICATE = self_signed(EC)
PULLS = claims(pull("a/b"))


class Place:
    """Files with keys, and what judges tokens by them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bundle(self, *certificates: x509.Certificate) -> KeySource:
        path = self.folder / "bundle.pem"
        path.write_bytes(pem(certificates))
        return bundle_file(path, every=300.0)

    def key_set(self, content: bytes) -> KeySource:
        path = self.folder / "keys.json"
        path.write_bytes(content)
        return key_set_file(path, every=300.0)

    def judge(self, *sources: KeySource, **options: Any) -> ExternalTokens:
        options = {"algorithms": ALGORITHMS, "clock": lambda: START, **options}
        return ExternalTokens(Joined(sources), TokenRules((ISSUER,), (SERVICE,)), **options)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def holder(judge: ExternalTokens, token: str) -> Identity:
    return asyncio.run(judge.check(token)).identity


def refused(judge: ExternalTokens, token: str, *, why: str) -> None:
    with pytest.raises(TokenRefusedError, match=why) as error:
        asyncio.run(judge.check(token))
    assert token[-20:] not in str(error.value)


ALICE = Identity(
    "alice",
    "token",
    administrator=True,
    scopes=(Scope("a/b", frozenset({Action.PULL})),),
)

LIBTRUST = libtrust_fingerprint(spki(EC))
LONG_SECRET = OctKey.generate_key(512)


@pytest.mark.parametrize(
    "header",
    [
        {"kid": LIBTRUST},
        {"kid": EC.thumbprint()},
        {"x5c": x5c(CERTIFICATE)},
        {"jwk": EC.as_dict(private=False)},
        {"jwk": {**EC.as_dict(private=False), "kid": LIBTRUST}},
        {},
    ],
    ids=["libtrust", "thumbprint", "x5c", "jwk", "jwk of libtrust", "none"],
)
def test_every_dialect_with_a_bundle(place: Place, header: Mapping[str, Any]) -> None:
    """The bundle's certificate holds the key that signs, as most guides to token servers do it."""
    judge = place.judge(place.bundle(CERTIFICATE))
    assert holder(judge, token_of(PULLS, header=header)) == ALICE


@pytest.mark.parametrize(
    "header",
    [{"kid": "key-0"}, {"kid": EC.thumbprint()}, {"kid": LIBTRUST}, {}],
    ids=["its own id", "thumbprint", "libtrust", "none"],
)
def test_every_dialect_with_a_key_set(place: Place, header: Mapping[str, Any]) -> None:
    judge = place.judge(place.key_set(key_set(EC, OTHER)))
    assert holder(judge, token_of(PULLS, header=header)) == ALICE


@pytest.mark.parametrize(
    "key, alg",
    [
        *((RSA, f"{kind}{size}") for kind in ("RS", "PS") for size in (256, 384, 512)),
        *((LONG_SECRET, f"HS{size}") for size in (256, 384, 512)),
        (ED, "EdDSA"),
        (EC, "ES256"),
        (ECKey.generate_key("P-384"), "ES384"),
        (ECKey.generate_key("P-521"), "ES512"),
    ],
)
def test_every_kind_of_key(place: Place, key: Key, alg: str) -> None:
    judge = place.judge(place.key_set(key_set(OTHER, key)))
    assert holder(judge, token_of(PULLS, key, alg=alg, header={"kid": "key-1"})) == ALICE
    assert holder(judge, token_of(PULLS, key, alg=alg)) == ALICE


@pytest.mark.parametrize(
    "header",
    [
        {"kid": libtrust_fingerprint(spki(RSA))},
        {"kid": RSA.thumbprint()},
        {"x5c": x5c(self_signed(RSA))},
        {"jwk": {**RSA.as_dict(private=False), "kid": libtrust_fingerprint(spki(RSA))}},
        {},
    ],
    ids=["libtrust", "thumbprint", "x5c", "jwk of libtrust", "none"],
)
def test_every_dialect_with_an_rsa_key(place: Place, header: Mapping[str, Any]) -> None:
    """As most guides to registry:2 have it: `openssl req -x509 -newkey rsa`."""
    judge = place.judge(place.bundle(self_signed(RSA)))
    assert holder(judge, token_of(PULLS, RSA, alg="RS256", header=header)) == ALICE


def test_a_chain_leads_to_the_bundle(place: Place) -> None:
    """`x5c` in the header, and in the key in the header."""
    judge = place.judge(place.bundle(CHAIN.root))
    assert holder(judge, token_of(PULLS, header={"x5c": CHAIN.header()})) == ALICE
    jwk = {**EC.as_dict(private=False), "x5c": CHAIN.header()}
    assert holder(judge, token_of(PULLS, header={"jwk": jwk})) == ALICE


def test_bundle_and_key_set_stand_beside_each_other(place: Place) -> None:
    judge = place.judge(place.bundle(CERTIFICATE), place.key_set(key_set(RSA)))
    assert holder(judge, token_of(PULLS, header={"kid": LIBTRUST})) == ALICE
    assert holder(judge, token_of(PULLS, RSA, alg="RS256", header={"kid": "key-0"})) == ALICE


LEAF_AS_AUTHORITY = certify("x", EC.public_key, "leaf", EC.private_key, authority=False)


@pytest.mark.parametrize(
    "header, why",
    [
        ({"x5c": CHAIN.header(CHAIN.leaf)}, "not trusted"),
        ({"x5c": FOREIGN.header()}, "not trusted"),
        ({"x5c": FOREIGN.header(FOREIGN.leaf, FOREIGN.between, FOREIGN.root)}, "not trusted"),
        ({"x5c": EXPIRED.header()}, "not trusted"),
        ({"x5c": x5c(LEAF_AS_AUTHORITY, CHAIN.leaf, CHAIN.between)}, "not trusted"),
        ({"x5c": x5c(CERTIFICATE)}, "not trusted"),
        ({"x5c": ["bm9uc2Vuc2U="]}, "malformed"),
        ({"x5c": ["%%%"]}, "malformed"),
        ({"x5c": CHAIN.header() * 5}, "too long"),
        ({"jwk": EC.as_dict(private=False)}, "not trusted"),
        ({"jwk": {**OTHER.as_dict(private=False), "x5c": CHAIN.header()}}, "not its certificate's"),
        ({"jwk": SECRET.as_dict(private=True)}, "a secret"),
        ({"jwk": {"kty": "EC"}}, "malformed"),
        ({"kid": "unknown"}, "not trusted"),
    ],
)
def test_keys_that_nobody_trusts(place: Place, header: Mapping[str, Any], why: str) -> None:
    judge = place.judge(place.bundle(CHAIN.root))
    refused(judge, token_of(PULLS, header=header), why=why)


def test_who_brings_a_trusted_name_for_another_key(place: Place) -> None:
    """The id, the certificate or the key of somebody else's header does not make the signature."""
    judge = place.judge(place.bundle(CERTIFICATE))
    for header in (
        {"kid": LIBTRUST},
        {"x5c": x5c(CERTIFICATE)},
        {"jwk": EC.as_dict(private=False)},
        {},
    ):
        refused(judge, token_of(PULLS, OTHER, header=header), why="no trusted key")


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"iss": "evil"}, "issuer"),
        ({"iss": None}, "malformed claims"),
        ({"aud": "other"}, "another service"),
        ({"aud": ["other", "third"]}, "another service"),
        ({"aud": None}, "malformed claims"),
        ({"exp": int(START) - 61}, "expired"),
        ({"exp": None}, "malformed claims"),
        ({"exp": "tomorrow"}, "malformed claims"),
        ({"exp": True}, "malformed claims"),
        ({"nbf": int(START) + 120}, "not valid yet"),
        ({"access": "everything"}, "malformed claims"),
        ({"access": [{"type": 1}]}, "malformed claims"),
    ],
)
def test_claims_that_do_not_count(place: Place, changes: dict[str, Any], why: str) -> None:
    judge = place.judge(place.bundle(CERTIFICATE))
    refused(judge, token_of(claims(pull("a/b"), **changes)), why=why)


@pytest.mark.parametrize("leeway", [0.0, 5.0, 600.0])
def test_clocks_may_differ_by_as_much_as_is_configured(place: Place, leeway: float) -> None:
    rules = TokenRules((ISSUER,), (SERVICE,), leeway)
    judge = ExternalTokens(
        place.bundle(CERTIFICATE), rules, algorithms=ALGORITHMS, clock=lambda: START
    )
    late, early = START - leeway, START + leeway
    for good in ({"exp": late + 1}, {"nbf": early - 1}):
        assert holder(judge, token_of(claims(pull("a/b"), **good))) == ALICE
    refused(judge, token_of(claims(pull("a/b"), exp=late - 1)), why="expired")
    refused(judge, token_of(claims(pull("a/b"), nbf=early + 1)), why="not valid yet")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", SERVICE]},
        {"exp": START + 30.5},
        {"exp": int(START) - 30},
        {"nbf": int(START) + 30},
        {"nbf": None, "iat": None, "jti": None},
    ],
)
def test_claims_that_count(place: Place, changes: dict[str, Any]) -> None:
    """Several audiences, fractions of seconds, and clocks that differ by up to a minute."""
    judge = place.judge(place.bundle(CERTIFICATE))
    assert holder(judge, token_of(claims(pull("a/b"), **changes))) == ALICE


def test_no_access_is_no_right(place: Place) -> None:
    """Such a token is good for the login and nothing else; a name that can't be shown is none."""
    judge = place.judge(place.bundle(CERTIFICATE))
    for empty in (claims(), claims(access=None)):
        assert holder(judge, token_of(empty)).scopes == ()
    assert holder(judge, token_of(claims(sub="a\nb"))).name == ""


def test_no_signature_at_all(place: Place) -> None:
    """Neither `none` nor an empty signature."""
    judge = place.judge(place.bundle(CERTIFICATE))
    good = token_of(PULLS)
    body = b64(json.dumps(PULLS).encode()).decode()
    for alg in ("none", "None", "NONE", "nOnE", ""):
        head = b64(json.dumps({"alg": alg, "typ": "JWT"}).encode()).decode()
        refused(judge, f"{head}.{body}.", why="base64url")
        refused(judge, f"{head}.{body}.AAAA", why="not accepted")
        refused(judge, f"{head}.{body}.{good.rpartition('.')[2]}", why="not accepted")
    refused(judge, good.rpartition(".")[0] + ".", why="base64url")
    refused(judge, good.rpartition(".")[0], why="base64url")


@pytest.mark.parametrize(
    "secret",
    [pem([CERTIFICATE]), spki(EC), EC.as_pem(private=False)],
    ids=["certificate", "key", "PEM"],
)
def test_a_public_key_is_no_shared_secret(place: Place, secret: bytes) -> None:
    """HS256 with what everybody knows of the key, by its id and without one."""
    judge = place.judge(place.bundle(CERTIFICATE), place.key_set(key_set(EC)))
    for header in ({}, {"kid": LIBTRUST}, {"kid": "key-0"}, {"x5c": x5c(CERTIFICATE)}):
        head = json.dumps({"alg": "HS256", **header}).encode()
        signed = b".".join(map(b64, (head, json.dumps(PULLS).encode())))
        forged = signed + b"." + b64(hmac.digest(secret, signed, "sha256"))
        refused(judge, forged.decode(), why="no trusted key")


def test_only_the_algorithms_that_are_configured(place: Place) -> None:
    judge = place.judge(place.key_set(key_set(EC, SECRET)), algorithms=("ES256",))
    assert holder(judge, token_of(PULLS)) == ALICE
    refused(judge, token_of(PULLS, SECRET, alg="HS256"), why="not accepted")


@pytest.mark.parametrize("critical", [["exp"], ["b64"], [], "exp", None, {"a": 1}])
def test_critical_headers_are_not_understood(place: Place, critical: object) -> None:
    judge = place.judge(place.bundle(CERTIFICATE))
    refused(judge, token_of(PULLS, header={"crit": critical, "b64": True}), why="critical")


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        "e30.e30.e30",
        "é.é.é",
        "a" * (LONGEST_TOKEN + 1),
        token_of(PULLS) + "=",
        token_of(PULLS).replace(".", " ."),
        token_of(b"[]"),
        token_of(b"null"),
        token_of(b"{"),
        token_of(b"\xff\xfe"),
        token_of(b'{"iss":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        token_of(b'{"a":' + b'{"a":' * 3000 + b"1" + b"}" * 3001),
        token_of(PULLS, header={"jwk": json.loads('{"a":' * 400 + "1" + "}" * 400)}),
        token_of(PULLS, header={"kid": 1}),
        token_of(PULLS, header={"alg": ["ES256"]}),
        token_of(PULLS, header={"x5c": "text"}),
    ],
    ids=lambda token: token[:12],
)
def test_garbage_is_refused(place: Place, token: str) -> None:
    """Too long, nested deeply, or of another form than a token has."""
    judge = place.judge(place.bundle(CERTIFICATE))
    with pytest.raises(TokenRefusedError):
        asyncio.run(judge.check(token))


def test_deep_nesting_in_the_header(place: Place) -> None:
    nested = b'{"alg":"ES256","jwk":' + b'{"a":' * 3000 + b"1" + b"}" * 3001
    token = b".".join((b64(nested), b64(b"{}"), b"AAAA")).decode()
    refused(place.judge(place.bundle(CERTIFICATE)), token, why="malformed header")


def test_a_key_for_encryption_signs_nothing(place: Place) -> None:
    keys = json.loads(key_set(EC, OTHER))
    keys["keys"][0]["use"] = "enc"
    judge = place.judge(place.key_set(json.dumps(keys).encode()))
    refused(judge, token_of(PULLS, header={"kid": "key-0"}), why="not trusted")


def test_a_key_for_one_algorithm_signs_by_no_other(place: Place) -> None:
    judge = place.judge(place.key_set(key_set(RSA, alg="RS256")))
    assert holder(judge, token_of(PULLS, RSA, alg="RS256")) == ALICE
    refused(judge, token_of(PULLS, RSA, alg="PS256"), why="no trusted key")


def test_a_key_set_on_a_server(place: Place) -> None:
    """`jwks` may be a URL; while its server is away nobody is let in, and nobody is refused."""
    with start_issuer() as server:
        server.publish(EC)
        judge = place.judge(key_set_url(f"{server.url}/keys", every=300.0))
        fresh = place.judge(key_set_url(f"{server.url}/keys", every=300.0))

        async def ask() -> None:
            good = token_of(PULLS, header={"kid": "key-0"})
            for _ in range(3):
                assert (await judge.check(good)).identity == ALICE
            with pytest.raises(TokenRefusedError):
                await judge.check(token_of(PULLS, OTHER, header={"kid": "key-0"}))
            assert server.asked == ["/keys"]
            server.away = True
            assert (await judge.check(good)).identity == ALICE
            with pytest.raises(UnreachableError):
                await fresh.check(good)

        asyncio.run(ask())


PARTS = st.text("abcXYZ019-_=+/ .\u00e9", max_size=60)
GOOD = token_of(PULLS)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=200),
        st.tuples(PARTS, PARTS, PARTS).map(".".join),
        st.tuples(st.binary(max_size=80), st.binary(max_size=80)).map(
            lambda parts: f"{b64(parts[0]).decode()}.{b64(parts[1]).decode()}.AAAA"
        ),
        st.integers(0, len(GOOD) - 1).map(lambda at: GOOD[:at] + "A" + GOOD[at:]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["alg", "kid", "x5c", "jwk", "kty"]), inner)
            ),
            max_leaves=8,
        ).map(lambda head: f"{b64(json.dumps(head).encode()).decode()}.e30.AAAA"),
    )
)
def test_nothing_else_than_a_refusal_comes_of_nonsense(place: Place, token: str) -> None:
    judge = place.judge(place.bundle(CERTIFICATE), place.key_set(key_set(EC, RSA)))
    with pytest.raises(TokenRefusedError):
        asyncio.run(judge.check(token))
