"""Authentication against an htpasswd file."""

import asyncio
import base64
import os
import threading
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from entrepot.core.errors import TooManyRequestsError, UnauthorizedError
from entrepot.identity import IdentityError, remembered
from entrepot.identity import htpasswd as module
from entrepot.identity.basic import basic_challenge, parse_basic
from entrepot.identity.htpasswd import Htpasswd, matches
from entrepot.identity.passwords import Passwords
from entrepot.identity.users import Users
from entrepot.telemetry import Metrics
from tests.unit.identity.credentials import ANYWHERE, Clock, basic, hash_of, write_users

Open = Callable[[], Passwords]
GOOD = basic("alice", "wonderland")
BAD = basic("alice", "looking-glass")


def login(htpasswd: Passwords, header: str | None) -> str:
    return asyncio.run(htpasswd.authenticate(header, ANYWHERE)).name


def refused(htpasswd: Passwords, header: str | None) -> bool:
    try:
        login(htpasswd, header)
    except UnauthorizedError:
        return True
    return False


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hash of each bcrypt run since the test began."""
    made: list[bytes] = []
    real = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        made.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr("entrepot.identity.htpasswd.bcrypt.checkpw", checkpw)
    return made


def outcomes(metrics: Metrics) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "entrepot_auth_attempts_total"
    }


def test_right_and_wrong(open_htpasswd: Open, metrics: Metrics) -> None:
    htpasswd = open_htpasswd()
    assert login(htpasswd, GOOD) == "alice"
    assert login(htpasswd, GOOD) == "alice"
    assert refused(htpasswd, BAD)
    assert refused(htpasswd, basic("bob", "wonderland"))
    assert refused(htpasswd, None)
    assert refused(htpasswd, "Basic !")
    assert outcomes(metrics) == {
        "verified": 1,
        "remembered": 1,
        "refused": 2,
        "absent": 1,
        "malformed": 1,
    }


def test_the_right_credential_costs_one_bcrypt_run(open_htpasswd: Open, runs: list[bytes]) -> None:
    htpasswd = open_htpasswd()
    for _ in range(20):
        login(htpasswd, GOOD)
    assert len(runs) == 1


def test_a_wrong_one_costs_a_run_each_time(open_htpasswd: Open, runs: list[bytes]) -> None:
    """Guessing gets no cheaper by being remembered."""
    htpasswd = open_htpasswd()
    for _ in range(3):
        assert refused(htpasswd, BAD)
    assert len(runs) == 3


def test_remembered_for_a_bounded_time(
    open_htpasswd: Open, clock: Clock, runs: list[bytes]
) -> None:
    htpasswd = open_htpasswd()
    login(htpasswd, GOOD)
    clock.now += 599
    login(htpasswd, GOOD)
    assert len(runs) == 1
    clock.now += 2
    login(htpasswd, GOOD)
    assert len(runs) == 2


def test_recalled_for_a_moment(path: Path, open_htpasswd: Open, clock: Clock) -> None:
    """Who was let in as somebody who is remembered; then the file is asked again."""
    htpasswd = open_htpasswd()
    for header in (None, "", BAD, GOOD):
        assert htpasswd.recall(header) is None
    login(htpasswd, GOOD)
    assert htpasswd.recall(GOOD) is None
    login(htpasswd, GOOD)
    found = htpasswd.recall(GOOD)
    assert found is not None
    assert (found.identity.name, found.until) == ("alice", 0.0)
    assert htpasswd.recall(BAD) is None
    write_users(path, b"alice:" + hash_of("new"), age=50)
    clock.now += 0.5
    assert htpasswd.recall(GOOD) is None
    clock.now += 0.5
    assert refused(htpasswd, GOOD)
    assert htpasswd.recall(GOOD) is None


def test_a_bounded_number_is_remembered(
    open_htpasswd: Open, monkeypatch: pytest.MonkeyPatch, runs: list[bytes]
) -> None:
    """The oldest are forgotten; what is kept can't be turned back into a password."""
    monkeypatch.setattr(remembered, "_MOST", 2)
    htpasswd = open_htpasswd()
    headers = [scheme + GOOD[5:] for scheme in ("Basic", "basic", "BASIC")]
    for header in headers:
        login(htpasswd, header)
    known = htpasswd._remembered._known
    assert len(known) == 2
    assert not any(b"Basic" in mark or b"wonderland" in mark for mark in known)
    login(htpasswd, headers[2])
    assert len(runs) == 3
    login(htpasswd, headers[0])
    assert len(runs) == 4


