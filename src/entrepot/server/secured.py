"""TLS between a socket and what speaks HTTP/1.1 on it, by OpenSSL with its bytes in memory.

asyncio's own layer ends a failed handshake without the alert that tells a client why its
certificate was refused, and doesn't tell us whose failed. So records are moved here.

    handshake   10 s at most; what fails is logged, and a certificate that was refused is told of
    refused     the alert has been sent, or an answer to who spoke HTTP without TLS; what still
                comes is dropped for 5 s, so that the client can read it
    speaking    HTTP has a transport, whose extra `tls` is ASGI's extension of that name
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import structlog

from entrepot.server.certificates import plain_reason

HANDSHAKE: Final = 10.0
"""Seconds that a handshake may take, whoever waits for whom."""

LINGER: Final = 5.0
"""Seconds for which what a refused client still sends is read and dropped, so that it can read the
answer: the kernel would take that back if it got more data for a closed socket."""

_RECORD: Final = 16_384
_PIECE: Final = 65_536
"""Bytes that are encrypted at a time: OpenSSL keeps a buffer of this size for each connection."""

_HTTP: Final = re.compile(rb"[A-Z]{3,8} /")
_SPOKE_HTTP: Final = b"This port speaks TLS: use https://\n"
_TO_HTTP: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_SPOKE_HTTP), _SPOKE_HTTP)
)
_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

Told = Callable[[str, str], None]
"""Is given a client's address and why its certificate was refused."""

_log = structlog.get_logger("entrepot.server")


class Handshakes:
    """The connections of a server on which HTTP isn't spoken yet; without `context` there are none.

    `told` is called for certificates that were refused, `ended` when there is one connection less.
    """

    def __init__(
        self, context: ssl.SSLContext | None, *, told: Told, ended: Callable[[], None]
    ) -> None:
        self.context = context
        self.told = told
        self.ended = ended
        self.now = asyncio.get_running_loop().time
        self.running: set[Secured] = set()
        self.over = False

    def __len__(self) -> int:
        return len(self.running)

    def secure(self, inner: asyncio.Protocol) -> asyncio.Protocol:
        """Return what is to be told of a connection on which `inner` speaks."""
        return inner if self.context is None else Secured(self, self.context, inner)

    def look(self, now: float) -> None:
        """Cut those that have taken too long."""
        for secured in list(self.running):
            secured.look(now)

    def abort(self) -> None:
        """Cut all of them: nothing was asked yet. Those that begin from now on are cut as well."""
        self.over = True
        for secured in list(self.running):
            secured.abort()


class Secured(asyncio.Protocol, asyncio.Transport):
    """One connection: a protocol to the socket, and the transport of `inner`."""

    def __init__(
        self, handshakes: Handshakes, context: ssl.SSLContext, inner: asyncio.Protocol
    ) -> None:
        self._handshakes = handshakes
        self._inner = inner
        self._transport: asyncio.Transport
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._extension: dict[str, Any] = {}
        self._heard = self._speaking = self._refused = False
        self._said_all = self._heard_all = self._stays = False
        self._since = handshakes.now()

    # What the socket tells ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._handshakes.over:
            self._transport.abort()
        self._handshakes.running.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._speaking:
            self._inner.connection_lost(exc)
        else:
            self._end_handshake()

    def data_received(self, data: bytes) -> None:
        if self._refused or self._said_all:
            return
        if not self._heard:
            self._heard = True
            if _HTTP.match(data):
                self._refuse("the client speaks HTTP without TLS", answer=_TO_HTTP)
                return
        self._incoming.write(data)
        if self._speaking or self._shake_hands():
            self._read()

    def eof_received(self) -> bool:
        if self._speaking:
            return self._hear_all()
        if self._heard and not self._refused:  # else it only looked whether somebody listens
            self._log_failure("the client went away")
        return False

    def pause_writing(self) -> None:
        if self._speaking:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._speaking:
            self._inner.resume_writing()

    # The handshake ------------------------------------------------------------------------------

    def _shake_hands(self) -> bool:
        """Go on with the handshake; return whether that is done."""
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._refuse(plain_reason(error), answer=self._outgoing.read())
            if isinstance(error, ssl.SSLCertVerificationError):
                self._handshakes.told(self._address(), plain_reason(error))
            return False
        self._flush()
        self._extension = _extension(self._session)
        self._speaking = True
        self._inner.connection_made(self)
        self._end_handshake()
        return True

    def _end_handshake(self) -> None:
        self._handshakes.running.discard(self)
        self._handshakes.ended()

    def _refuse(self, reason: str, *, answer: bytes) -> None:
        self._log_failure(reason)
        self._refused = True
        self._since = self._handshakes.now()
        if not self._transport.is_closing():
            self._transport.write(answer)
            self._transport.write_eof()

    def _log_failure(self, reason: str) -> None:
        _log.info("a TLS handshake failed", reason=reason, **{"client.ip": self._address()})

    def _address(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]).removeprefix("::ffff:") if isinstance(peer, tuple) else ""

    def look(self, now: float) -> None:
        """Cut the connection if the handshake, or the time after one that failed, is too long."""
        if now - self._since <= (LINGER if self._refused else HANDSHAKE):
            return
        if not self._refused:
            self._log_failure(f"it took more than {HANDSHAKE:g} s")
        self.abort()

    # Reading ------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Hand on all that can be decrypted: a socket's buffer at most, so whoever pauses the
        reading gets no more than without TLS.
        """
        pieces = []
        ended = broken = False
        try:
            while piece := self._session.read(_RECORD):
                pieces.append(piece)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            broken = True
        self._flush()
        if pieces and not self._said_all:
            self._inner.data_received(b"".join(pieces))
        if broken:
            self.abort()
        elif ended and not self._hear_all():
            self.close()

    def _hear_all(self) -> bool:
        """The client sends no more, by TLS or by TCP; return whether it still gets an answer."""
        if not self._heard_all:
            self._heard_all = True
            self._stays = bool(self._inner.eof_received())
        return self._stays

    # The transport of what speaks HTTP ----------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection; `tls` is ASGI's extension."""
        return self._extension if name == "tls" else self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._said_all:
            return
        pieces = []
        with memoryview(data) as whole:
            try:
                for start in range(0, len(whole), _PIECE):
                    self._session.write(whole[start : start + _PIECE])
                    pieces.append(self._outgoing.read())
            except ssl.SSLError:
                self.abort()
                return
        self._transport.writelines(pieces)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Say that this is all, by TLS and by TCP."""
        self._say_all()
        self._transport.write_eof()

    def close(self) -> None:
        """Say that this is all, and close once it has been sent."""
        self._say_all()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def _say_all(self) -> None:
        if self._speaking and not self._said_all:
            self._said_all = True
            with suppress(ssl.SSLError):  # the client's word that it heard is not waited for
                self._session.unwrap()
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())


def _extension(session: ssl.SSLObject) -> dict[str, Any]:
    """Return what ASGI's extension `tls` says of a connection. Of a verified chain it has the
    client's own certificate alone.
    """
    shown = session.getpeercert(binary_form=True)
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(shown)] if shown else [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(session.version() or ""),
        "cipher_suite": None,
    }
