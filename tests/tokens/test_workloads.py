"""Jobs without a secret: whom the tokens of another issuer let in, and whom not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import OctKey, RSAKey

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.errors import UnreachableError
from entrepot.core.tokens import TokenRefusedError, TokenRules
from entrepot.identity.bearer import Unchanging
from entrepot.identity.errors import IdentityError
from entrepot.identity.jws import read_token
from entrepot.identity.key_sources import Refreshed
from entrepot.identity.keys import TrustedKeys, read_key_set
from entrepot.identity.remote_keys import discovered, fetch, key_set_address
from entrepot.identity.workloads import Issuer as Trusted
from entrepot.identity.workloads import JobStanding, Rule, Workloads, claim_pattern
from tests.tokens.issuers import AUDIENCE, Issuer, start_issuer
from tests.tokens.signing import EC, key_set, token_of

pytestmark = pytest.mark.anyio

PULL = (Scope("acme/**", frozenset({Action.PULL})),)
ROBOT = Identity("robot$acme+ci", "robot", kind="robot")


@pytest.fixture(scope="module")
def server() -> Iterator[Issuer]:
    with start_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(server: Issuer) -> Issuer:
    server.away = False
    server.publish(server.key)
    server.asked.clear()
    return server


class Robots:
    def __init__(self) -> None:
        self.known = {ROBOT.name: ROBOT}

    async def __call__(self, name: str) -> Identity | None:
        return self.known.get(name)


def rule(robot: str = "", **claims: str) -> Rule:
    patterns = {name: claim_pattern(text) for name, text in claims.items()}
    return Rule(patterns, robot, () if robot else PULL)


Make = Callable[..., Workloads]


@pytest.fixture
def trust(issuer: Issuer) -> Make:
    def make(*rules: Rule, robots: Robots | None = None) -> Workloads:
        tokens = TokenRules((issuer.url,), (AUDIENCE,), 60.0)
        trusted = Trusted("ci", rules, tokens, discovered(issuer.url, every=300.0))
        return Workloads([trusted], robots=robots or Robots())

    return make


MAIN = {"repository": "acme/*", "ref": "refs/heads/main"}


async def test_a_job_is_let_in_by_what_its_token_says(trust: Make, issuer: Issuer) -> None:
    """With the rights of the rule; its name says which issuer and which job."""
    workloads = trust(rule(**MAIN))
    token = issuer.token(repository="acme/app", ref="refs/heads/main")
    identity = await workloads.exchange(token)
    assert identity == Identity(
        "ci:repo:acme/app:ref:refs/heads/main",
        "workload",
        kind="robot",
        administrator=True,
        scopes=PULL,
    )
    for _ in range(3):
        await workloads.exchange(token)
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"], "keys are remembered"


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "acme/app", "ref": "refs/heads/other"},
        {"repository": "acme-evil/app", "ref": "refs/heads/main"},
        {"repository": "x/acme/app", "ref": "refs/heads/main"},
        {"repository": "acme/app"},
        {"repository": None, "ref": "refs/heads/main"},
        {"repository": {"acme/app": 1}, "ref": "refs/heads/main"},
        {"repository": "acme/app", "ref": "refs/heads/main", "sub": "a\nb"},
    ],
)
async def test_other_jobs_are_not(trust: Make, issuer: Issuer, claims: dict[str, Any]) -> None:
    """One claim that is missing or different is enough."""
    with pytest.raises(TokenRefusedError):
        await trust(rule(**MAIN)).exchange(issuer.token(**claims))


@pytest.mark.parametrize(
    "claims, wanted",
    [
        ({"kubernetes.io": {"namespace": "ci"}}, {"kubernetes.io/namespace": "ci"}),
        ({"a": {"b/c": {"d": "x"}}}, {"a/b/c/d": "x"}),
        ({"a/b": "x"}, {"a/b": "x"}),
        ({"groups": ["one", "two"]}, {"groups": "two"}),
        ({"ref_protected": True}, {"ref_protected": "true"}),
        ({"project_id": 42}, {"project_id": "42"}),
        ({"name": "a.b+c"}, {"name": "a.b+*"}),
    ],
)
async def test_claims_of_several_kinds(
    trust: Make, issuer: Issuer, claims: dict[str, Any], wanted: dict[str, str]
) -> None:
    """Inside of others, as lists, as flags and numbers."""
    await trust(rule(**wanted)).exchange(issuer.token(**claims))


ISSUERS: dict[str, tuple[dict[str, Any], dict[str, str], list[dict[str, Any]]]] = {
    "GitHub": (
        {
            "sub": "repo:acme/app:environment:production",
            "repository": "acme/app",
            "repository_id": "74",
            "repository_owner": "acme",
            "repository_owner_id": "65",
            "repository_visibility": "private",
            "environment": "production",
            "ref": "refs/heads/main",
            "ref_type": "branch",
            "ref_protected": "true",
            "sha": "example-sha",
            "actor": "octocat",
            "event_name": "push",
            "workflow": "example-workflow",
            "job_workflow_ref": "acme/app/.github/workflows/ci.yml@refs/heads/main",
            "runner_environment": "github-hosted",
            "run_id": "1",
        },
        {"repository": "acme/*", "ref": "refs/heads/main", "environment": "production"},
        [
            {"repository": "acme-evil/app"},
            {"repository": "other/app", "repository_owner": "acme"},
            {"ref": "refs/heads/main-2"},
            {"ref": "refs/pull/1/merge"},
            {"environment": None},
        ],
    ),
    "GitLab": (
        {
            "sub": "project_path:acme/app:ref_type:branch:ref:main",
            "namespace_id": "72",
            "namespace_path": "acme",
            "project_id": "20",
            "project_path": "acme/app",
            "user_login": "ada",
            "pipeline_source": "push",
            "ref": "main",
            "ref_type": "branch",
            "ref_protected": "true",
            "runner_environment": "self-hosted",
        },
        {"project_path": "acme/app", "ref": "main", "ref_protected": "true"},
        [
            {"project_path": "acme/app2"},
            {"project_path": "acme/app/sub"},
            {"ref_protected": "false"},
            {"ref_protected": None},
            {"ref": "feature"},
        ],
    ),
    "Kubernetes": (
        {
            "sub": "system:serviceaccount:ci:builder",
            "aud": [AUDIENCE],
            "kubernetes.io": {
                "namespace": "ci",
                "node": {"name": "n1", "uid": "1"},
                "pod": {"name": "builder-0", "uid": "2"},
                "serviceaccount": {"name": "builder", "uid": "3"},
            },
        },
        {"kubernetes.io/namespace": "ci", "kubernetes.io/serviceaccount/name": "builder"},
        [
            {"kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "default"}}},
            {"kubernetes.io": {"namespace": "ci2", "serviceaccount": {"name": "builder"}}},
            {"kubernetes.io": {"namespace": "ci", "serviceaccount": "builder"}},
            {"kubernetes.io": None},
            {"aud": ["https://kubernetes.default.svc"]},
        ],
    ),
}
"""Claims as these issuers document them, what is asked for of them, and what is not enough."""


@pytest.mark.parametrize("name", ISSUERS)
async def test_jobs_of_known_issuers(trust: Make, issuer: Issuer, name: str) -> None:
    """One claim that is another is enough for a refusal."""
    claims, wanted, others = ISSUERS[name]
    workloads = trust(rule(**wanted))
    identity = await workloads.exchange(issuer.token(**claims))
    assert identity.name == f"ci:{claims['sub']}"
    assert identity.scopes == PULL
    for changes in others:
        with pytest.raises(TokenRefusedError):
            await workloads.exchange(issuer.token(**(claims | changes)))


async def test_the_first_rule_counts(trust: Make, issuer: Issuer) -> None:
    """A job may act as a robot, whose own rights and limits it has then, while there is one."""
    robots = Robots()
    workloads = trust(rule(ROBOT.name, ref="main"), rule(ref="*"), robots=robots)
    identity = await workloads.exchange(issuer.token(ref="main"))
    assert (identity.name, identity.method, identity.scopes) == (ROBOT.name, "workload", None)
    assert identity.credential == "ci:repo:acme/app:ref:refs/heads/main"
    assert (await workloads.exchange(issuer.token(ref="other"))).scopes == PULL
    standing = JobStanding(Unchanging(), robots=robots)
    assert await standing.renew(identity, since=0) == identity
    proof = await workloads.verify(b"anything", issuer.token(ref="main").encode())
    assert proof is not None
    assert await workloads.renew(proof) == identity
    robots.known.clear()
    assert await standing.renew(identity, since=0) is None
    assert await workloads.renew(proof) is None
    with pytest.raises(TokenRefusedError):
        await workloads.exchange(issuer.token(ref="main"))


async def test_as_a_password(trust: Make, issuer: Issuer) -> None:
    """For clients that know names and passwords only; until the token expires."""
    workloads = trust(rule(ref="main"))
    proof = await workloads.verify(b"oidc", issuer.token(ref="main").encode())
    assert proof is not None
    assert await workloads.renew(proof) == proof.identity
    for password in (b"", b"secret", b"a.b.c", issuer.token(ref="other").encode(), b"\xff"):
        assert await workloads.verify(b"oidc", password) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "https://other.example"},
        {"aud": "registry.example"},
        {"exp": 1_000_000_000},
        {"nbf": 9_000_000_000},
    ],
)
async def test_tokens_for_others_are_refused(
    trust: Make, issuer: Issuer, changes: dict[str, Any]
) -> None:
    """Before any key is fetched."""
    with pytest.raises(TokenRefusedError):
        await trust(rule(ref="main")).exchange(issuer.token(ref="main", **changes))
    assert issuer.asked == []


async def test_forged_tokens_are_refused(trust: Make, issuer: Issuer) -> None:
    """By another key under the same id, by a shared secret, by a key in the header."""
    workloads = trust(rule(ref="main"))
    other = RSAKey.generate_key(2048)
    jwk = {"jwk": other.as_dict(private=False)}
    for header in (None, {"a": 1}, jwk):
        with pytest.raises(TokenRefusedError):
            await workloads.exchange(issuer.token(ref="main", key=other, header=header))
    claims = {"iss": issuer.url, "aud": AUDIENCE, "exp": 9e9, "ref": "main"}
    for secret in (OctKey.generate_key(256),):
        with pytest.raises(TokenRefusedError, match="algorithm"):
            await workloads.exchange(token_of(claims, secret, alg="HS256"))


async def test_the_issuer_changes_its_key(trust: Make, issuer: Issuer) -> None:
    """A token that names a key which isn't known has the keys fetched, but not again at once."""
    workloads = trust(rule(ref="main"))
    await workloads.exchange(issuer.token(ref="main"))
    for number in range(5):
        with pytest.raises(TokenRefusedError):
            await workloads.exchange(issuer.token(ref="main", header={"kid": f"made-up-{number}"}))
    assert len(issuer.asked) == 2