def test_unknown_users_cost_as_much_as_known_ones(
    path: Path, open_htpasswd: Open, runs: list[bytes]
) -> None:
    """Names can't be found out by the time an answer takes: same costs, same for a name."""
    write_users(path, b"a:" + hash_of("x", cost=4), b"b:" + hash_of("x", cost=5))
    htpasswd = open_htpasswd()
    for number in range(20):
        for _ in range(2):
            assert refused(htpasswd, basic(f"nobody{number}", "x"))
    costs = [hashed[4:6] for hashed in runs]
    assert set(costs) == {b"04", b"05"}
    assert costs[::2] == costs[1::2]


def test_a_decoy_lets_nobody_in(path: Path) -> None:
    htpasswd = Htpasswd(path)
    decoy = htpasswd._decoy(b"nobody")
    assert not matches(b"", decoy)
    assert not matches(b"wonderland", decoy)
    htpasswd.close()


def test_the_same_credential_at_once_is_verified_once(
    open_htpasswd: Open, runs: list[bytes]
) -> None:
    htpasswd = open_htpasswd()

    async def all_at_once() -> list[str]:
        found = await asyncio.gather(*(htpasswd.authenticate(GOOD, ANYWHERE) for _ in range(100)))
        return [identity.name for identity in found]

    assert asyncio.run(all_at_once()) == ["alice"] * 100
    assert len(runs) == 1
    assert htpasswd._checks == {}


class Gate:
    """Holds up bcrypt runs until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        real = bcrypt.checkpw

        def checkpw(password: bytes, hashed: bytes) -> bool:
            assert self.opened.wait(30)
            return real(password, hashed)

        monkeypatch.setattr("entrepot.identity.htpasswd.bcrypt.checkpw", checkpw)


async def attempt(htpasswd: Passwords, header: str) -> str:
    try:
        return (await htpasswd.authenticate(header, ANYWHERE)).name
    except UnauthorizedError:
        return "refused"
    except TooManyRequestsError as error:
        return "retry after " + error.headers["Retry-After"]


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop go round until `condition` holds, at most 30 seconds."""
    deadline = asyncio.get_running_loop().time() + 30
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0)


def test_the_queue_is_bounded(
    open_htpasswd: Open, monkeypatch: pytest.MonkeyPatch, metrics: Metrics
) -> None:
    """Guesses beyond what can wait are turned away at once, and nothing grows."""
    gate = Gate(monkeypatch)
    htpasswd = open_htpasswd()

    async def guess() -> list[str]:
        tasks = [
            asyncio.create_task(attempt(htpasswd, basic(f"user{number}", "x")))
            for number in range(80)
        ]
        await until(lambda: len(htpasswd._checks) == 64)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(htpasswd._checks) == 64
        gate.opened.set()
        return await asyncio.gather(*tasks)

    answers = asyncio.run(guess())
    assert answers.count("refused") == 64
    assert answers.count("retry after 1") == 16
    assert outcomes(metrics)["busy"] == 16


