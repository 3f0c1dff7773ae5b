"""The composition root: a configuration becomes an application. Concrete drivers are named here."""

from entrepot.app.accounts import opened_accounts
from entrepot.app.checking import check_servers
from entrepot.app.preparing import adopt, prepare
from entrepot.app.runtime import build
from entrepot.app.stores import opened, place, storage_check
from entrepot.app.upkeep import keep_up

__all__ = [
    "adopt",
    "build",
    "check_servers",
    "keep_up",
    "opened",
    "opened_accounts",
    "place",
    "prepare",
    "storage_check",
]
