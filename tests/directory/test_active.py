"""People of Active Directory, where its answers are peculiar; OpenLDAP where it can say them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from entrepot.config.schema_ldap import Ldap as Settings
from entrepot.core.access import Identity
from entrepot.identity.ldap import Ldap
from entrepot.identity.ldap_answers import without_domain
from entrepot.identity.ldap_wire import LdapError
from tests.directory.active import IN_CHAIN, Active, active
from tests.directory.conftest import Open
from tests.directory.slapd import PASSWORD, SUFFIX, slapd
from tests.directory.test_ldap import settings

pytestmark = pytest.mark.anyio

DOMAIN = "DC=corp,DC=example,DC=com"
ADA = f"CN=Ada (L)\\, Countess,OU=People,{DOMAIN}"
GROUPS = f"OU=Groups,{DOMAIN}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def group(name: str, *members: str) -> tuple[str, dict[str, list[str]]]:
    return f"CN={name},{GROUPS}", {"cn": [name], "member": list(members)}


@pytest.fixture
def server() -> Iterator[Active]:
    """Ada is in team-a, which is in teams, which is in team-a again; nobody is in others."""
    person = {
        "sAMAccountName": ["ada"],
        "userPrincipalName": ["ada.lovelace@corp.example.com"],
        "memberOf": [f"CN=team-a,{GROUPS}"],
    }
    entries = dict(
        [
            (ADA, person),
            group("team-a", ADA, f"CN=teams,{GROUPS}"),
            group("teams", f"CN=team-a,{GROUPS}"),
            group("others", f"CN=Somebody,{DOMAIN}"),
        ]
    )
    with active(entries, password=PASSWORD) as running:
        yield running


def rules(server: Active, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "urls": [server.url],
        "plaintext": True,
        "binddn": "registry@corp.example.com",
        "bindpassword": PASSWORD,
        "base": DOMAIN,
        "filter": "(sAMAccountName={username})",
        "attribute": "sAMAccountName",
        **changes,
    }
    return msgspec.convert(given, Settings)


async def known(
    source: Ldap, name: str = "ada", password: bytes = PASSWORD.encode()
) -> Identity | None:
    proof = await source.verify(name.encode(), password)
    return None if proof is None else proof.identity


async def test_it_is_spoken_with(server: Active, opened: Open) -> None:
    """Whoever has the password gets in, with the groups of their entry."""
    source = opened(rules(server))
    assert await known(source) == Identity("ada", "ldap", groups=("team-a",))
    with capture_logs() as said:
        assert await known(source, password=b"wrong") is None
    assert [line["event"] for line in said] == ["authentication by a directory refused"]


@pytest.mark.parametrize(
    "code, reason",
    [
        ("530", "at this time"),
        ("531", "from here"),
        ("532", "password has expired"),
        ("533", "disabled"),
        ("701", "it has expired"),
        ("773", "must be changed"),
        ("775", "locked"),
    ],
)
async def test_the_log_says_why_an_account_is_refused(
    server: Active, opened: Open, code: str, reason: str
) -> None:
    """The log, with the account; whoever tries is refused as with a wrong password."""
    source = opened(rules(server))
    server.refused[ADA] = code
    with capture_logs() as said:
        assert await known(source) is None
    (line,) = [line for line in said if line["log_level"] == "warning"]
    assert reason in line.pop("reason")
    assert line == {
        "event": "a directory lets an account in no more",
        "log_level": "warning",
        "account": ADA,
        "server": server.url,
    }
    del server.refused[ADA]
    assert await known(source) is not None


async def test_the_account_that_searches_is_locked(server: Active, opened: Open) -> None:
    """Nobody gets in, and the log says why, too."""
    server.refused["registry@corp.example.com"] = "775"
    with capture_logs() as said, pytest.raises(LdapError, match="refuses the password"):
        await known(opened(rules(server)))
    assert "it is locked" in [line.get("reason") for line in said]


@pytest.mark.parametrize("count, pieces", [(3, 3), (4, 3), (7, 3), (9, 3), (120, 30)])
async def test_values_in_pieces(server: Active, opened: Open, count: int, pieces: int) -> None:
    """All groups are found, however few the server says at once."""
    server.pieces = pieces
    names = sorted(f"g{number}" for number in range(count))
    server.entries[ADA] = {
        **server.entries[ADA],
        "memberOf": [f"CN={name},{GROUPS}" for name in names],
    }
    identity = await known(opened(rules(server)))
    assert identity is not None
    assert identity.groups == tuple(names)


@pytest.mark.parametrize("count, pieces", [(501, 1500), (61, 3)])
async def test_too_many_values(server: Active, opened: Open, count: int, pieces: int) -> None:
    """Then the login fails: what is left out might be a denial."""
    server.pieces = pieces
    many = [f"CN=g{number},{GROUPS}" for number in range(count)]
    server.entries[ADA] = {**server.entries[ADA], "memberOf": many}
    with pytest.raises(LdapError, match=r"more than 500 groups|more values"):
        await known(opened(rules(server)))


async def test_a_server_that_gives_other_pieces(server: Active, opened: Open) -> None:
    """Values between them would be missing."""
    server.pieces, server.gap = 2, 1
    many = [f"CN=g{number},{GROUPS}" for number in range(7)]
    server.entries[ADA] = {**server.entries[ADA], "memberOf": many}
    with pytest.raises(LdapError, match="more values"):
        await known(opened(rules(server)))


async def test_nested_groups_by_the_rule(server: Active, opened: Open) -> None:
    """One search finds them, whatever characters are in somebody's distinguished name."""
    groups = {"memberof": "", "base": GROUPS, "filter": f"(member:{IN_CHAIN}:={{dn}})"}
    identity = await known(opened(rules(server, groups=groups)))
    assert identity is not None
    assert identity.groups == ("team-a", "teams")


