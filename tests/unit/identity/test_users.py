"""The htpasswd file itself."""

import base64
import multiprocessing
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from entrepot.identity import IdentityError
from entrepot.identity.users import create_users_file, parse_users, read_users
from entrepot.telemetry import Revealed
from tests.unit.identity.credentials import hash_of

HASH = hash_of("x")


def test_form() -> None:
    users = parse_users(b"# comment\n\n  alice:" + HASH + b"  \r\n\tbob:" + HASH)
    assert users.hashes == {b"alice": HASH, b"bob": HASH}
    assert users.problems == ()


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"alice:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=", "not bcrypt"),
        (b"alice:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", "not bcrypt"),
        (b"alice:secret", "not bcrypt"),
        (b"alice:" + HASH[:-1], "not bcrypt"),
        (b"alice:" + HASH + b":comment", "not bcrypt"),
        (b"alice:$2x" + HASH[3:], "not bcrypt"),
        (b"alice:$2b$99" + HASH[6:], "cost"),
        (b"alice:$2b$31" + HASH[6:], "cost"),
        (b"alice:$2b$03" + HASH[6:], "cost"),
        (b"alice", "no colon"),
        (b"alice:", "no colon"),
        (b":" + HASH, "the name"),
        (b"al\x00ice:" + HASH, "the name"),
        (b"j\xfcrgen:" + HASH, "the name"),
    ],
)
def test_lines_nobody_can_log_in_with(line: bytes, reason: str) -> None:
    """They are told by number, and never by what they say: it may be a password."""
    users = parse_users(b"# one\n" + line + b"\nbob:" + HASH)
    assert users.hashes == {b"bob": HASH}
    (problem,) = users.problems
    assert problem.line == 2
    assert reason in problem.reason


def test_the_last_line_of_a_user_counts() -> None:
    other = hash_of("y")
    users = parse_users(b"alice:" + HASH + b"\nalice:" + other)
    assert users.hashes == {b"alice": other}
    assert [problem.line for problem in users.problems] == [2]


@given(st.binary(max_size=500))
def test_any_content_can_be_parsed(content: bytes) -> None:
    parse_users(content)
    assert parse_users(b"alice:" + HASH + b"\n" + content).hashes[b"alice"]


def test_an_empty_file_has_no_users(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text("# nobody yet\n")
    assert read_users(file).hashes == {}


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="can't be read"):
        read_users(tmp_path)


def test_an_absent_file_is_made(tmp_path: Path) -> None:
    """As registry:2: user docker, a random password, in the log once; for nobody else to read."""
    file = tmp_path / "auth" / "htpasswd"
    with capture_logs() as logs:
        assert create_users_file(file)
        assert not create_users_file(file)
    (entry,) = logs
    assert entry["user"] == "docker"
    assert isinstance(entry["password"], Revealed)
    assert len(base64.urlsafe_b64decode(entry["password"] + "=")) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    assert bcrypt.checkpw(entry["password"].encode(), read_users(file).hashes[b"docker"])
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text("")
    assert not create_users_file(file)
    assert file.read_text() == ""


def test_a_file_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IdentityError, match="can't be made"):
        create_users_file(tmp_path / "file" / "htpasswd")


def test_of_several_processes_one_makes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        made = pool.map(create_users_file, [file] * 8)
    assert made.count(True) == 1
    assert len(read_users(file).hashes) == 1
    assert list(tmp_path.iterdir()) == [file]
