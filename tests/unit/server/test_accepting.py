"""Connections of one socket, spread over those who take them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest
import uvloop

from entrepot.server.accepting import Acceptor, Share, make_shares
from tests.unit.server.sites import until


class Site:
    """A socket that listens, the workers that take its connections, and their clients."""

    def __init__(self, cleaning: ExitStack) -> None:
        self.listener = cleaning.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.listener.setblocking(False)
        self._cleaning = cleaning

    def worker(self, share: Share, *, most: int = 1000) -> tuple[Acceptor, list[socket.socket]]:
        """Somebody who takes connections from now on, and those it took."""
        taken: list[socket.socket] = []
        acceptor = Acceptor(
            self._cleaning.enter_context(self.listener.dup()),
            share=share,
            most=most,
            held=lambda: len(taken),
            take=lambda one: taken.append(self._cleaning.enter_context(one)),
        )
        acceptor.go_on()
        self._cleaning.callback(acceptor.stop)
        return acceptor, taken

    def connect(self, count: int) -> None:
        for _ in range(count):
            client = socket.create_connection(self.listener.getsockname(), timeout=10)
            self._cleaning.enter_context(client)


def with_socket(scenario: Callable[[Site], Awaitable[None]]) -> None:
    async def run() -> None:
        with ExitStack() as cleaning:
            await scenario(Site(cleaning))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_connections_that_come_at_once_are_spread_evenly(workers: int) -> None:
    async def scenario(site: Site) -> None:
        held = [site.worker(share)[1] for share in make_shares(workers)]
        site.connect(2 * workers)
        await until(lambda: sum(map(len, held)) == 2 * workers)
        assert [len(one) for one in held] == [2] * workers

    with_socket(scenario)


def test_who_lost_connections_gets_the_next() -> None:
    async def scenario(site: Site) -> None:
        (first, one), (_, other) = (site.worker(share) for share in make_shares(2))
        site.connect(8)
        await until(lambda: len(one) == len(other) == 4)
        del one[1:]
        first.go_on()
        site.connect(3)
        await until(lambda: len(one) == len(other) == 4)

    with_socket(scenario)


def test_what_a_worker_that_holds_less_does_not_take_is_taken_by_another() -> None:
    """Its process may be stopped, or busy for long: the socket reads like that of a living one."""

    async def scenario(site: Site) -> None:
        ours, stopped = make_shares(2)
        stopped.tell(0)
        _, taken = site.worker(ours)
        site.connect(100)
        await until(lambda: len(taken) == 100)

    with_socket(scenario)


def test_who_is_full_leaves_connections_to_the_others() -> None:
    async def scenario(site: Site) -> None:
        shares = make_shares(2)
        _, small = site.worker(shares[0], most=3)
        _, large = site.worker(shares[1])
        site.connect(20)
        await until(lambda: len(small) + len(large) == 20)
        assert len(small) == 3

    with_socket(scenario)


def test_who_has_stopped_takes_none() -> None:
    async def scenario(site: Site) -> None:
        shares = make_shares(2)
        leaver, left = site.worker(shares[0])
        _, taken = site.worker(shares[1])
        leaver.stop()
        leaver.go_on()
        site.connect(4)
        await until(lambda: len(taken) == 4)
        assert not left

    with_socket(scenario)


def test_nothing_is_left_to_a_place_where_nobody_is() -> None:
    ours, other = make_shares(2)
    ours.tell(5)
    assert ours.less() is None, "nobody was there yet"
    other.tell(0)
    assert ours.less() == 0
    other.forget()
    assert ours.less() is None


@pytest.mark.parametrize(
    "ours, theirs, more",
    [(0, 0, False), (1, 0, True), (8, 7, True), (9, 8, False), (11, 9, True), (110, 100, False)],
)
def test_among_many_connections_one_more_is_no_difference(
    ours: int, theirs: int, *, more: bool
) -> None:
    one, other = make_shares(2)
    one.tell(ours)
    other.tell(theirs)
    assert one.less() == (theirs if more else None)
    assert other.less() is None
