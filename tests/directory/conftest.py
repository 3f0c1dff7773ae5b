"""Sources of people in a directory, opened as a registry opens them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

import pytest

from entrepot.app.ldap import open_ldap
from entrepot.config.schema_ldap import Ldap as Settings
from entrepot.core.access import Identity
from entrepot.identity.ldap import Ldap

Open = Callable[..., Ldap]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """Open sources that are closed after the test."""
    with ExitStack() as stack:

        async def adopt(identity: Identity) -> Identity | None:
            return identity

        def open_it(given: Settings) -> Ldap:
            source = open_ldap(given, adopt)
            stack.callback(source.close)
            return source

        yield open_it
