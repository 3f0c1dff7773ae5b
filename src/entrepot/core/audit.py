"""What is recorded of everything that is done: events, in chains that show when they are changed.

A writer is a chain of events: each holds the hash of the one before it. The hash of an event is the
SHA-256 of its canonical form, a JSON array without blanks in UTF-8 whose elements are the fields of
`Record` but the hash, in their order, hashes as hexadecimal text. Many writers write at the same
time, and none waits for another; signed checkpoints (`entrepot.core.checkpoints`) tie them
together. Times are microseconds since 1970-01-01 UTC.
"""

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec import Struct

FORM: Final = 1
"""The version of the canonical form, which is hashed as well."""

FIRST: Final = b"\0" * 32
"""What the first event of a chain has in place of the hash before it."""

Outcome = Literal["success", "failure", "denied"]

_LONGEST: Final = 1024
"""Characters that are kept of a text, which may come from a client."""


class Actor(Struct, frozen=True):
    """Who does something, from where, in which request, and why that is allowed."""

    name: str = ""
    kind: str = "anonymous"
    method: str = "anonymous"
    credential: str = ""
    address: str = ""
    request: str = ""
    reason: str = ""
    grant: int = 0
    """The grant that decided; 0 is none."""

    def __str__(self) -> str:
        return self.name


NOBODY: Final = Actor()
"""Somebody of whom nothing is known."""


REGISTRY: Final = Actor(kind="registry", method="registry", reason="the registry does so by itself")
"""The registry, for what nobody asked for."""

COPIER: Final = Actor(
    kind="registry", method="import", reason="copied from another registry by a command on the host"
)
"""Who brings what is copied from a registry that is running."""

TAKEOVER: Final = Actor(kind="registry", method="import", reason="it was in registry:2's storage")
"""Who brings what registry:2 left."""


def on_host(name: str) -> Actor:
    """Return who does something beside the server, such as a command on the host."""
    return Actor(name, "host", "host", reason="whoever may write to the index may do everything")


class Event(Struct, frozen=True):
    """What was done, on what, and how that ended."""

    action: str
    outcome: Outcome = "success"
    repository: str = ""
    tag: str = ""
    digest: str = ""
    target: str = ""
    """The account, namespace or role that it was about."""
    reason: str = ""
    """Why, where that is not the reason of the actor."""
    detail: str = ""
    """Whatever else there is to say: a JSON object, or nothing."""


def event(
    action: str,
    *,
    outcome: Outcome = "success",
    repository: str = "",
    tag: str = "",
    digest: str = "",
    target: str = "",
    reason: str = "",
    **detail: object,
) -> Event:
    """Return an event; `detail` is kept as JSON, without what is None."""
    told = {key: value for key, value in detail.items() if value is not None}
    text = _encoded(told) if told else ""
    return Event(action, outcome, repository, tag, digest, target, reason, text)


def _encoded(told: dict[str, object]) -> str:
    """Return JSON, in which names and digests are texts."""
    return msgspec.json.encode(told, order="deterministic", enc_hook=str).decode()


class Record(Struct, frozen=True):
    """An event as it is kept: a row of the index, in its chain."""

    writer: int
    sequence: int
    """1 for the first of its writer, then one more each time."""
    previous: bytes
    occurred_at: int
    action: str
    outcome: Outcome
    actor: str
    actor_kind: str
    method: str
    credential: str
    address: str
    repository: str
    tag: str
    digest: str
    target: str
    reason: str
    grant_id: int
    request_id: str
    node: str
    detail: str
    hash: bytes = b""

    def canonical(self) -> bytes:
        """Return what is hashed."""
        return msgspec.json.encode(
            [
                *(FORM, self.writer, self.sequence, self.previous.hex(), self.occurred_at),
                *(self.action, self.outcome, self.actor, self.actor_kind, self.method),
                *(self.credential, self.address, self.repository, self.tag, self.digest),
                *(self.target, self.reason, self.grant_id, self.request_id, self.node),
                self.detail,
            ]
        )

    def computed(self) -> bytes:
        """Return the hash that it must have."""
        return hashlib.sha256(self.canonical()).digest()


class Chain(Struct, frozen=True):
    """How far a writer is: its last event's number and hash."""

    writer: int
    began_at: int
    sequence: int = 0
    head: bytes = FIRST


def extend(
    chain: Chain, happened: Iterable[tuple[int, Actor, Event]], *, node: str
) -> tuple[Chain, list[Record]]:
    """Return the records of what happened when, by whom, and the chain with them."""
    sequence, head = chain.sequence, chain.head
    records = []
    for moment, actor, told in happened:
        sequence += 1
        record = Record(
            writer=chain.writer,
            sequence=sequence,
            previous=head,
            occurred_at=moment,
            action=told.action,
            outcome=told.outcome,
            actor=_kept(actor.name),
            actor_kind=actor.kind,
            method=actor.method,
            credential=_kept(actor.credential),
            address=_kept(actor.address),
            repository=_kept(told.repository),
            tag=_kept(told.tag),
            digest=_kept(told.digest),
            target=_kept(told.target),
            reason=_kept(told.reason or actor.reason),
            grant_id=actor.grant,
            request_id=_kept(actor.request),
            node=_kept(node),
            detail=told.detail,
        )
        head = record.computed()
        records.append(msgspec.structs.replace(record, hash=head))
    return msgspec.structs.replace(chain, sequence=sequence, head=head), records


def _kept(text: str) -> str:
    """Return what is kept of a text: what both engines and UTF-8 can hold, and not too much."""
    if text.isascii() and text.isprintable():
        return text[:_LONGEST]
    shown = text[:_LONGEST].encode("utf-8", "replace").decode("utf-8")
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown
    )
