"""Where an index is."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class IndexAddress:
    """The URL of an index, and for PostgreSQL how it is used.

    `url` is `sqlite:///PATH`, or libpq's `postgresql://...` with its parameters for TLS (`sslmode`,
    `sslrootcert`, `sslcert`, `sslkey`) and several hosts. `connections` is the most that a process
    opens; times are in seconds.
    """

    url: str
    connections: int = 8
    connect_timeout: float = 5.0
    statement_timeout: float = 10.0

    @property
    def is_file(self) -> bool:
        """Whether it is a SQLite file."""
        return self.url.startswith("sqlite:")

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return Path("/" + self.url.partition("://")[2].lstrip("/"))

    def shown(self) -> str:
        """Return where it is for messages, without user and password."""
        return str(self.path) if self.is_file else self.place()

    def place(self) -> str:
        """Return host and database for messages, without user and password."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
        return f"{host or 'the local server'}{parts.path}"
