"""Bearer tokens: checked once, remembered while they live, and looked at again after a change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from entrepot.core.access import Action, Identity, Origin, Scope
from entrepot.core.errors import InvalidTokenError, UnauthorizedError
from entrepot.core.tokens import LONGEST_TOKEN, TokenRefusedError, bearer_of
from entrepot.identity.bearer import Bearer, Good, NoOthers
from entrepot.telemetry import Metrics

HERE = Origin("192.0.2.1")
LIMITS = (Scope("a", frozenset({Action.PULL})),)
ALICE = Identity("alice", "local")


class People:
    """A registry's accounts: `revision` grows with every change, `gone` may not log in any more."""

    def __init__(self) -> None:
        self.revision = 1
        self.gone: set[str] = set()
        self.groups: tuple[str, ...] = ()
        self.asked: list[tuple[str, float]] = []

    async def renew(self, holder: Identity, *, since: float) -> Identity | None:
        self.asked.append((holder.name, since))
        if holder.name in self.gone:
            return None
        return Identity(holder.name, holder.method, groups=self.groups)


class Tokens:
    """Judges `good-…` as good until 1100, and counts how often it is asked."""

    def __init__(self) -> None:
        self.judged: list[str] = []

    async def check(self, token: str) -> Good:
        self.judged.append(token)
        if not token.startswith("good"):
            raise TokenRefusedError("no")
        return Good(ALICE, LIMITS, 990.5, 1100.0, 1, bearer_of(ALICE, LIMITS))


@pytest.fixture
def people() -> People:
    return People()


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def ask(
    people: People, tokens: Tokens, now: list[float], tmp_path: Path
) -> Callable[..., Identity]:
    bearer = Bearer(
        tokens.check,
        others=NoOthers(),
        metrics=Metrics(tmp_path),
        standing=people,
        clock=lambda: now[0],
    )

    def authenticate(authorization: str | None) -> Identity:
        known = bearer.recall(authorization)
        try:
            identity = asyncio.run(bearer.authenticate(authorization, HERE))
        except UnauthorizedError:
            assert known is None
            raise
        assert known in (None, (identity, 1100.0))
        assert bearer.recall(authorization) == (identity, 1100.0)
        return identity

    return authenticate


def test_a_token_is_judged_once(ask: Callable[..., Identity], tokens: Tokens) -> None:
    """As often as it is brought; its holder is limited to what it is for."""
    for _ in range(3):
        identity = ask("Bearer good-1")
        assert (identity.name, identity.method, identity.scopes) == ("alice", "token", LIMITS)
    assert tokens.judged == ["good-1"]
    ask("bearer good-2")
    assert tokens.judged == ["good-1", "good-2"]


def test_a_token_dies_when_it_ends(
    ask: Callable[..., Identity], tokens: Tokens, now: list[float]
) -> None:
    ask("Bearer good-1")
    now[0] = 1100.0
    ask("Bearer good-1")
    now[0] = 1100.5
    with pytest.raises(InvalidTokenError):
        ask("Bearer good-1")


def test_a_bad_token_is_never_remembered(ask: Callable[..., Identity], tokens: Tokens) -> None:
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            ask("Bearer bad")
    assert tokens.judged == ["bad", "bad"]


def test_the_oldest_are_forgotten(ask: Callable[..., Identity], tokens: Tokens) -> None:
    """However many tokens there are, memory has a bound."""
    for number in range(4097):
        ask(f"Bearer good-{number}")
    ask("Bearer good-4096")
    assert len(tokens.judged) == 4097
    ask("Bearer good-0")
    assert len(tokens.judged) == 4098


def test_after_a_change_the_holder_is_looked_at_again(
    ask: Callable[..., Identity], people: People
) -> None:
    """Once for each change; who is still there goes on, with the groups of now."""
    ask("Bearer good-1")
    assert people.asked == [], "nothing has changed since the token was issued"
    people.revision, people.groups = 2, ("team",)
    for _ in range(2):
        assert ask("Bearer good-1").groups == ("team",)
    assert people.asked == [("alice", 990.5)]
    assert ask("Bearer good-1").scopes == LIMITS


def test_who_is_gone_is_refused(ask: Callable[..., Identity], people: People) -> None:
    ask("Bearer good-1")
    people.revision, people.gone = 2, {"alice"}
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            ask("Bearer good-1")


@pytest.mark.parametrize("authorization", [None, "Basic YTpi", "good-1", "", "Token good-1"])
def test_other_credentials_are_for_others(
    ask: Callable[..., Identity], tokens: Tokens, authorization: str | None
) -> None:
    with pytest.raises(UnauthorizedError) as error:
        ask(authorization)
    assert not isinstance(error.value, InvalidTokenError)
    assert tokens.judged == []


@pytest.mark.parametrize("token", ["good" + "x" * LONGEST_TOKEN, "goodé", "good\ud800"])
def test_what_can_be_no_token_is_not_judged(
    ask: Callable[..., Identity], tokens: Tokens, token: str
) -> None:
    with pytest.raises(InvalidTokenError):
        ask(f"Bearer {token}")
    assert tokens.judged == []
