"""Credentials from the configuration file of docker, podman and others (`auths`)."""

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from entrepot.upstream.address import UpstreamAddress
from entrepot.upstream.errors import UpstreamAddressError
from entrepot.upstream.options import Credentials

_HUB: Final = {"registry-1.docker.io": "https://index.docker.io/v1/"}
"""Registry -> the name under which docker keeps its login."""


class _Login(msgspec.Struct, rename="lower"):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Logins(msgspec.Struct):
    auths: dict[str, _Login] | None = None


def login_path(environment: Mapping[str, str]) -> Path | None:
    """Return where docker keeps its configuration, or None without a home directory."""
    folder = environment.get("DOCKER_CONFIG")
    if folder:
        return Path(folder) / "config.json"
    home = environment.get("HOME")
    return Path(home) / ".docker" / "config.json" if home else None


def find_login(path: Path, address: UpstreamAddress) -> Credentials | None:
    """Return the login that a file holds for a registry, or None if there is no file or login.

    Raises:
        UpstreamAddressError: the file can't be read, or holds a login that can't be used.
    """
    try:
        logins = msgspec.json.decode(path.read_bytes(), type=_Logins).auths or {}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UpstreamAddressError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UpstreamAddressError(f"{path} is no configuration of docker: {error}") from None
    for name in (address.host, f"https://{address.host}", _HUB.get(address.host, "")):
        login = logins.get(name) or logins.get(f"{name}/")
        if login is not None:
            return _credentials(login, f"{path}: auths.{name}")
    return None


def _credentials(login: _Login, place: str) -> Credentials | None:
    if login.username and login.password:
        return Credentials(login.username, login.password)
    if login.identitytoken:
        raise UpstreamAddressError(
            f"{place}: an identity token can't be used; give a user and a password"
        )
    if not login.auth:
        return None  # it is kept by a program that docker calls
    try:
        username, colon, password = base64.b64decode(login.auth).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon = username = password = ""
    if not colon:
        raise UpstreamAddressError(f"{place}.auth is not the base64 of USER:PASSWORD")
    return Credentials(username, password.rstrip("\0"))
