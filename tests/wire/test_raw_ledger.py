"""What TCP connections and UDP flows move is counted, while they last and when they end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest import mock

from streamlb.balance.selection import Server
from streamlb.observe.books import Books
from streamlb.observe.cells import Cells
from streamlb.proxy import raw_ledger
from streamlb.proxy.raw_ledger import DOWN, ENDED, OPENED, UP, TcpLedger
from streamlb.routing.router import Route, Router
from tests.support.loops import on_both_loops
from tests.support.until import until_async

if TYPE_CHECKING:
    from typing import Any


class Talk:
    """As much of a conversation as a ledger sees."""

    def __init__(self) -> None:
        self.moved = (0, 0)
        self.block: Any = None


@on_both_loops
async def test_bytes_are_counted_while_a_connection_lasts() -> None:
    server = Server("a:1", "a", 1, service="s")
    route = Route(Router("r", "HostSNI(`*`)", server))
    route.service = mock.Mock()
    route.service.name = "s"
    cells = Cells()
    with mock.patch.object(raw_ledger, "LOOK_EVERY", 0.01):
        ledger = TcpLedger(Books(cells), mock.Mock(), "raw", asyncio.get_running_loop())
        talks: list[Any] = [Talk() for _ in range(raw_ledger.LOOKS_PER_TURN + 10)]
        for talk in talks:
            talk.block = ledger.reached(talk, route, server)
            talk.moved = (3, 5)
        at = talks[0].block.at
        many = float(len(talks))
        await until_async(lambda: cells.values[at + UP] == 3 * many and cells.values[at + DOWN] == 5 * many)
        assert (cells.values[at + OPENED], cells.values[at + ENDED]) == (many, 0.0)
        for talk in talks:
            talk.moved = (4, 5)
            ledger.over(talk, talk.block, 2.0)
        assert cells.values[at + UP] == 4 * many
        assert cells.values[at + ENDED] == many
        assert cells.values[at + raw_ledger.SECONDS] == 2.0 * many
        # With nobody left there is nothing to look at.
        await until_async(lambda: not ledger._looks)


@on_both_loops
async def test_reasons_are_counted_by_router() -> None:
    cells = Cells()
    ledger = TcpLedger(Books(cells), mock.Mock(), "raw", asyncio.get_running_loop())
    ledger.dropped("silent")
    ledger.dropped("no-server", Route(Router("r", "HostSNI(`*`)", None)), amount=2)
    read = {block.meaning.labels: cells.values[block.at] for block in cells._blocks.values()}
    assert read["tcp_dropped", "raw", "", "silent"] == 1.0
    assert read["tcp_dropped", "raw", "r", "no-server"] == 2.0
