"""One connection to a directory server (RFC 4511), with the few operations that a login needs.

One operation at a time. Whatever goes wrong with the connection is `UnreachableError`, and it must
then be closed; what the server says no to is `LdapError`.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

import sansldap
import structlog
from msgspec import Struct
from sansldap import LDAPResultCode as Code

from entrepot.core.errors import UnreachableError
from entrepot.identity.errors import IdentityError
from entrepot.identity.ldap_answers import next_range, reason_of

_LARGEST: Final = 4 * 1024 * 1024
"""Bytes of all answers to one operation."""

_PIECE: Final = 65_536

_WRONG: Final = frozenset(
    {
        *(Code.INVALID_CREDENTIALS, Code.INAPPROPRIATE_AUTHENTICATION, Code.NO_SUCH_OBJECT),
        *(Code.INVALID_DN_SYNTAX, Code.CONSTRAINT_VIOLATION, Code.INSUFFICIENT_ACCESS_RIGHTS),
        Code.UNWILLING_TO_PERFORM,
    }
)
"""What a server says to a wrong password, an account that is locked, and a name that can't be."""

_AWAY: Final = frozenset({Code.BUSY, Code.UNAVAILABLE})

_RANGES: Final = 20
"""In how many pieces the values of one entry may come."""

_log = structlog.get_logger("entrepot.identity")


class LdapError(IdentityError):
    """A directory server refuses what is asked of it; the text says which, and why."""


class Server(Struct, frozen=True):
    """Where a server is, and how it is spoken to. `tls` is for `ldaps`, or with `starttls` for a
    connection that begins without.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    starttls: bool


class Entry(Struct, frozen=True):
    """What a search found: a distinguished name, and attributes by their name in lower case."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]

    def values(self, attribute: str) -> list[str]:
        """Return the values of an attribute that are text."""
        found = self.attributes.get(attribute.lower(), ())
        return [value.decode("utf-8", "replace") for value in found]


