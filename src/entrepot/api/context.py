"""What every handler works with, put together by `entrepot.app`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from entrepot.api.challenges import Challenges
from entrepot.api.links import Links
from entrepot.api.logins import Logins
from entrepot.api.origins import Origins
from entrepot.core.access import Identity
from entrepot.identity import Authenticator
from entrepot.services.access import Access
from entrepot.services.administration import Administration
from entrepot.services.push import ManifestRules
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.telemetry import Metrics

if TYPE_CHECKING:
    from entrepot.services.browser_logins import BrowserLogins
    from entrepot.services.browser_sessions import BrowserSessions
    from entrepot.services.devices import Devices
    from entrepot.services.tokens import TokenServer


@dataclass(frozen=True, slots=True)
class Limits:
    """What the registry accepts: bytes, entries a page, and seconds."""

    manifest: int
    headers: int
    idle: float
    requests: int
    catalog_page: int
    tags_page: int


class Health(Protocol):
    """Whether the registry is fit to serve; `entrepot.health.HealthBoard` is one."""

    @property
    def healthy(self) -> bool:
        """Whether nothing fails."""

    def failures(self) -> Mapping[str, str]:
        """What fails, and why, by the name of the check."""


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """The token server and who it asks: `logins` about names and passwords, `exchange` about the
    tokens of other issuers, `devices` about logins at OpenID Connect providers; None where there
    are none.
    """

    server: "TokenServer"
    logins: Authenticator
    exchange: Callable[[str], Awaitable[Identity]] | None
    devices: "Devices | None"


@dataclass(frozen=True, slots=True)
class BrowserEndpoint:
    """Logins in a browser: its sessions, `authenticator` that knows them by their cookies, `logins`
    at OpenID Connect providers and `passwords` that knows names and passwords; None where there
    are none. `secret` is what forms' tokens are made with.
    """

    sessions: "BrowserSessions"
    authenticator: Authenticator
    logins: "BrowserLogins | None"
    passwords: Authenticator | None
    secret: bytes


@dataclass(frozen=True, slots=True)
class Context:
    """One registry, as its HTTP surface sees it.

    `accelerate` is the prefix under which a server in front finds the blobs, or None. `challenges`
    ask for tokens, where that is how callers are known; `tokens` is the registry's own token
    server, `browser` what lets people in who have a browser, if it has one.
    """

    authenticator: Authenticator
    access: Access
    accounts: Administration
    origins: Origins
    stores: Stores
    uploads: Uploads
    links: Links
    limits: Limits
    rules: ManifestRules
    accelerate: str | None
    health: Health
    metrics: Metrics
    logins: Logins
    challenges: Challenges | None = None
    tokens: TokenEndpoint | None = None
    browser: BrowserEndpoint | None = None
