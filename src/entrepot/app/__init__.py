"""The composition root: a configuration becomes an application. Concrete drivers are named here."""

from entrepot.app.accounts import opened_accounts
from entrepot.app.preparing import prepare
from entrepot.app.runtime import build
from entrepot.app.stores import check_servers, opened, place, storage_check

__all__ = [
    "build",
    "check_servers",
    "opened",
    "opened_accounts",
    "place",
    "prepare",
    "storage_check",
]