class Connection:
    """A connection to `server`. `timeout` is in seconds, for one operation."""

    def __init__(
        self,
        server: Server,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        timeout: float,
    ) -> None:
        self.server = server
        self._reader, self._writer = streams
        self._timeout = timeout
        self._session = sansldap.LDAPClient()

    @classmethod
    async def open(cls, server: Server, *, connect: float, timeout: float) -> "Connection":
        """Connect within `connect` seconds, with TLS where that is configured."""
        try:
            async with asyncio.timeout(connect):
                tls = None if server.starttls else server.tls
                streams = await asyncio.open_connection(server.host, server.port, ssl=tls)
        except (OSError, TimeoutError) as error:
            raise _unreachable(server, error) from error
        connection = cls(server, streams, timeout=timeout)
        if server.starttls and server.tls is not None:
            try:
                await connection._start_tls(server.tls)
            except BaseException:
                connection.close()
                raise
        return connection

    async def bind(self, dn: str, password: str) -> bool:
        """Tell whether the password of an entry is right; the connection then acts for it.

        Neither may be empty: a server would take that for an anonymous bind, and be content
        (RFC 4513, 5.1.2).
        """
        if not dn or not password:
            return False
        (answer,) = await self._ask(self._session.bind_simple(dn, password))
        if not isinstance(answer, sansldap.BindResponse):
            raise UnreachableError(f"{self.server.url} answers something else than was asked")
        if answer.result.result_code in _WRONG:
            if reason := reason_of(answer.result.diagnostics_message):
                _log.warning(
                    "a directory lets an account in no more",
                    account=dn,
                    reason=reason,
                    server=self.server.url,
                )
            return False
        self._expect_success(answer.result, "a login")
        return True

    async def search(
        self,
        base: str,
        filter: sansldap.LDAPFilter,  # noqa: A002 - the protocol's word
        attributes: list[str],
        *,
        scope: sansldap.SearchScope = sansldap.SearchScope.SUBTREE,
        most: int,
    ) -> list[Entry]:
        """Return what is found, `most` entries at most and what was found before there were more,
        with all values of the attributes. Where `base` isn't there nothing is found if it alone is
        looked at. What is on other servers isn't found: references to them are not followed.
        """
        found = await self._search(base, filter, attributes, scope=scope, most=most)
        return [await self._whole(entry) for entry in found]

    async def _whole(self, entry: Entry) -> Entry:
        """Return an entry with those values, too, that Active Directory gives piece by piece:
        `member;range=0-1499`, and with `*` for the last ([MS-ADTS], 3.1.1.3.1.3.3).
        """
        attributes, asked = dict(entry.attributes), 0
        for _ in range(_RANGES):
            piece = next_range(attributes)
            if piece is None:
                return Entry(entry.dn, attributes)
            if piece.first != asked:
                break
            asked = 0 if piece.after is None else piece.after
            values = attributes.pop(piece.key)
            attributes[piece.name] = attributes.get(piece.name, ()) + values
            if asked:
                found = await self._search(
                    entry.dn,
                    sansldap.FilterPresent("objectClass"),
                    [f"{piece.name};range={asked}-*"],
                    scope=sansldap.SearchScope.BASE,
                    most=1,
                )
                more = next_range(found[0].attributes) if found else None
                if more is None or more.name != piece.name:
                    break
                attributes[more.key] = found[0].attributes[more.key]
        raise LdapError(f"{entry.dn} has more values than {self.server.url} gives")

    async def _search(
        self,
        base: str,
        filter: sansldap.LDAPFilter,  # noqa: A002 - the protocol's word
        attributes: list[str],
        *,
        scope: sansldap.SearchScope,
        most: int,
    ) -> list[Entry]:
        number = self._session.search_request(
            base, scope, size_limit=most, filter=filter, attributes=attributes
        )
        *found, done = await self._ask(number)
        if not isinstance(done, sansldap.SearchResultDone):
            raise UnreachableError(f"{self.server.url} answers something else than was asked")
        code = done.result.result_code
        missing = code == Code.NO_SUCH_OBJECT and scope is sansldap.SearchScope.BASE
        if code != Code.SIZE_LIMIT_EXCEEDED and not missing:
            self._expect_success(done.result, f"a search in {base}")
        return [
            Entry(
                one.object_name,
                {each.name.lower(): tuple(each.values) for each in one.attributes},
            )
            for one in found
            if isinstance(one, sansldap.SearchResultEntry)
        ]

    def close(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        """RFC 4511, 4.14. What came before TLS is forgotten with its reader and its session, so
        that nobody can put an answer in front.
        """
        number = self._session.extended_request(sansldap.ExtendedOperations.LDAP_START_TLS.value)
        (answer,) = await self._ask(number)
        if not isinstance(answer, sansldap.ExtendedResponse):
            raise UnreachableError(f"{self.server.url} answers something else than was asked")
        self._expect_success(answer.result, "StartTLS")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            async with asyncio.timeout(self._timeout):
                transport = await loop.start_tls(
                    self._writer.transport, protocol, context, server_hostname=self.server.host
                )
        except (OSError, TimeoutError) as error:
            raise _unreachable(self.server, error) from error
        if transport is None:
            raise UnreachableError(f"{self.server.url} has gone")
        protocol.connection_made(transport)
        self._reader = reader
        self._plain = self._writer  # which would close the connection with its end
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._session = sansldap.LDAPClient()

    async def _ask(self, number: int) -> list[sansldap.LDAPMessage]:
        """Send what the session has to send, and return the answers to it, the last one last."""
        answers: list[sansldap.LDAPMessage] = []
        size = 0
        try:
            async with asyncio.timeout(self._timeout):
                self._writer.write(self._session.data_to_send())
                await self._writer.drain()
                while not answers or isinstance(answers[-1], _UNFINISHED):
                    piece = await self._reader.read(_PIECE)
                    size += len(piece)
                    if not piece or size > _LARGEST:
                        why = "says too much" if piece else "has gone"
                        raise UnreachableError(f"{self.server.url} {why}")
                    answers += [
                        one for one in self._session.receive(piece) if one.message_id == number
                    ]
        except (OSError, TimeoutError, sansldap.LDAPError, RecursionError) as error:
            raise _unreachable(self.server, error) from error
        return answers

    def _expect_success(self, result: sansldap.LDAPResult, what: str) -> None:
        code = result.result_code
        if code == Code.SUCCESS:
            return
        text = f"{self.server.url} refuses {what}: {code.name} {result.diagnostics_message}".strip()
        if code == Code.REFERRAL:
            where = " ".join(result.referrals or ())
            text = f"{text}; referrals are not followed, name that server in urls: {where}"
        raise UnreachableError(text) if code in _AWAY else LdapError(text)


_UNFINISHED: Final = (sansldap.SearchResultEntry, sansldap.SearchResultReference)


def _unreachable(server: Server, error: BaseException) -> UnreachableError:
    why = "no answer in time" if isinstance(error, TimeoutError) else str(error)
    return UnreachableError(f"{server.url} can't be reached: {why}")
