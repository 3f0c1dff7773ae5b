"""People of a real OpenLDAP server: who gets in, and who doesn't."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from entrepot.app.ldap import open_ldap
from entrepot.config import ConfigError
from entrepot.config.schema_ldap import Ldap as Settings
from entrepot.core.access import Identity
from entrepot.core.errors import UnreachableError
from entrepot.identity.ldap import Ldap
from entrepot.identity.ldap_wire import LdapError
from tests.certificates import Authority
from tests.directory.conftest import Open
from tests.directory.slapd import ADMIN, PASSWORD, SECRET, SUFFIX, Slapd, slapd

GOOD = PASSWORD.encode()
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("directory") / "one") as running:
        yield running


def settings(*servers: Slapd, **changes: Any) -> Settings:
    """What a registry is configured with: search, then bind, over TLS."""
    given: dict[str, Any] = {
        "urls": [server.tls_url for server in servers],
        "cafile": str(servers[0].ca),
        "binddn": ADMIN,
        "bindpassword": SECRET,
        "base": PEOPLE,
        "connecttimeout": 10.0,
        "timeout": 10.0,
        **changes,
    }
    return msgspec.convert(given, Settings)


async def _name(source: Ldap, name: str, password: bytes = GOOD) -> str | None:
    proof = await source.verify(name.encode(), password)
    return None if proof is None else proof.identity.name


async def _groups(source: Ldap, name: str) -> tuple[str, ...]:
    proof = await source.verify(name.encode(), GOOD)
    assert proof is not None
    assert proof.identity.method == "ldap"
    assert not proof.identity.administrator
    return proof.identity.groups


@pytest.mark.parametrize("way", ["ldaps", "starttls", "plaintext"])
async def test_a_right_password_lets_in(server: Slapd, opened: Open, way: str) -> None:
    """Over TLS from the start, begun later, and without."""
    plain = {"urls": [server.url], "starttls": way == "starttls", "plaintext": way == "plaintext"}
    source = opened(settings(server, **({} if way == "ldaps" else plain)))
    assert await _name(source, "ada") == "ada"
    assert await _name(source, "ada", b"wrong") is None
    assert await _name(source, "ada") == "ada"
    assert await _name(source, "nobody") is None


@pytest.mark.parametrize("starttls", [False, True])
async def test_a_server_with_another_authority_is_not_spoken_to(
    server: Slapd, opened: Open, starttls: bool, tmp_path: Path
) -> None:
    """Nothing is sent to a server whose certificate isn't trusted."""
    other = Authority(tmp_path / "other", name="Another authority")
    urls = [server.url if starttls else server.tls_url]
    source = opened(settings(server, urls=urls, starttls=starttls, cafile=str(other.certificate)))
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        await source.verify(b"ada", GOOD)


@pytest.mark.parametrize("direct", ["", f"uid={{username}},{PEOPLE}"])
async def test_an_empty_password_never_lets_in(server: Slapd, opened: Open, direct: str) -> None:
    """A server says yes to a name with an empty password: it is nobody who then is logged in."""
    own = {"binddn": "", "bindpassword": "", "directbind": direct} if direct else {}
    source = opened(settings(server, **own))
    assert await _name(source, "ada") == "ada"
    assert await _name(source, "ada", b"") is None


@pytest.mark.parametrize(
    "name",
    [
        *("*", "a*", "ad?", "ada)(uid=*", "ada)(|(uid=*", "*)(objectClass=*", "ada\\2a"),
        *("(ada)", "ada\\", "&", "", " ", "ad\u0130", "ada,ou=people", "ada+cn=Ada"),
        *("{dn}", "{username}", "ada\nx", "x" * 129),
    ],
)
@pytest.mark.parametrize("direct", ["", f"uid={{username}},{PEOPLE}"])
async def test_a_name_is_nothing_but_a_value(
    server: Slapd, opened: Open, name: str, direct: str
) -> None:
    """Filters and distinguished names can't be broken out of (RFC 4515, RFC 4514)."""
    own = {"binddn": "", "bindpassword": "", "directbind": direct} if direct else {}
    source = opened(settings(server, **own))
    assert await _name(source, name) is None


@pytest.mark.parametrize("direct", ["", f"uid={{username}},{PEOPLE}"])
async def test_names_with_special_characters_log_in(
    server: Slapd, opened: Open, direct: str
) -> None:
    """What is special in filters and names means itself in somebody's name; their groups too."""
    own = {"binddn": "", "bindpassword": "", "directbind": direct} if direct else {}
    source = opened(settings(server, **own, groups={"base": GROUPS, "memberof": ""}))
    assert await _name(source, "we,ird (x)") == "we,ird (x)"
    assert await _groups(source, "we,ird (x)") == ("team-a",)


@pytest.mark.parametrize("typed", ["ADA", "Ada", "ada ", " ada"])
async def test_somebody_is_called_as_their_entry_says(
    server: Slapd, opened: Open, typed: str
) -> None:
    """For a directory these are the same; the grants of one can't be missed or gained by case."""
    assert await _name(opened(settings(server)), typed) == "ada"


async def test_a_name_of_several_is_nobodys(server: Slapd, opened: Open) -> None:
    """Two people with the same mail can't log in by it, whoever's password it is."""
    source = opened(settings(server, filter="(|(uid={username})(mail={username}))"))
    assert await _name(source, "shared@example.com") is None
    assert await _name(source, "bob") == "bob"


