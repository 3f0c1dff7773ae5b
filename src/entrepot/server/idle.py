"""Closing connections on which nothing happens.

hyper closes HTTP/1 connections that stay idle, and those on which the head of a request doesn't
come to its end. It does neither while it waits for the first bytes of a connection that may become
HTTP/2 (every one over TLS), nor for HTTP/2 connections without streams. The kernel knows when data
last went either way, so those are found by asking it now and then: requests pay nothing for it.
"""

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from typing import Any

_LAST_SENT_RECEIVED = struct.Struct("=I4xI")
_LAST_SENT_OFFSET = 44
"""Where struct tcp_info has tcpi_last_data_sent; tcpi_last_data_recv is the next but one."""

_ESTABLISHED = 1

Peer = tuple[str, str]
"""Host and port of a client, as granian gives them to the application."""


async def close_idle(listener: int, *, seconds: float) -> None:
    """For ever: close connections to a listening socket's port on which no data has gone either way
    for `seconds`, and for which no request is running.
    """
    with _borrowed(listener) as listening:
        if listening.family == socket.AF_UNIX or not seconds:
            return
        port = listening.getsockname()[1]
    while True:
        await asyncio.sleep(seconds / 4)
        for descriptor, peer in await asyncio.to_thread(_silent, port, seconds=seconds):
            if peer not in _busy():
                with contextlib.suppress(OSError), _borrowed(descriptor) as connection:
                    if _peer(connection) == peer:
                        connection.shutdown(socket.SHUT_RDWR)


def running_requests() -> list[asyncio.Task[Any]]:
    """The tasks of requests that are still being answered on the running loop."""
    return [
        task
        for task in asyncio.all_tasks()
        if getattr(task.get_coro(), "__name__", "") == "future_watcher"
    ]


def _busy() -> set[Peer]:
    """The clients of running requests, from the local variables of granian's coroutines."""
    found = set()
    for task in running_requests():
        frame = getattr(task.get_coro(), "cr_frame", None)
        watcher = frame.f_locals.get("watcher") if frame is not None else None
        if watcher is not None:
            found.add(tuple(watcher.scope["client"]))
    return found


def _silent(port: int, *, seconds: float) -> list[tuple[int, Peer]]:
    """Descriptor and client of each connection to a local port that is silent for so long."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with _borrowed(int(name)) as one:
                ours = one.family != socket.AF_UNIX and one.getsockname()[1] == port
                if ours and _silent_for(one) > seconds:
                    found.append((int(name), _peer(one)))
    return found


@contextlib.contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    """A socket of somebody else, to ask it something; its descriptor stays open."""
    borrowed = socket.socket(fileno=os.dup(descriptor))
    try:
        yield borrowed
    finally:
        borrowed.close()


def _silent_for(connection: socket.socket) -> float:
    """Seconds since data last went either way; 0 for what is no established connection."""
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
    if told[0] != _ESTABLISHED:
        return 0.0
    sent, received = _LAST_SENT_RECEIVED.unpack_from(told, _LAST_SENT_OFFSET)
    return float(min(sent, received)) / 1000


def _peer(connection: socket.socket) -> Peer:
    host, port = connection.getpeername()[:2]
    return host, str(port)
