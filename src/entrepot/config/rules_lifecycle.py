"""What must fit together in the `lifecycle` section."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from entrepot.config.schema import Config


def check_lifecycle(config: Config) -> Iterator[tuple[str, str]]:
    """Every key that doesn't fit, and why."""
    for number, peer in enumerate(config.lifecycle.scrub.peers):
        key = f"lifecycle.scrub.peers[{number}]"
        if not _is_address(peer.url):
            yield f"{key}.url", "expected https://HOST or http://HOST, without a user"
        if peer.password and peer.passwordfile:
            yield key, "give either password or passwordfile"
        if bool(peer.username) != bool(peer.password or peer.passwordfile):
            yield key, "username and password go together"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(
            parts.scheme in {"http", "https"}
            and parts.hostname
            and parts.port != 0
            and parts.username is None
            and not (parts.query or parts.fragment)
        )
    except ValueError:
        return False
