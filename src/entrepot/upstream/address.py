"""Where another registry is."""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

from entrepot.upstream.errors import UpstreamAddressError

_PORTS: Final = {"http": 80, "https": 443}
_LONGEST: Final = 16_384


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """`url` is `SCHEME://HOST[:PORT][/PREFIX]`, without a slash at the end. Made by `parse`."""

    url: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that `text` is, or raise `UpstreamAddressError`."""
        try:
            parts = urlsplit(text)
            _ = parts.port
        except ValueError as error:
            raise UpstreamAddressError(f"that is no address of a registry: {error}") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UpstreamAddressError(
                f"{parts.scheme or 'an address'}://... is not an address of a registry: "
                "write https://HOST or https://HOST:PORT"
            )
        if parts.username is not None or parts.password is not None:
            raise UpstreamAddressError(
                "an address must hold neither user nor password: others can see it. Give them apart"
            )
        if parts.query or parts.fragment:
            raise UpstreamAddressError("an address of a registry ends before ? and #")
        path = parts.path.rstrip("/")
        return cls(f"{parts.scheme}://{parts.netloc}{path.removesuffix('/v2')}")

    @property
    def host(self) -> str:
        """`HOST` or `HOST:PORT`, as the configuration of docker names registries."""
        return urlsplit(self.url).netloc

    @property
    def hostname(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def encrypted(self) -> bool:
        return self.url.startswith("https:")


def is_address(url: str) -> bool:
    """Whether that is an address of HTTP, with a host and without a user."""
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        return False
    return bool(usable) and parts.scheme in _PORTS and url.isprintable() and len(url) <= _LONGEST


def joined(url: str, link: str) -> str | None:
    """Return where a link that was found at `url` leads, or None if that is no address."""
    try:
        target = urljoin(url, link)
    except ValueError:
        return None
    return target if is_address(target) else None


def origin(url: str) -> tuple[str, str, int]:
    """Return what must be the same for credentials to be sent: scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def without_query(url: str) -> str:
    """Return an address as it may be shown: what follows may be a secret, as in signed URLs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