async def test_the_issuer_is_away(trust: Make, issuer: Issuer) -> None:
    """At first nobody can tell, which is no refusal; known keys go on."""
    workloads = trust(rule(ref="main"))
    issuer.away = True
    with pytest.raises(UnreachableError):
        await workloads.exchange(issuer.token(ref="main"))
    issuer.away = False
    fresh = trust(rule(ref="main"))
    await fresh.exchange(issuer.token(ref="main"))
    issuer.away = True
    await fresh.exchange(issuer.token(ref="main"))


class Shelf:
    """Keys that are there or not, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.loads = 0
        self.keys: TrustedKeys | None = None

    async def load(self) -> TrustedKeys:
        self.loads += 1
        if self.keys is None:
            raise UnreachableError("away")
        return self.keys

    def source(self) -> Refreshed:
        return Refreshed(self.load, name="shelf", every=300.0, clock=lambda: self.now)


async def test_when_keys_are_read_again() -> None:
    """When they are old, and when one is missing; ten seconds lie between two readings at least."""
    shelf = Shelf()
    source = shelf.source()
    header = read_header({"kid": "key-0"})
    with pytest.raises(UnreachableError):
        await source.keys(header)
    shelf.keys = read_key_set(key_set(EC))
    with pytest.raises(UnreachableError):
        await source.keys(header)
    shelf.now = 10.0
    assert (await source.keys(header)).knows(header)
    assert shelf.loads == 2
    await asyncio.gather(*(source.keys(read_header({"kid": "other"})) for _ in range(5)))
    assert shelf.loads == 2
    shelf.now = 20.0
    await asyncio.gather(*(source.keys(read_header({"kid": "other"})) for _ in range(5)))
    assert shelf.loads == 3
    shelf.keys, shelf.now = None, 400.0
    assert (await source.keys(header)).knows(header), "what was known goes on"


def read_header(more: dict[str, str]) -> Any:
    return read_token(token_of({}, header=more), algorithms=("ES256",)).header


@pytest.mark.parametrize(
    "document, issuer",
    [
        (b"", "https://a"),
        (b"[]", "https://a"),
        (b"{}", "https://a"),
        (b"[" * 5000, "https://a"),
        (b'{"issuer":"https://b","jwks_uri":"https://a/k"}', "https://a"),
        (b'{"issuer":"https://a","jwks_uri":"http://a/k"}', "https://a"),
        (b'{"issuer":"https://a","jwks_uri":"file:///etc/passwd"}', "https://a"),
    ],
)
def test_discovery_documents_that_are_refused(document: bytes, issuer: str) -> None:
    with pytest.raises(IdentityError):
        key_set_address(document, issuer=issuer)


async def test_what_is_fetched_is_bounded(issuer: Issuer) -> None:
    """Neither large pages nor other answers than 200 are taken."""
    issuer.pages["/large"] = b"x" * 2_000_000
    with pytest.raises(IdentityError):
        await fetch(f"{issuer.url}/large", cafile="")
    with pytest.raises(UnreachableError):
        await fetch(f"{issuer.url}/nothing", cafile="")
    with pytest.raises(UnreachableError):
        await fetch("http://127.0.0.1:1/", cafile="")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b'{"keys": [{"kty": "EC"}]}', b"[" * 5000],
)
def test_key_sets_that_are_refused(content: bytes) -> None:
    with pytest.raises(IdentityError):
        read_key_set(content)


def test_weak_keys_are_refused() -> None:
    """RSA keys and secrets that are too short to be safe."""
    weak = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    encoded = RSAKey.binding.convert_raw_key_to_dict(weak.public_key(), False)
    for key in ({**encoded, "kty": "RSA"}, {"kty": "oct", "k": "c2hvcnQ"}):
        with pytest.raises(IdentityError, match="not accepted"):
            read_key_set(json.dumps({"keys": [key]}).encode())


def test_keys_of_unknown_types_are_passed_over() -> None:
    assert read_key_set(b'{"keys": [{"kty": "AKP", "alg": "ML-DSA-44"}]}').keys == []
