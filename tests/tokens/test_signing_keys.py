"""The keys that sign our tokens: one set for all nodes, rotated without breaking live tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from cryptography import x509

from entrepot.core.tokens import libtrust_fingerprint
from entrepot.db.signing_keys import list_signing_keys
from entrepot.identity.jws import read_token, verify
from entrepot.identity.keys import read_bundle, read_key_set
from entrepot.services.auditing import AuditLog
from entrepot.services.signing_keys import SigningKeys
from tests.tokens.conftest import DAY, Node
from tests.tokens.signing import spki

pytestmark = pytest.mark.anyio


def kid_of(token: str) -> str:
    return read_token(token, algorithms=("ES256",)).header.kid


async def published(keys: SigningKeys) -> list[str]:
    listed = (await keys.key_set())["keys"]
    assert isinstance(listed, list)
    return [key["kid"] for key in listed]


async def knows(keys: SigningKeys, token: str) -> bool:
    key = await keys.find(kid_of(token))
    return key is not None and bool(verify(read_token(token, algorithms=("ES256",)), [key]))


async def test_many_nodes_start_at_once_with_one_key(nodes: Callable[[], Node]) -> None:
    """All of them find none, and one makes it; each knows the tokens of the others."""
    rings = [nodes().keys() for _ in range(5)]
    tokens = await asyncio.gather(*(ring.sign(b'{"a":1}') for ring in rings))
    assert len({kid_of(token) for token in tokens}) == 1
    assert all([await knows(ring, token) for ring in rings for token in tokens])


async def test_rotation(node: Node, nodes: Callable[[], Node]) -> None:
    """The next key is published before it signs; the old one until its last token has died."""
    ours, theirs = node.keys(), nodes().keys()
    first = await ours.sign(b"{}")
    assert await knows(theirs, first)
    node.clock.go(26 * DAY)
    assert await published(ours) == [kid_of(first)]
    node.clock.go(1.5 * DAY)
    assert kid_of(await ours.sign(b"{}")) == kid_of(first)
    both = await published(ours)
    assert len(both) == 2
    assert await published(theirs) == both, "the other node takes the same key"
    node.clock.go(2.5 * DAY - 1)
    last = await ours.sign(b"{}")
    assert kid_of(last) == kid_of(first)
    node.clock.go(1)
    second = await theirs.sign(b"{}")
    assert [kid_of(last), kid_of(second)] == both
    node.clock.go(400)
    assert await knows(ours, last), "it lives longer than its key signs"
    assert await knows(ours, second)
    node.clock.go(28 * DAY)
    await ours.sign(b"{}")
    assert kid_of(first) not in await published(ours)
    assert kid_of(second) in await published(ours)
    assert not await knows(node.keys(), first)


async def test_keys_are_in_the_audit_log(node: Node) -> None:
    """When they are made, whoever asked for a token then, and when they are gone."""
    keys = node.keys()
    for _ in range(4):
        await keys.key_set()
        node.clock.go(30 * DAY)
    audit = AuditLog(node.stores.index)
    page = await audit.search({"action": "key"}, since=0, until=2**62, limit=100)
    found = [(each.record.action, each.record.target) for each in reversed(page.found)]
    assert {each.record.actor_kind for each in page.found} == {"registry"}
    made = [kid for action, kid in found if action == "key.create"]
    gone = [kid for action, kid in found if action == "key.delete"]
    assert made[-1] in await published(keys)
    assert len(made) == len(set(made)) >= 3
    assert gone == made[: len(gone)]
    assert gone


async def test_after_a_long_sleep(node: Node) -> None:
    """All keys have ended: there is a new one at once."""
    ring = node.keys()
    old = await ring.sign(b"{}")
    node.clock.go(400 * DAY)
    assert kid_of(await ring.sign(b"{}")) != kid_of(old)
    assert kid_of(old) not in await published(ring)


async def test_a_key_of_another_node_is_found_when_a_token_names_it(
    node: Node, nodes: Callable[[], Node]
) -> None:
    """The index is asked, but not more often than once a second whatever tokens name."""
    ours, theirs = node.keys(), nodes().keys(secret=b"another one")
    await ours.sign(b"{}")
    token = await theirs.sign(b"{}")
    assert await ours.find("made up") is None
    assert await ours.find(kid_of(token)) is None, "within a second of the last look"
    node.clock.go(1)
    assert await knows(ours, token)


async def test_private_keys_are_sealed(node: Node) -> None:
    """Whoever reads the index has no key; whoever has another secret signs with another one, and
    tokens of before go on.
    """
    before = await node.keys().sign(b"{}")
    (row,) = await list_signing_keys(node.stores.index)
    assert b"PRIVATE" not in row.sealed
    changed = node.keys(secret=b"another secret")
    after = await changed.sign(b"{}")
    assert kid_of(after) != kid_of(before)
    assert await knows(changed, before)
    again = await node.keys().sign(b"{}")
    assert kid_of(again) == kid_of(before), "with the old secret the old key signs again"
    assert len(await list_signing_keys(node.stores.index)) == 2


async def test_keys_are_published_for_others(node: Node) -> None:
    """As a key set and as certificates, under the id that registry:2 has for the key."""
    ring = node.keys()
    token = read_token(await ring.sign(b'{"a":1}'), algorithms=("ES256",))
    now = node.clock.seconds()
    by_set = read_key_set(json.dumps(await ring.key_set()).encode())
    by_bundle = read_bundle(await ring.certificates())
    for trusted in (by_set, by_bundle):
        (key,) = trusted.find(token.header, now=now)
        assert verify(token, [key]) == b'{"a":1}'
        assert libtrust_fingerprint(spki(key)) == token.header.kid
    (certificate,) = x509.load_pem_x509_certificates(await ring.certificates())
    assert certificate.not_valid_before_utc.timestamp() < now
    assert certificate.not_valid_after_utc.timestamp() > now + 30 * DAY


async def test_the_private_part_is_not_published(node: Node) -> None:
    ring = node.keys()
    await ring.sign(b"{}")
    keys = (await ring.key_set())["keys"]
    assert isinstance(keys, list)
    assert {name for key in keys for name in key} == {"kty", "crv", "x", "y", "kid", "use", "alg"}
