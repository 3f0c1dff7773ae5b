"""Answers of Active Directory, which nobody can have for a test: a small server that gives what it
is documented to give where it differs from others.

Messages are as it sends them, with lengths in four bytes. Refusals have its texts ([MS-ADTS],
winerror.h); values come in pieces (3.1.1.3.1.3.3), and the rule 1.2.840.113556.1.4.1941 finds
members of members (3.1.1.3.4.4.3). What comes in is read by sansldap.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import sansldap

IN_CHAIN: Final = "1.2.840.113556.1.4.1941"

SUCCESS, REFERRAL, NO_SUCH_OBJECT, INVALID_CREDENTIALS = 0, 10, 32, 49

Attributes = dict[str, list[str]]


def _tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, 0x84]) + len(content).to_bytes(4, "big") + content


def _text(value: str) -> bytes:
    return _tlv(0x04, value.encode())


def _result(tag: int, code: int, text: str, referrals: list[str]) -> bytes:
    """An LDAPResult (RFC 4511, 4.1.9) as the body of an operation."""
    where = [_tlv(0xA3, *(_text(one) for one in referrals))] if referrals else []
    return _tlv(tag, b"\x0a\x01" + bytes([code]), _text(""), _text(text), *where)


def _entry(dn: str, attributes: Attributes) -> bytes:
    listed = [
        _tlv(0x30, _text(name), _tlv(0x31, *(_text(value) for value in values)))
        for name, values in attributes.items()
    ]
    return _tlv(0x64, _text(dn), _tlv(0x30, *listed))


@dataclass
class Active:
    """A server that runs. Whoever binds has `password`, as long as nothing refuses them."""

    port: int
    password: str
    entries: dict[str, Attributes]
    refused: dict[str, str] = field(default_factory=dict)
    """Account -> the code that its refusal names."""
    pieces: int = 1500
    """How many values of an attribute come at once."""
    gap: int = 0
    """How many values are left out before each piece, which none does."""
    references: list[str] = field(default_factory=list)
    """Where other parts of the directory are, as every search of its root says."""
    elsewhere: str = ""
    """Where everything is; then this server has nothing."""
    binds: list[str] = field(default_factory=list)
    connections: int = 0
    """How many there were."""

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    def answers(self, message: sansldap.LDAPMessage) -> Iterator[bytes]:
        """The operations that answer one."""
        if isinstance(message, sansldap.BindRequest):
            yield self._bind(message)
        elif isinstance(message, sansldap.SearchRequest):
            if self.elsewhere:
                text = "0000202B: RefErr: DSID-0310084A, data 0, 1 access points"
                yield _result(0x65, REFERRAL, text, [self.elsewhere])
                return
            for dn, attributes in self.entries.items():
                if self._is_wanted(dn, attributes, message):
                    yield _entry(dn, self._shown(attributes, message.attributes))
            if message.scope is sansldap.SearchScope.SUBTREE:
                for reference in self.references:
                    yield _tlv(0x73, _text(reference))
            yield _result(0x65, SUCCESS, "", [])

    def _bind(self, message: sansldap.BindRequest) -> bytes:
        self.binds.append(message.name)
        given = message.authentication
        right = isinstance(given, sansldap.SimpleCredential) and given.password == self.password
        code = self.refused.get(message.name, "" if right else "52e")
        if not code:
            return _result(0x61, SUCCESS, "", [])
        text = (
            "80090308: LdapErr: DSID-0C090453, comment: AcceptSecurityContext error, "
            f"data {code}, v4563\0"
        )
        return _result(0x61, INVALID_CREDENTIALS, text, [])

    def _is_wanted(self, dn: str, entry: Attributes, message: sansldap.SearchRequest) -> bool:
        if message.scope is sansldap.SearchScope.BASE:
            return dn.lower() == message.base_object.lower()
        return dn.lower().endswith(message.base_object.lower()) and self._matches(
            entry, message.filter
        )

    def _matches(self, entry: Attributes, wanted: sansldap.LDAPFilter) -> bool:
        match wanted:
            case sansldap.FilterAnd():
                return all(self._matches(entry, each) for each in wanted.filters)
            case sansldap.FilterOr():
                return any(self._matches(entry, each) for each in wanted.filters)
            case sansldap.FilterEquality():
                values = [value.lower() for value in entry.get(wanted.attribute, [])]
                return wanted.value.decode().lower() in values
            case sansldap.FilterExtensibleMatch():
                assert wanted.rule == IN_CHAIN
                assert wanted.attribute == "member"
                return self._has_member(entry, wanted.value.decode(), seen=set())
        return isinstance(wanted, sansldap.FilterPresent)

    def _has_member(self, entry: Attributes, dn: str, *, seen: set[str]) -> bool:
        members = set(entry.get("member", [])) - seen
        seen |= members
        return dn in members or any(
            self._has_member(self.entries.get(member, {}), dn, seen=seen) for member in members
        )

    def _shown(self, entry: Attributes, asked: list[str]) -> Attributes:
        shown: dict[str, list[str]] = {}
        for text in asked:
            name, _, wanted = text.partition(";range=")
            known = next((each for each in entry if each.lower() == name.lower()), None)
            if known is None:
                continue
            values = entry[known]
            first = int(wanted.partition("-")[0] or 0) + self.gap
            last = first + self.pieces
            if not wanted and len(values) <= self.pieces:
                shown[known] = values
            else:
                end = "*" if last >= len(values) else str(last - 1)
                shown[known] = []  # which it gives, too
                shown[f"{known};range={first}-{end}"] = values[first:last]
        return shown


@contextmanager
def active(entries: dict[str, Attributes], *, password: str) -> Iterator[Active]:
    """A server on a free port of 127.0.0.1."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            server.connections += 1
            session = sansldap.LDAPServer()
            while data := self.request.recv(65536):
                for message in session.receive(data):
                    number = b"\x02\x01" + bytes([message.message_id])
                    for operation in server.answers(message):
                        self.request.sendall(_tlv(0x30, number, operation))
                    session = sansldap.LDAPServer()  # which was not told of the answers

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listener:
        server = Active(listener.server_address[1], password, entries)
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