async def test_nobody_takes_the_name_of_a_robot(server: Slapd, opened: Open) -> None:
    """A directory that lets people choose their names gives away no robot's rights."""
    assert await _name(opened(settings(server)), "robot$ci") is None


async def test_direct_bind_searches_as_oneself(server: Slapd, opened: Open) -> None:
    """No account for searching is needed: people see themselves and their groups."""
    direct = f"uid={{username}},{PEOPLE}"
    source = opened(settings(server, binddn="", bindpassword="", directbind=direct))
    assert await _groups(source, "ada") == ("team-a",)
    assert await _name(source, "ada", b"wrong") is None
    assert await _name(source, "nobody") is None


@pytest.mark.parametrize(
    "groups, expected",
    [
        ({}, ("team-a",)),
        ({"memberof": ""}, ()),
        ({"base": GROUPS}, ("team-a",)),
        ({"base": GROUPS, "memberof": ""}, ("team-a",)),
        ({"nested": True}, ("everybody", "team-a", "teams")),
        ({"nested": True, "base": GROUPS, "memberof": ""}, ("everybody", "team-a", "teams")),
        ({"mapping": {"ours": ["TEAM-A"], "not": ["teams"]}}, ("ours",)),
        (
            {"mapping": {"ours": [f"CN=Team-A, {GROUPS}"], "not": [f"cn=team-a,{PEOPLE}"]}},
            ("ours",),
        ),
        ({"nested": True, "mapping": {"all": ["everybody"]}}, ("all",)),
        ({"base": f"ou=none,{GROUPS}", "filter": "(cn={username})"}, None),
    ],
)
async def test_groups(
    server: Slapd, opened: Open, groups: dict[str, Any], expected: tuple[str, ...] | None
) -> None:
    """By memberOf, by search, nested (in a ring, too), and called as the mapping says."""
    source = opened(settings(server, groups=groups))
    if expected is None:
        with pytest.raises(LdapError, match="NO_SUCH_OBJECT"):
            await source.verify(b"ada", GOOD)
    else:
        assert await _groups(source, "ada") == expected


async def test_only_groups_below_the_base_count(server: Slapd, opened: Open) -> None:
    """Whoever may make groups somewhere else gets no rights by their names."""
    assert await _groups(opened(settings(server)), "bob") == ("visitors",)
    assert await _groups(opened(settings(server, groups={"base": GROUPS})), "bob") == ()


async def test_the_password_of_the_account_that_searches(server: Slapd, opened: Open) -> None:
    """If it is wrong nobody gets in, and the error says whose it is."""
    source = opened(settings(server, bindpassword="wrong"))
    with pytest.raises(LdapError, match=f"refuses the password of {ADMIN}"):
        await source.verify(b"ada", GOOD)


async def test_an_answer_is_good_for_its_life(server: Slapd, tmp_path: Path) -> None:
    """What was right goes on for its life and not longer; then the directory is asked anew."""
    now = 0.0

    async def adopt(identity: Identity) -> Identity | None:
        return identity if allowed else None

    allowed = True
    source = open_ldap(settings(server, cachelife=60.0), adopt)
    source._clock = lambda: now
    try:
        proof = await source.verify(b"ada", GOOD)
        assert proof is not None
        now = 59.0
        assert await source.renew(proof) == proof.identity
        allowed = False
        assert await source.renew(proof) is None, "an account that was disabled here"
        allowed = True
        now = 60.0
        assert await source.renew(proof) is None
    finally:
        source.close()


@pytest.mark.parametrize("trouble", ["stop", "pause"])
async def test_the_next_server_is_asked(tmp_path: Path, opened: Open, trouble: str) -> None:
    """A server that goes away, or hangs, while connections to it are open; and comes back."""
    ca = Authority(tmp_path / "ca")
    with slapd(tmp_path / "one", ca) as first, slapd(tmp_path / "two", ca) as second:
        source = opened(settings(first, second, connecttimeout=2.0, timeout=2.0))
        assert await _name(source, "ada") == "ada"
        getattr(first, trouble)()
        assert await _name(source, "ada") == "ada"
        assert await _name(source, "ada", b"wrong") is None
        second.stop()
        with pytest.raises(UnreachableError) as error:
            await source.verify(b"ada", GOOD)
        assert first.tls_url in str(error.value)
        assert second.tls_url in str(error.value)
        first.stop()
        first.start()
        assert await _name(source, "ada") == "ada"


@pytest.mark.parametrize(
    "change",
    [
        {"base": "people"},
        {"filter": "(uid={username}"},
        {"groups": {"base": "groups"}},
        {"groups": {"filter": "member={dn})"}},
        {"groups": {"mapping": {"ours": ["cn=a,"]}}},
        {"cafile": "/nowhere"},
        {"bindpassword": "", "bindpasswordfile": "/nowhere"},
    ],
)
async def test_what_is_malformed_is_said_at_the_start(
    server: Slapd, opened: Open, change: dict[str, Any]
) -> None:
    """Not with the first login."""
    with pytest.raises(ConfigError, match=r"auth\.ldap"):
        opened(settings(server, **change))