async def test_names_with_a_domain(server: Active, opened: Open) -> None:
    """`CORP\\ada` and `ada@domain` are `ada`, for the domains that are ours; with a filter for it
    `userPrincipalName` is a name to log in with, and never what somebody is called here.
    """
    both = "(|(sAMAccountName={username})(userPrincipalName={username}))"
    source = opened(rules(server, domains=["Corp", "corp.example.org"]))
    with_both = opened(rules(server, filter=both))
    for typed, plain, principal in (
        ("ada", "ada", "ada"),
        ("CORP\\Ada", "ada", None),
        ("ada@CORP.example.org", "ada", None),
        ("OTHER\\ada", None, None),
        ("ada@other", None, None),
        ("CORP\\", None, None),
        ("@corp", None, None),
        ("CORP\\CORP\\ada", None, None),
        ("Ada.Lovelace@corp.example.com", None, "ada"),
    ):
        for tried, expected in ((source, plain), (with_both, principal)):
            identity = await known(tried, typed)
            assert (identity and identity.name) == expected, typed


async def test_direct_bind_with_a_domain(server: Active, opened: Open) -> None:
    """The account is the one that logged in, by its name in the domain."""
    direct = {"binddn": "", "bindpassword": "", "directbind": "CORP\\{username}"}
    source = opened(rules(server, **direct, domains=["CORP"]))
    for typed in ("ada", "corp\\ada"):
        identity = await known(source, typed)
        assert identity is not None
        assert identity.name == "ada"
    assert server.binds == ["CORP\\ada"] * 2


def test_a_domain_is_taken_off_once() -> None:
    assert without_domain("corp\\corp\\ada", frozenset({"corp"})) == "corp\\ada"
    assert without_domain("ada@corp@corp", frozenset({"corp"})) == "ada@corp"
    assert without_domain("ada", frozenset({"corp", "ada"})) == "ada"


async def test_references_are_not_followed(server: Active, opened: Open) -> None:
    """Every search of a domain's root names other partitions; nobody connects to them. Where all is
    elsewhere the error says where.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        there = f"ldap://127.0.0.1:{other.getsockname()[1]}/{DOMAIN}"
        server.references = [there]
        source = opened(rules(server))
        assert await known(source) is not None
        server.elsewhere = there
        with pytest.raises(LdapError, match="referrals are not followed") as refused:
            await known(source)
        assert there in str(refused.value)
        with pytest.raises(BlockingIOError):
            other.accept()


async def test_references_of_openldap_are_not_followed(tmp_path: Path, opened: Open) -> None:
    """Passwords and searches go to the servers that are configured, and to no other."""
    with (
        slapd(tmp_path / "slapd") as server,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        other.settimeout(0)
        there = f"ldap://127.0.0.1:{other.getsockname()[1]}/ou=more,{SUFFIX}"
        server.add(
            f"dn: ou=more,ou=people,{SUFFIX}\nobjectClass: referral\n"
            f"objectClass: extensibleObject\nou: more\nref: {there}\n"
        )
        assert (await known(opened(settings(server)))) is not None
        source = opened(settings(server, base=f"ou=more,ou=people,{SUFFIX}"))
        with pytest.raises(LdapError, match="referrals are not followed"):
            await known(source)
        with pytest.raises(BlockingIOError):
            other.accept()


async def test_connections_are_kept_and_so_many(server: Active, opened: Open) -> None:
    """Two for searching and two for passwords, however many log in at once, and later."""
    source = opened(rules(server, poolsize=2))
    for _ in range(2):
        people = await asyncio.gather(*(known(source) for _ in range(8)))
        assert {person.name for person in people if person} == {"ada"}
        assert None not in people
        assert server.connections <= 4


async def test_nobody_costs_what_somebody_costs(server: Active, opened: Open) -> None:
    """A name that the directory doesn't have is a login as well, so the time tells of nobody."""
    source = opened(rules(server))
    costs = []
    for name in ("ada", "nobody", "ada"):
        before = len(server.binds)
        assert await known(source, name, b"wrong") is None
        costs.append(len(server.binds) - before)
    assert costs[1] == costs[2] == 1
