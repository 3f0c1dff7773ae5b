"""registry:2's configuration and ours: loading, origins, and what it can't do."""

from entrepot.config.address import Address, UnixAddress
from entrepot.config.errors import ConfigError, Notice, Origin, Problem
from entrepot.config.loading import Loaded, load, resolve_path
from entrepot.config.schema import Config

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "Loaded",
    "Notice",
    "Origin",
    "Problem",
    "UnixAddress",
    "load",
    "resolve_path",
]
