"""What every handler works with, put together by `entrepot.app`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from entrepot.api.links import Links
from entrepot.api.origins import Origins
from entrepot.identity import Authenticator
from entrepot.services.push import ManifestRules
from entrepot.services.stores import Stores
from entrepot.services.uploads import Uploads
from entrepot.telemetry import Metrics


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
class Context:
    """One registry, as its HTTP surface sees it.

    `accelerate` is the prefix under which a server in front finds the blobs, or None.
    """

    authenticator: Authenticator
    origins: Origins
    stores: Stores
    uploads: Uploads
    links: Links
    limits: Limits
    rules: ManifestRules
    accelerate: str | None
    health: Health
    metrics: Metrics
