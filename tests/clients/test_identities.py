"""Every kind of identity with every client that people have: logging in, pushing, pulling, and
being refused where they may not.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bcrypt
import httpx
import pytest

from tests.clients.daemons import dockerd
from tests.clients.sites import ClientError
from tests.clients.tools import TOOLS, Workbench, furnish, make_chart
from tests.directory import slapd as directory
from tests.directory.openid import CLIENT, SECRET, log_in_by_device, openid
from tests.images_on_disk import GREETING, make_image
from tests.programs import environment, run
from tests.servers import Registry, start_registry
from tests.tokens.issuers import AUDIENCE, Issuer, start_issuer

PASSWORD: Final = directory.PASSWORD

ACTORS: Final = {
    "local": "lou",
    "htpasswd": "hal",
    "ldap": "ada",
    "oidc": "sso:ada",
    "robot": "robot$team-a+ci",
    "token": "lou",
    "job": "ci:repo:acme/app:ref:refs/heads/main",
    "exchanged": "robot$team-a+ci",
}
"""The kinds of identity, and who each of them is to the registry.

A `job` logs in with what its CI system gave it, which the registry exchanges whenever the client
asks for a token; `exchanged` is what a job got that asked for the exchange itself (RFC 8693).
"""

TABLE: Final = [
    (program, kind)
    for program, tool in TOOLS.items()
    for kind in ACTORS
    if kind != "exchanged" or tool.token_options is not None
]


REFUSED: Final = re.compile(
    r"(?i)unauthorized|authentication required|denied|not found|unknown"
    r"|panic: sync/atomic: compare and swap of inconsistently typed value"
)
"""What clients say to a refusal, and to what does not exist, which is the same. oras 1.2 ends in
that panic when two blobs are refused at once; what the registry then has is looked at as well.
"""


@dataclass(frozen=True, slots=True)
class House:
    """A registry that knows people in every way, and what they log in with."""

    registry: Registry
    issuer: Issuer
    folder: Path
    """Has the `config.json` that `entrepot login` keeps."""
    accounts: dict[str, tuple[str, str]]
    """Kind -> name and password, for those that log in so for good."""

    def entrepot(self, *arguments: str, given: str = "") -> Any:
        """Run a command beside the server; what it printed, as JSON."""
        known = environment(REGISTRY_CONFIGURATION_PATH=str(self.registry.config_path))
        done = run(*arguments, "--output", "json", env=known, text=given)
        done.check_returncode()
        return json.loads(done.stdout)

    def account(self, kind: str) -> tuple[str, str]:
        """The name and the password with which somebody of a kind logs in now."""
        return (
            ("oidc", self.issuer.token(repository="acme/app"))
            if kind == "job"
            else self.accounts[kind]
        )

    def pushed(self, repository: str) -> set[str]:
        """Who pushed into a repository or below it, as the audit log has it."""
        url = f"{self.registry.url}/api/v1/audit/events"
        query = {"action": "manifest.push", "namespace": repository}
        answer = httpx.get(url, params=query, auth=("root", PASSWORD), timeout=30)
        events = answer.raise_for_status().json()["items"]
        return {event["actor"] for event in events}

    def exchange(self, *repositories: str) -> str:
        """The token that a job gets for its own, for some repositories and what is below."""
        names = [name for each in repositories for name in (each, f"{each}/chart")]
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "subject_token": self.issuer.token(repository="acme/robot"),
            "scope": " ".join(f"repository:{name}:pull,push" for name in names),
        }
        answer = httpx.post(f"{self.registry.url}/auth/token", data=form, timeout=30)
        return str(answer.raise_for_status().json()["access_token"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A registry where the group team-a, a robot and some jobs develop team-a."""
    folder = tmp_path_factory.mktemp("house")
    with ExitStack() as stack:
        people = stack.enter_context(directory.slapd(folder / "slapd"))
        provider = stack.enter_context(openid(folder / "openid"))
        issuer = stack.enter_context(start_issuer())
        auth = {
            "local": {
                "admin": {"name": "root", "password": PASSWORD},
                "argon2": {"timecost": 1, "memorycost": 1024},
            },
            "htpasswd": _htpasswd(folder / "htpasswd", "hal"),
            "ldap": {
                "urls": [people.tls_url],
                "cafile": str(people.ca),
                "binddn": directory.ADMIN,
                "bindpassword": directory.SECRET,
                "base": f"ou=people,{directory.SUFFIX}",
            },
            "oidc": [
                {
                    "name": "sso",
                    "issuer": provider.url,
                    "clientid": CLIENT,
                    "clientsecret": SECRET,
                    "scopes": ["profile", "email", "groups"],
                    "prefix": "sso:",
                }
            ],
            "workloads": [
                {
                    "name": "ci",
                    "issuer": issuer.url,
                    "audience": AUDIENCE,
                    "rules": [
                        {"claims": {"repository": "acme/robot"}, "robot": "robot$team-a+ci"},
                        {
                            "claims": {"repository": "acme/*"},
                            "scopes": [{"repositories": "team-a/**", "actions": ["pull", "push"]}],
                        },
                    ],
                }
            ],
            "limits": {"attempts": 1000, "addressattempts": 1000},
        }
        mapping = {"group": "team-a", "namespace": "team-a", "roles": ["developer"]}
        config = {"auth": auth, "access": {"mappings": [mapping]}}
        registry = stack.enter_context(start_registry(folder / "registry", config=config))
        house = House(registry, issuer, folder, {})
        house.accounts.update(_accounts(house))
        known = environment(DOCKER_CONFIG=str(folder), HOME=str(folder))
        log_in_by_device(registry.url, "ada", environment=known)
        yield house