def test_guessing_one_user_leaves_room_for_others(
    open_htpasswd: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    htpasswd = open_htpasswd()

    async def guess() -> list[str]:
        guesses = [
            asyncio.create_task(attempt(htpasswd, basic("bob", f"{number}")))
            for number in range(50)
        ]
        await until(guesses[-1].done)
        alice = asyncio.create_task(attempt(htpasswd, GOOD))
        gate.opened.set()
        return await asyncio.gather(alice, *guesses)

    answers = asyncio.run(guess())
    assert answers[0] == "alice"
    assert answers.count("refused") == 8
    assert answers.count("retry after 1") == 42


def test_one_who_goes_away_does_not_spoil_it_for_others(
    open_htpasswd: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    htpasswd = open_htpasswd()

    async def go_away() -> str:
        first = asyncio.create_task(attempt(htpasswd, GOOD))
        second = asyncio.create_task(attempt(htpasswd, GOOD))
        await until(lambda: bool(htpasswd._checks))
        first.cancel()
        gate.opened.set()
        return await second

    assert asyncio.run(go_away()) == "alice"


def test_the_event_loop_goes_on_meanwhile(
    open_htpasswd: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While bcrypt runs, those who are remembered are served."""
    htpasswd = open_htpasswd()
    login(htpasswd, GOOD)
    gate = Gate(monkeypatch)

    async def serve() -> tuple[str, str]:
        slow = asyncio.create_task(attempt(htpasswd, BAD))
        await until(lambda: bool(htpasswd._checks))
        fast = await attempt(htpasswd, GOOD)
        gate.opened.set()
        return fast, await slow

    assert asyncio.run(serve()) == ("alice", "refused")


def test_a_changed_file_counts_after_a_second(
    path: Path, open_htpasswd: Open, clock: Clock
) -> None:
    """A new password, a new user and a removed one; remembered credentials don't outlive that."""
    htpasswd = open_htpasswd()
    assert login(htpasswd, GOOD) == "alice"
    write_users(path, b"alice:" + hash_of("new"), b"bob:" + hash_of("builder"), age=50)
    assert login(htpasswd, GOOD) == "alice"
    clock.now += 1
    assert refused(htpasswd, GOOD)
    assert login(htpasswd, basic("alice", "new")) == "alice"
    assert login(htpasswd, basic("bob", "builder")) == "bob"
    write_users(path, b"alice:" + hash_of("new"), age=40)
    clock.now += 1
    assert refused(htpasswd, basic("bob", "builder"))
    write_users(path, age=30)
    clock.now += 1
    assert refused(htpasswd, basic("alice", "new"))


def test_every_request_after_a_change_sees_it(
    path: Path, open_htpasswd: Open, clock: Clock
) -> None:
    """Not only the first of several that arrive together."""
    htpasswd = open_htpasswd()
    write_users(path, b"alice:" + hash_of("new"), age=50)
    clock.now += 100
    header = basic("alice", "new")

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(attempt(htpasswd, header) for _ in range(10)))

    assert asyncio.run(all_at_once()) == ["alice"] * 10


def test_an_unchanged_file_is_not_read_again(
    open_htpasswd: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    htpasswd = open_htpasswd()
    login(htpasswd, GOOD)
    (source,) = htpasswd._sources
    assert isinstance(source, Htpasswd)
    users = source._users
    clock.now += 5
    login(htpasswd, GOOD)
    assert source._users is users


def test_a_file_just_written_is_read_again(path: Path, open_htpasswd: Open, clock: Clock) -> None:
    """A second change within the same tick, of the same size, is seen all the same."""
    write_users(path, b"alice:" + hash_of("one"), age=0)
    facts = path.stat()
    htpasswd = open_htpasswd()
    with path.open("r+b") as file:
        file.write(b"alice:" + hash_of("two"))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    clock.now += 1
    assert login(htpasswd, basic("alice", "two")) == "alice"


@pytest.mark.parametrize("content", [b"alice:plain\n", b"\x7fELF\0\0\0", b"alice:$2y$10$half"])
def test_a_broken_rewrite_keeps_the_users(
    path: Path, open_htpasswd: Open, clock: Clock, content: bytes
) -> None:
    """The log tells once for each fault, not every second; a mended file counts."""
    htpasswd = open_htpasswd()
    path.write_bytes(content)
    with capture_logs() as logs:
        for _ in range(3):
            clock.now += 1
            assert login(htpasswd, GOOD) == "alice"
        path.unlink()
        clock.now += 1
        assert login(htpasswd, GOOD) == "alice"
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert len(errors) == 2
    write_users(path, b"bob:" + hash_of("builder"))
    clock.now += 1
    assert login(htpasswd, basic("bob", "builder")) == "bob"
    assert refused(htpasswd, GOOD)


def test_a_file_system_that_hangs_holds_up_nobody_for_long(
    path: Path, open_htpasswd: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    htpasswd = open_htpasswd()
    login(htpasswd, GOOD)
    going_on = threading.Event()

    def hang(_: Path, known: Users) -> Users:
        assert going_on.wait(30)
        return known

    monkeypatch.setattr(module, "read_users_again", hang)
    monkeypatch.setattr(module, "_REREAD_EVERY_SECONDS", 0.05)
    clock.now += 10

    async def pull() -> list[str]:
        names = [await attempt(htpasswd, GOOD) for _ in range(3)]
        going_on.set()
        return names

    assert asyncio.run(pull()) == ["alice"] * 3


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_bcrypt_dialects(path: Path, open_htpasswd: Open, prefix: bytes) -> None:
    write_users(path, b"alice:" + hash_of("pässwörd:with:colons", prefix=prefix))
    assert login(open_htpasswd(), basic("alice", "pässwörd:with:colons")) == "alice"


def test_names_in_utf8(path: Path, open_htpasswd: Open) -> None:
    write_users(path, "jürgen:".encode() + hash_of("x"))
    htpasswd = open_htpasswd()
    assert login(htpasswd, basic("jürgen", "x")) == "jürgen"
    assert refused(htpasswd, basic("jürgen".encode("latin-1"), "x"))


def test_passwords_beyond_what_bcrypt_looks_at(path: Path, open_htpasswd: Open) -> None:
    """The first 72 bytes count, as for registry:2; longer is no error."""
    write_users(path, b"alice:" + hash_of("x" * 72))
    htpasswd = open_htpasswd()
    assert login(htpasswd, basic("alice", "x" * 72)) == "alice"
    assert login(htpasswd, basic("alice", "x" * 1000)) == "alice"
    assert refused(htpasswd, basic("alice", "x" * 71))
    assert refused(htpasswd, basic("alice", "y" + "x" * 1000))


def test_passwords_may_be_any_bytes_but_nul(path: Path, open_htpasswd: Open) -> None:
    write_users(path, b"alice:" + hash_of(b"\xff\xfe"), b"bob:" + hash_of("a"))
    htpasswd = open_htpasswd()
    assert login(htpasswd, basic("alice", b"\xff\xfe")) == "alice"
    assert refused(htpasswd, basic("bob", b"a\0a"))
    assert refused(htpasswd, basic(b"bob\0", b"a"))


@pytest.mark.parametrize(
    "header, credential",
    [
        ("Basic YTpi", (b"a", b"b")),
        ("bAsIc YTpi", (b"a", b"b")),
        ("Basic   YTpi  ", (b"a", b"b")),
        ("Basic YTpiOmM=", (b"a", b"b:c")),
        ("Basic Og==", (b"", b"")),
        ("Basic", None),
        ("Basic ", None),
        ("", None),
        ("Bearer YTpi", None),
        ("BasicYTpi", None),
        ("Basic YTpi!", None),
        ("Basic YTp", None),
        ("Basic YTpi YTpi", None),
        ("Basic YWI=", None),
        ("Basic " + base64.b64encode(b"a:\0").decode(), None),
    ],
)
def test_parse_basic(header: str, credential: tuple[bytes, bytes] | None) -> None:
    assert parse_basic(header) == credential


def test_a_header_that_is_too_long_costs_nothing(open_htpasswd: Open, runs: list[bytes]) -> None:
    assert refused(open_htpasswd(), basic("alice", "x" * 10_000))
    assert runs == []


@pytest.mark.parametrize(
    "realm, challenge",
    [
        ("Registry Realm", 'Basic realm="Registry Realm"'),
        ('a "b" \\c', 'Basic realm="a \\"b\\" \\\\c"'),
        ("a\r\nSet-Cookie: x", 'Basic realm="a??Set-Cookie: x"'),
        ("Bücher", 'Basic realm="B?cher"'),
        ("", 'Basic realm=""'),
    ],
)
def test_challenge(realm: str, challenge: str) -> None:
    assert basic_challenge(realm) == challenge


def test_no_password_is_logged(open_htpasswd: Open) -> None:
    """Not even a name that nobody has: it may be a password typed into the wrong field."""
    htpasswd = open_htpasswd()
    with capture_logs() as logs:
        refused(htpasswd, basic("my-secret", "my-secret"))
        refused(htpasswd, basic("alice", "my-secret"))
    assert [entry["event"] for entry in logs] == [
        "authentication of an unknown user refused",
        "authentication refused",
    ]
    assert "my-secret" not in str(logs)


def test_a_file_that_can_not_be_used_at_start(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="can't be read"):
        Htpasswd(tmp_path / "absent")
    (tmp_path / "plain").write_text("alice:secret\n")
    with pytest.raises(IdentityError, match="no usable line") as error:
        Htpasswd(tmp_path / "plain")
    assert "secret" not in str(error.value)
