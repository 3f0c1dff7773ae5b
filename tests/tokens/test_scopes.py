"""The grammar of scopes, and what challenges ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.core.access import Action, Scope
from entrepot.core.tokens import (
    MOST_SCOPES,
    AccessEntry,
    ResourceScope,
    ScopeInvalidError,
    limits_of,
    needed_scope,
    parse_scopes,
    wanted_actions,
)


@pytest.mark.parametrize(
    "text, scope",
    [
        ("repository:a:pull", ResourceScope("repository", "a", ("pull",))),
        (
            "repository:samalba/my-app:pull,push",
            ResourceScope("repository", "samalba/my-app", ("pull", "push")),
        ),
        (
            "repository(plugin):samalba/my-app:pull",
            ResourceScope("repository", "samalba/my-app", ("pull",), "plugin"),
        ),
        (
            "repository:my.Host-1:5000/a/b:pull",
            ResourceScope("repository", "my.Host-1:5000/a/b", ("pull",)),
        ),
        ("registry:catalog:*", ResourceScope("registry", "catalog", ("*",))),
        ("repository:a__b/c-----d.e:*", ResourceScope("repository", "a__b/c-----d.e", ("*",))),
        ("repository:a:", ResourceScope("repository", "a", ())),
        ("oven:a:bake", ResourceScope("oven", "a", ("bake",))),
    ],
)
def test_what_the_grammar_allows(text: str, scope: ResourceScope) -> None:
    """Classes in brackets, and names with the port of a host in them, which hold a colon."""
    assert parse_scopes([text]) == (scope,)
    assert str(scope) == text


def test_scopes_come_in_several_parameters_and_several_in_one() -> None:
    """A resource that is named twice is one, with the actions of both."""
    found = parse_scopes(["repository:a:pull repository:b:pull,pull", "repository:a:push,pull", ""])
    assert [str(scope) for scope in found] == ["repository:a:pull,push", "repository:b:pull"]


@pytest.mark.parametrize(
    "text",
    [
        "repository",
        "repository:a",
        ":a:pull",
        "repository::pull",
        "repository:a:PULL",
        "repository:a:pull,",
        "repository:a:pull;push",
        "repository:A/b c:pull",
        "repository:../etc:pull",
        "repository:a/../b:pull",
        "repository:a//b:pull",
        "repository:/a:pull",
        "repository:**:pull",
        "repository:a:pull:repository:b:push",
        "repository:a:pull\r\nrepository:b:push",
        'repository:a:pull",realm="http://evil/',
        "repository:a\0:pull",
        "repository:\u0430:pull",
        "repository:" + "a" * 600 + ":pull",
        "repository(:a:pull",
        "repository()):a:pull",
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    """Nothing gets into a token that could be read as another scope, or ends a header."""
    with pytest.raises(ScopeInvalidError):
        parse_scopes([text])


def test_only_so_many_scopes() -> None:
    parse_scopes(["repository:a:pull"] * MOST_SCOPES)
    with pytest.raises(ScopeInvalidError):
        parse_scopes(["repository:a:pull"] * (MOST_SCOPES + 1))


@given(st.lists(st.text("abc019./_-:(),* ", max_size=60), max_size=5))
def test_whatever_is_parsed_prints_as_it_was(values: list[str]) -> None:
    try:
        scopes = parse_scopes(values)
    except ScopeInvalidError:
        return
    assert parse_scopes([" ".join(map(str, scopes))]) == scopes


@pytest.mark.parametrize(
    "scope, name, actions",
    [
        ("repository:a:pull", "a", {Action.PULL}),
        ("repository:a:*", "a", {Action.PULL, Action.PUSH, Action.DELETE}),
        ("repository:a:pull,fly", "a", {Action.PULL}),
        ("registry:catalog:*", None, {Action.LIST}),
        ("registry:catalog:pull", None, set()),
        ("registry:other:*", None, set()),
        ("repository:host:5000/a:pull", None, set()),
        ("repository:Host.example/a:pull", None, set()),
        ("oven:a:pull", None, set()),
    ],
)
def test_what_is_asked_for_here(scope: str, name: str | None, actions: set[Action]) -> None:
    """Other types, and names that no repository here can have, are asked for in vain."""
    (parsed,) = parse_scopes([scope])
    repository, wanted = wanted_actions(parsed)
    assert str(repository) == str(name)
    assert wanted == actions


@pytest.mark.parametrize(
    "action, repository, scope",
    [
        (Action.PULL, "a/b", "repository:a/b:pull"),
        (Action.PUSH, "a/b", "repository:a/b:pull,push"),
        (Action.DELETE, "a/b", "repository:a/b:delete"),
        (Action.LIST, None, "registry:catalog:*"),
        (Action.CONNECT, None, ""),
        (Action.OBSERVE, None, ""),
        (Action.PULL, 'a",error="', ""),
        (Action.PULL, "a\r\nx: y", ""),
        (Action.PULL, "UPPER", ""),
    ],
)
def test_what_a_challenge_asks_for(action: Action, repository: str | None, scope: str) -> None:
    """As registry:2 does; what a path holds in place of a name is not repeated."""
    assert needed_scope(action, repository) == scope


def test_what_a_token_is_limited_to() -> None:
    """The star stands for every action, and a type that isn't known for nothing."""
    access = (
        AccessEntry("repository", "a/b", ("pull", "fly")),
        AccessEntry("repository", "c", ("*",)),
        AccessEntry("repository", "d", None),
        AccessEntry("repository", "**", ("*",)),
        AccessEntry("registry", "catalog", ("*",)),
        AccessEntry("oven", "a", ("pull",)),
    )
    assert limits_of(access) == (
        Scope("a/b", frozenset({Action.PULL})),
        Scope("c", frozenset({Action.PULL, Action.PUSH, Action.DELETE})),
        Scope("", frozenset({Action.LIST})),
    )