def _htpasswd(path: Path, name: str) -> dict[str, Any]:
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds=5)).decode()
    path.write_text(f"{name}:{hashed}\n")
    return {"realm": "r", "path": str(path), "administrators": [], "groups": {"team-a": [name]}}


def _accounts(house: House) -> dict[str, tuple[str, str]]:
    """Make what the index has to know; whatever everybody logs in with."""
    house.entrepot("namespace", "create", "team-a")
    lou = ["user", "create", "lou", "--group", "team-a", "--password-stdin"]
    house.entrepot(*lou, given=PASSWORD)
    robot = house.entrepot("robot", "create", "ci", "--namespace", "team-a")
    whom = ["--robot", robot["name"]]
    house.entrepot("access", "grant", "team-a", "--roles", "developer", *whom)
    token = house.entrepot("token", "create", "lou", "--scope", "**:pull,push")
    return {
        "local": ("lou", PASSWORD),
        "htpasswd": ("hal", PASSWORD),
        "ldap": ("ada", PASSWORD),
        "robot": (robot["name"], robot["secret"]),
        "token": ("lou", token["secret"]),
    }


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with dockerd({}) as address:
        yield address


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chart(tmp_path_factory.mktemp("chart"))


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images") / "layout"
    make_image(place, "one", files={GREETING: "one\n"})
    return place


class Room:
    """Makes workbenches, each with a home of its own that has something to push."""

    def __init__(self, house: House, engine: str, layout: Path, chart: Path) -> None:
        self.house = house
        self._engine = engine
        self._layout = layout
        self._chart = chart

    def bench(self, home: Path, program: str, *, token: str = "") -> Workbench:
        client = furnish(home, engine=self._engine, layout=self._layout, chart=self._chart)
        return Workbench(TOOLS[program], client, self.house.registry.host, token=token)

    def logged_in(self, home: Path, program: str, kind: str, *repositories: str) -> Workbench:
        """A bench of somebody of a kind; a job that exchanges its token has to say what for."""
        registry, kept = self.house.registry, home / ".docker" / "config.json"
        if kind == "exchanged":
            token = self.house.exchange(*repositories)
            bench = self.bench(home, program, token=token)
            kept.write_text(json.dumps({"auths": {registry.host: {"registrytoken": token}}}))
            return bench
        bench = self.bench(home, program)
        if kind == "oidc":
            shutil.copy(self.house.folder / "config.json", kept)
        else:
            bench.log_in(*self.house.account(kind))
        return bench


@pytest.fixture(scope="module")
def room(house: House, engine: str, layout: Path, chart: Path) -> Room:
    return Room(house, engine, layout, chart)


@pytest.fixture(scope="module")
def secret(room: Room, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What only the administrator may have, pushed with each program: its repository."""
    found = {}
    for program in TOOLS:
        bench = room.bench(tmp_path_factory.mktemp("root") / "home", program)
        bench.log_in("root", PASSWORD)
        found[program] = f"team-b/{program}"
        bench.push(found[program])
        bench.pull(found[program])
    return found


@pytest.mark.parametrize("program, kind", TABLE)
def test_log_in_push_pull_and_no_further(
    room: Room, secret: dict[str, str], tmp_path: Path, program: str, kind: str
) -> None:
    """Whoever it is pushes and pulls where they may, and the audit log knows who it was. Elsewhere
    nothing is taken, nor given.
    """
    own, other = f"team-a/{program}-{kind}", f"team-b/{program}-{kind}"
    bench = room.logged_in(tmp_path / "home", program, kind, own, other, secret[program])
    bench.push(own)
    bench.pull(own)
    for act, repository in ((bench.push, other), (bench.pull, secret[program])):
        with pytest.raises(ClientError) as refusal:
            act(repository)
        assert REFUSED.search(str(refusal.value)), refusal.value
    assert room.house.pushed(own) == {ACTORS[kind]}
    assert room.house.pushed(other) == set()


@pytest.mark.parametrize("program", TOOLS)
def test_a_wrong_password(room: Room, tmp_path: Path, program: str) -> None:
    """A client doesn't log in with it, whichever source the name is of, nor without any."""
    bench = room.bench(tmp_path / "home", program)
    for kind in ("local", "ldap", "robot"):
        with pytest.raises(ClientError, match=r"(?i)unauthorized|invalid username/password"):
            bench.log_in(room.house.accounts[kind][0], "wrong")
    with pytest.raises(ClientError) as refusal:
        bench.push("team-a/nobody")
    assert REFUSED.search(str(refusal.value)), refusal.value
