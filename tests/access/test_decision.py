"""The decision: deny by default, in the order that is promised, with the reason in words."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrepot.core.access import Action, Identity, Scope
from entrepot.core.areas import areas_of
from entrepot.core.decision import (
    AccessError,
    Decision,
    Grant,
    Namespace,
    Policy,
    Target,
    decide,
    parse_namespace,
    prefixes,
)
from entrepot.core.patterns import parse_pattern, parse_tag_pattern
from entrepot.core.roles import (
    BUILT_IN,
    CONTENT,
    NAMESPACE,
    OPEN,
    SYSTEM,
    RoleInvalidError,
    check_role_name,
    parse_action,
    parse_actions,
)

NOW = 1_700_000_000_000_000
ALICE = Identity("alice", "local", groups=("devs", "ops"))
ROBOT = Identity("robot$team+ci", "robot", kind="robot")
DENIED = "grant 7 denies user alice the role developer in namespace team"
NOBODY = Identity("", "anonymous", kind="anonymous")
ROOT = Identity("root", "local", administrator=True)


def policy(**visibility: str | None) -> Policy:
    """Namespaces by name, with `_` for a slash, and the root; and a custom role `retag`."""
    names = {"": None, **{name.replace("_", "/"): seen for name, seen in visibility.items()}}
    made = {
        name: msgspec.convert({"id": n, "name": name, "visibility": seen}, Namespace)
        for n, (name, seen) in enumerate(names.items(), start=1)
    }
    return Policy(made, {"retag": frozenset({Action.TAG}), "audits": frozenset({Action.AUDIT})})


def grant(number: int = 7, namespace: str = "team", **change: object) -> Grant:
    fields = {
        "id": number,
        "namespace": namespace,
        "subject_kind": "user",
        "subject": "alice",
        "role": "developer",
    }
    for key, parse in (("repositories", parse_pattern), ("tags", parse_tag_pattern)):
        if key in change:
            change[key] = parse(str(change[key]))
    return Grant(**(fields | change))  # type: ignore[arg-type]


def ask(
    who: Identity,
    action: Action,
    name: str,
    *grants: Grant,
    rules: Policy | None = None,
    tag: str | None = None,
) -> Decision:
    target = Target(name, is_repository=action in CONTENT, tag=tag)
    return decide(who, action, target, policy=rules or policy(team=None), grants=grants, now=NOW)


# Roles ------------------------------------------------------------------------------------------


def test_every_action_has_one_place() -> None:
    """On a repository, a namespace, the registry, or given by no role: nothing is left out."""
    places = [CONTENT, NAMESPACE, SYSTEM, OPEN]
    assert frozenset().union(*places) == set(Action)
    assert sum(map(len, places)) == len(Action)


def test_each_role_has_what_the_one_before_has() -> None:
    roles = [BUILT_IN[name] for name in ("reader", "developer", "operator", "admin")]
    assert all(fewer < more for fewer, more in pairwise(roles))
    assert not frozenset().union(*roles) & (SYSTEM | OPEN)


def test_actions_are_parsed() -> None:
    assert parse_action("list") is Action.LIST
    assert parse_actions(["pull", "catalog"]) == {Action.PULL, Action.LIST}
    for words in ([], ["fly"], ["connect"], ["probe"], [""]):
        with pytest.raises(RoleInvalidError):
            parse_actions(words)


@pytest.mark.parametrize("name", ["reader", "admin", "", "Two", "a b", "a" * 65, "-a"])
def test_names_of_custom_roles(name: str) -> None:
    assert check_role_name("release.manager-2") == "release.manager-2"
    with pytest.raises(RoleInvalidError):
        check_role_name(name)


@pytest.mark.parametrize("name", ["Team", "team//a", "team/", " ", "a b", "x" * 256, "é"])
def test_names_of_namespaces(name: str) -> None:
    assert [parse_namespace(text) for text in ("", "/", "new_namespace", "a/b-c")] == [
        *("", "", "new_namespace", "a/b-c")
    ]
    with pytest.raises(AccessError):
        parse_namespace(name)


# The order --------------------------------------------------------------------------------------


def test_nobody_may_do_anything_without_a_reason() -> None:
    for who in (ALICE, ROBOT, NOBODY):
        for action in set(Action) - OPEN:
            decision = ask(who, action, "team/app")
            assert not decision.allowed
            assert decision.reason.startswith("no grant lets")


def test_an_administrator_may_do_everything_but_what_the_credential_leaves_out() -> None:
    deny = grant(subject="root", effect="deny", role="admin", namespace="")
    for action in Action:
        assert ask(ROOT, action, "team/app", deny).allowed
    limited = msgspec.structs.replace(ROOT, scopes=(Scope("team/**", frozenset({Action.PULL})),))
    assert ask(limited, Action.PULL, "team/app").allowed
    for action, name in ((Action.PUSH, "team/app"), (Action.PULL, "other/app")):
        decision = ask(limited, action, name)
        assert not decision.allowed
        assert decision.limited
        assert "credential" in decision.reason


def test_a_grant_is_for_a_user_a_group_or_a_robot() -> None:
    for kind, subject, who in (
        ("user", "alice", ALICE),
        ("group", "ops", ALICE),
        ("robot", "robot$team+ci", ROBOT),
    ):
        given_ = grant(subject_kind=kind, subject=subject)
        for other in (ALICE, ROBOT, NOBODY):
            assert ask(other, Action.PUSH, "team/app", given_).allowed == (other is who)
    assert not ask(ROBOT, Action.PULL, "team/app", grant(subject=ROBOT.name)).allowed
    assert not ask(NOBODY, Action.PULL, "team/app", grant(subject="")).allowed


def test_a_grant_counts_in_its_namespace_and_below() -> None:
    for name, allowed in (
        ("team/app", True),
        ("team/a/b/c", True),
        ("team", True),
        ("teams/app", False),
        ("other/team/app", False),
        ("team-b", False),
    ):
        assert ask(ALICE, Action.PUSH, name, grant()).allowed is allowed, name
    assert ask(ALICE, Action.PUSH, "anything", grant(namespace="")).allowed


def test_a_denial_beats_what_allows_and_visibility_wherever_it_stands() -> None:
    open_to_all = policy(team="public")
    near = grant(1, "team/a", role="admin")
    for place in ("", "team", "team/a"):
        deny = grant(2, place, effect="deny", role="reader", subject_kind="group", subject="devs")
        decision = ask(ALICE, Action.PULL, "team/a/app", near, deny, rules=open_to_all)
        assert not decision.allowed
        assert decision.grant == deny
        assert ask(ALICE, Action.PUSH, "team/a/app", near, deny, rules=open_to_all).allowed
    assert ask(NOBODY, Action.PULL, "team/a/app", rules=open_to_all).allowed


def test_a_grant_ends() -> None:
    for ends, allowed in ((NOW + 1, True), (NOW, False), (NOW - 1, False), (None, True)):
        assert ask(ALICE, Action.PUSH, "team/app", grant(expires_at=ends)).allowed is allowed
    over = grant(effect="deny", expires_at=NOW)
    assert ask(ALICE, Action.PUSH, "team/app", over, grant(8)).allowed


@pytest.mark.parametrize(
    "visibility, known, unknown",
    [("private", False, False), ("internal", True, False), ("public", True, True)],
)
def test_visibility(visibility: str, known: bool, unknown: bool) -> None:
    """It lets people pull and list, and nothing else; the nearest that says something counts."""
    rules = policy(team=visibility, team_a=None, team_b="private")
    for who, seen in ((ALICE, known), (ROBOT, known), (NOBODY, unknown)):
        for action in CONTENT | NAMESPACE:
            for name in ("team/app", "team/a/app"):
                allowed = seen and action in {Action.PULL, Action.LIST}
                assert ask(who, action, name, rules=rules).allowed is allowed
            assert not ask(who, action, "team/b/app", rules=rules).allowed
            assert not ask(who, action, "app", rules=rules).allowed


def test_whoever_is_known_may_connect() -> None:
    token = Identity("", "token", kind="anonymous", scopes=())
    for who, allowed in ((ALICE, True), (ROBOT, True), (token, True), (NOBODY, False)):
        assert ask(who, Action.CONNECT, "").allowed is allowed


def test_the_catalog_is_for_whoever_may_see_something_in_it() -> None:
    for rules, unknown in ((policy(team="public"), True), (policy(team="internal"), False)):
        for who, allowed in ((ALICE, True), (NOBODY, unknown)):
            target = Target()
            decision = decide(who, Action.LIST, target, policy=rules, grants=(), now=NOW)
            assert decision.allowed is allowed


# Patterns ---------------------------------------------------------------------------------------


def test_a_grant_for_some_repositories() -> None:
    some = grant(repositories="web/*")
    assert ask(ALICE, Action.PUSH, "team/web/app", some).allowed
    for name in ("team/web", "team/web/a/b", "web/app"):
        assert not ask(ALICE, Action.PUSH, name, some).allowed
    admin = grant(repositories="web/*", role="admin")
    assert not ask(ALICE, Action.MEMBERS, "team", admin).allowed, "it is not for the namespace"


@pytest.mark.parametrize(
    "action, tag, allowed",
    [
        (Action.PUSH, "dev-1", True),
        (Action.PUSH, "v1", False),
        (Action.PUSH, None, True),
        (Action.PULL, None, True),
        (Action.PULL, "v1", False),
        (Action.LIST, None, True),
        (Action.DELETE, "dev-1", True),
        (Action.DELETE, "v1", False),
        (Action.DELETE, None, False),
        (Action.TAG, None, False),
    ],
)
def test_a_grant_for_some_tags(action: Action, tag: str | None, allowed: bool) -> None:
    """Blobs have no tag, and must be sent and read; a deletion by digest takes every tag."""
    some = grant(tags="dev-*", role="operator")
    assert ask(ALICE, action, "team/app", some, tag=tag).allowed is allowed


@pytest.mark.parametrize(
    "action, tag, allowed",
    [
        (Action.PUSH, "v1", False),
        (Action.PUSH, "dev", True),
        (Action.PUSH, None, True),
        (Action.PULL, None, True),
        (Action.DELETE, "v1", False),
        (Action.DELETE, "dev", True),
        (Action.DELETE, None, False),
    ],
)
def test_a_denial_for_some_tags(action: Action, tag: str | None, allowed: bool) -> None:
    """A deletion by digest might take one of them."""
    grants = (grant(1, role="operator"), grant(2, role="operator", effect="deny", tags="v*"))
    assert ask(ALICE, action, "team/app", *grants, tag=tag).allowed is allowed


def test_what_is_about_the_registry_is_granted_in_the_root_only() -> None:
    for place, allowed in (("", True), ("team", False)):
        given_ = grant(namespace=place, role="audits")
        target = Target("team" if place else "")
        decision = decide(
            ALICE, Action.AUDIT, target, policy=policy(team=None), grants=[given_], now=NOW
        )
        assert decision.allowed is allowed


def test_custom_roles_and_roles_that_are_no_more() -> None:
    assert ask(ALICE, Action.TAG, "team/app", grant(role="retag")).allowed
    assert not ask(ALICE, Action.PULL, "team/app", grant(role="retag")).allowed
    assert not ask(ALICE, Action.PULL, "team/app", grant(role="gone")).allowed


# Reasons ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given_, reason",
    [
        (grant(), "grant 7 gives user alice the role developer in namespace team"),
        (grant(id=0), "the configuration gives user alice the role developer in namespace team"),
        (
            grant(namespace="", subject_kind="group", subject="devs", tags="d*"),
            "grant 7 gives group devs the role developer in the root namespace for tags d*",
        ),
        (
            grant(effect="deny", repositories="a*", expires_at=NOW + 1_000_000),
            f"{DENIED} for repositories a* until 2023-11-14 22:13:21Z",
        ),
    ],
)
def test_the_reason_names_the_grant(given_: Grant, reason: str) -> None:
    decision = ask(ALICE, Action.PUSH, "team/app", given_)
    assert decision.reason == reason
    assert decision.grant == given_
    assert decision.allowed is (given_.effect == "allow")


def test_the_reason_names_the_nearest_grant() -> None:
    grants = [grant(1, ""), grant(2, "team"), grant(3, "team/a"), grant(4, "team/a")]
    assert ask(ALICE, Action.PUSH, "team/a/app", *grants).grant == grants[2]


def test_the_reason_tells_of_visibility() -> None:
    reason = ask(NOBODY, Action.PULL, "team/app", rules=policy(team="public")).reason
    assert reason == "namespace team is public: anybody may pull"


# Whatever there is ------------------------------------------------------------------------------

WORDS = ("a", "b", "ab")
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map("/".join)
SPACES = st.just("") | NAMES
PATTERNS = st.lists(st.sampled_from([*WORDS, "*", "a*", "**"]), min_size=1, max_size=3).map(
    lambda parts: parse_pattern("/".join(parts))
)
SUBJECTS = st.sampled_from([("user", "alice"), ("group", "devs"), ("robot", "r"), ("user", "x")])
ROLES = st.sampled_from([*BUILT_IN, "retag", "gone"])
SCOPES = st.none() | st.lists(
    st.builds(
        Scope,
        st.just("") | PATTERNS.map(str),
        st.frozensets(st.sampled_from(sorted(CONTENT, key=str))),
    ),
    max_size=3,
).map(tuple)


@st.composite
def grants_(draw: st.DrawFn) -> Grant:
    kind, subject = draw(SUBJECTS)
    return grant(
        draw(st.integers(1, 99)),
        draw(SPACES),
        subject_kind=kind,
        subject=subject,
        role=draw(ROLES),
        effect=draw(st.sampled_from(["allow", "deny"])),
        repositories=draw(PATTERNS),
        tags=draw(st.sampled_from(["*", "v*", "v1"])),
        expires_at=draw(st.sampled_from([None, None, NOW - 1, NOW, NOW + 1])),
    )


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    spaces = draw(st.dictionaries(SPACES, st.sampled_from([None, "private", "internal", "public"])))
    return policy(**{name.replace("/", "_"): seen for name, seen in spaces.items() if name})


@st.composite
def targets(draw: st.DrawFn) -> tuple[Action, Target]:
    action = draw(st.sampled_from(sorted(set(Action), key=str)))
    if action not in CONTENT:
        return action, Target(draw(SPACES))
    tag = draw(st.sampled_from([None, "v1", "v2", "dev"]))
    return action, Target(draw(NAMES), is_repository=True, tag=tag)


IDENTITIES = st.builds(
    lambda scopes, who: msgspec.structs.replace(who, scopes=scopes),
    SCOPES,
    st.sampled_from([ALICE, Identity("r", "robot", kind="robot"), NOBODY, ROOT]),
)
MANY = st.lists(grants_(), max_size=6)


@settings(max_examples=400)
@given(IDENTITIES, targets(), policies(), MANY, grants_())
def test_what_one_more_grant_changes(
    who: Identity, asked: tuple[Action, Target], rules: Policy, grants: list[Grant], more: Grant
) -> None:
    """A denial never allows more, what allows never less, what has ended nothing; neither does the
    order of grants, nor those of others."""
    before = decide(who, *asked, policy=rules, grants=grants, now=NOW)
    after = decide(who, *asked, policy=rules, grants=[more, *grants], now=NOW)
    if more.effect == "deny":
        assert before.allowed or not after.allowed
    else:
        assert after.allowed or not before.allowed
    if not more.is_live(NOW) or not more.is_for(who):
        assert after == before
    turned = decide(who, *asked, policy=rules, grants=[*reversed(grants), more], now=NOW)
    assert turned.allowed == after.allowed


@settings(max_examples=400)
@given(IDENTITIES, targets(), policies(), MANY)
def test_scopes_only_take_away(
    who: Identity, asked: tuple[Action, Target], rules: Policy, grants: list[Grant]
) -> None:
    limited = decide(who, *asked, policy=rules, grants=grants, now=NOW)
    free = msgspec.structs.replace(who, scopes=None)
    full = decide(free, *asked, policy=rules, grants=grants, now=NOW)
    assert full.allowed or not limited.allowed
    assert limited.limited == (full.allowed and not limited.allowed)
    nothing = msgspec.structs.replace(who, scopes=())
    bare = decide(nothing, *asked, policy=rules, grants=grants, now=NOW)
    assert not bare.allowed or asked[0] in OPEN


@settings(max_examples=400)
@given(IDENTITIES, NAMES, policies(), MANY, st.sampled_from([Action.PULL, Action.LIST]))
def test_nothing_is_outside_the_areas(
    who: Identity, name: str, rules: Policy, grants: list[Grant], action: Action
) -> None:
    """And they lie in order, with nothing in common."""
    target = Target(name, is_repository=True)
    mine = [each for each in grants if each.is_for(who)]
    areas = areas_of(who, action, policy=rules, grants=mine)
    assert all(one.end < other.first for one, other in pairwise(areas))
    if decide(who, action, target, policy=rules, grants=grants, now=NOW).allowed:
        assert any(name in area for area in areas)


def test_prefixes() -> None:
    assert list(prefixes("a/b/c")) == ["a/b/c", "a/b", "a", ""]
    assert list(prefixes("")) == [""]
