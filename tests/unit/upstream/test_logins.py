"""Logins in the configuration file of docker."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from entrepot.upstream import Credentials, UpstreamAddress, UpstreamAddressError
from entrepot.upstream.logins import find_login, login_path

OLD = UpstreamAddress.parse("https://old:5000")
AUTH = base64.b64encode(b"ann:pass:word").decode()


def found(path: Path, document: object, address: UpstreamAddress = OLD) -> Credentials | None:
    path.write_text(json.dumps(document))
    return find_login(path, address)


@pytest.mark.parametrize("name", ["old:5000", "https://old:5000", "https://old:5000/"])
def test_names(tmp_path: Path, name: str) -> None:
    login = {"auths": {"other": {"auth": "x"}, name: {"auth": AUTH}}}
    assert found(tmp_path / "c", login) == Credentials("ann", "pass:word")


def test_forms(tmp_path: Path) -> None:
    file = tmp_path / "c"
    apart = {"username": "ann", "password": "word"}
    assert found(file, {"auths": {"old:5000": apart}}) == Credentials("ann", "word")
    hub = UpstreamAddress.parse("https://registry-1.docker.io")
    login = {"auths": {"https://index.docker.io/v1/": {"auth": AUTH}}}
    assert found(file, login, hub) == Credentials("ann", "pass:word")


def test_none(tmp_path: Path) -> None:
    file = tmp_path / "c"
    assert find_login(file, OLD) is None
    documents: tuple[object, ...] = (
        {},
        {"auths": None},
        {"auths": {"old": {"auth": AUTH}}},
        {"auths": {"old:5000": {}}, "credsStore": "desktop"},
    )
    for document in documents:
        assert found(file, document) is None


@pytest.mark.parametrize(
    "login, told",
    [
        ({"auth": "***"}, "is not the base64"),
        ({"auth": base64.b64encode(b"secret-alone").decode()}, "is not the base64"),
        ({"identitytoken": "secret-alone"}, "identity token"),
    ],
)
def test_what_can_not_be_used(tmp_path: Path, login: dict[str, str], told: str) -> None:
    with pytest.raises(UpstreamAddressError, match=told) as raised:
        found(tmp_path / "c", {"auths": {"old:5000": login}})
    assert "secret" not in str(raised.value)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(UpstreamAddressError, match="Is a directory"):
        find_login(tmp_path, OLD)
    (tmp_path / "c").write_bytes(b"\xff{")
    with pytest.raises(UpstreamAddressError, match="no configuration of docker"):
        find_login(tmp_path / "c", OLD)


def test_where_it_is() -> None:
    assert login_path({"HOME": "/h"}) == Path("/h/.docker/config.json")
    assert login_path({"HOME": "/h", "DOCKER_CONFIG": "/d"}) == Path("/d/config.json")
    assert login_path({}) is None
