"""Users, hashes and headers for the tests of identity."""

import base64
import hashlib
import os
from pathlib import Path

import bcrypt

from entrepot.core.access import Origin

COST = 4
ANYWHERE = Origin("192.0.2.1")


def hash_of(password: str | bytes, *, prefix: bytes = b"2b", cost: int = COST) -> bytes:
    raw = password.encode() if isinstance(password, str) else password
    # Names of tests hold hashes, and must be the same in every process that runs some of them.
    salt = b"$2b$%02d$" % cost + hashlib.sha256(raw).hexdigest()[:21].encode() + b"u"
    hashed = bcrypt.hashpw(raw, salt)
    return b"$" + prefix + hashed[3:]


def basic(name: str | bytes, password: str | bytes) -> str:
    parts = [part.encode() if isinstance(part, str) else part for part in (name, password)]
    return "Basic " + base64.b64encode(b":".join(parts)).decode()


def write_users(path: Path, *lines: bytes, age: float = 100.0) -> None:
    """Write an htpasswd file that looks as if it had been written `age` seconds ago."""
    path.write_bytes(b"\n".join(lines) + b"\n")
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
