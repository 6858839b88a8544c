"""The ledgers of TCP and UDP: what connections and flows have moved, and which were not served, and why.

What lives here: `TcpLedger` and `UdpLedger`, one per entry point. What must not: what is shown (`observe/series.py`).
Called by the engines at the beginning and at the end of each conversation; what moves in between is added up every now
and then, so that one that lasts for days is seen.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from streamlb.observe.books import DURATIONS, UNTOLD
from streamlb.observe.records import UdpRecord

if TYPE_CHECKING:
    import asyncio

    from streamlb.balance.selection import Server
    from streamlb.observe.books import Books
    from streamlb.observe.cells import Block
    from streamlb.proxy.tcp_conversation import TcpConversation
    from streamlb.proxy.udp_flow import UdpFlow
    from streamlb.routing.router import Route
    from streamlb.runtime.snapshot import World

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at what open connections have moved."""
LOOKS_PER_TURN: Final = 500
"""Connections looked at before the loop's other work gets a turn."""

OPENED, ENDED, UP, DOWN, SECONDS, DATAGRAMS_UP, DATAGRAMS_DOWN, BUCKETS = range(8)
"""What a block of kind `tcp` or `udp` holds: conversations opened and ended, bytes from and to clients, seconds they
have lasted, datagrams from and to clients (UDP), and from there on how many lasted how long."""
SIZE: Final = BUCKETS + len(DURATIONS) + 1


class _RawLedger:
    """What TCP and UDP have in common."""

    __slots__ = ("__weakref__", "_blocks", "_books", "_kind", "_name", "_world", "access", "cells", "values")

    def __init__(self, books: Books, world: World, name: str, kind: str) -> None:
        # worker
        self._books = books
        self._world = world
        self._name = name
        self._kind = kind
        self.access = books.access
        self.cells = books.cells
        self.values = books.cells.values
        books.add(self)
        # snapshot
        self._blocks: dict[tuple[Route, Server], Block] = {}

    def renew(self) -> None:
        self._blocks = {}

    def _find(self, route: Route, server: Server) -> Block:
        """Where what moves between the clients of a router and a server is counted."""
        block = self._blocks.get((route, server))
        if block is None:
            if route.name in UNTOLD or (route.observed is not None and not route.observed.metrics):
                block = self.cells.nowhere(SIZE)
            else:
                labels = (self._name, route.name, route.service.name, server.service, server.name)
                block = self.cells.block(self._kind, labels, SIZE)
            self._blocks[route, server] = block
        return block

    def dropped(self, reason: str, route: Route | None = None, amount: int = 1) -> None:
        """A client was not served. reason: in one word, or words with hyphens."""
        name = route.name if route is not None else ""
        self.cells.count(f"{self._kind}_dropped", self._name, name, reason, amount=amount)

    def mirrored(self, mirror: str, outcome: str) -> None:
        """What became of a copy. outcome: `sent`, `failed` or `skipped`."""
        self.cells.count(f"{self._kind}_mirrored", self._name, mirror, outcome)


class TcpLedger(_RawLedger):
    """Of one entry point's TCP side. seen: open conversations, with the bytes that are counted already."""

    __slots__ = ("_connections", "_looks", "_loop", "_seen")

    def __init__(self, books: Books, world: World, name: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(books, world, name, "tcp")
        # worker
        self._loop = loop
        self._connections = self.cells.block("connections", (name, "TCP"), 2)
        self._seen: dict[TcpConversation, tuple[int, int]] = {}
        self._looks = False

    def opened(self) -> None:
        """A connection has come in."""
        self.values[self._connections.at] += 1.0

    def closed(self) -> None:
        self.values[self._connections.at + 1] += 1.0

    def reached(self, conversation: TcpConversation, route: Route, server: Server) -> Block:
        """A client and a server are connected with one another."""
        block = self._find(route, server)
        self.values[block.at] += 1.0
        self._seen[conversation] = (0, 0)
        if not self._looks:
            self._looks = True
            self._loop.call_later(LOOK_EVERY, self._look)
        return block

    def over(self, conversation: TcpConversation, block: Block, seconds: float) -> None:
        """A conversation that had reached a server has ended."""
        self._add(conversation, block)
        del self._seen[conversation]
        values, at = self.values, block.at
        values[at + ENDED] += 1.0
        values[at + SECONDS] += seconds
        values[at + BUCKETS + bisect_left(DURATIONS, seconds)] += 1.0

    def _add(self, conversation: TcpConversation, block: Block) -> None:
        """Count what was moved since the last time."""
        up, down = conversation.moved
        seen_up, seen_down = self._seen[conversation]
        if up != seen_up or down != seen_down:
            self.values[block.at + UP] += up - seen_up
            self.values[block.at + DOWN] += down - seen_down
            self._seen[conversation] = (up, down)

    def _look(self, rest: list[TcpConversation] | None = None) -> None:
        rest = list(self._seen) if rest is None else rest
        for conversation in itertools.islice(rest, LOOKS_PER_TURN):
            if conversation in self._seen and conversation.block is not None:
                self._add(conversation, conversation.block)
        if len(rest) > LOOKS_PER_TURN:
            self._loop.call_soon(self._look, rest[LOOKS_PER_TURN:])
        elif self._seen:
            self._loop.call_later(LOOK_EVERY, self._look)
        else:
            self._looks = False


class UdpLedger(_RawLedger):
    """Of one UDP entry point."""

    __slots__ = ("_connections",)

    def __init__(self, books: Books, world: World, name: str) -> None:
        super().__init__(books, world, name, "udp")
        self._connections = self.cells.block("connections", (name, "UDP"), 2)

    def led(self, flow: UdpFlow, route: Route, server: Server) -> None:
        """A flow goes to a server from now on."""
        self.left(flow)
        block = flow.block = self._find(route, server)
        self.values[block.at + OPENED] += 1.0

    def left(self, flow: UdpFlow) -> None:
        """A flow goes to its server no more."""
        block, flow.block = flow.block, None
        if block is not None:
            self.add(flow, block)
            self.values[block.at + ENDED] += 1.0

    def add(self, flow: UdpFlow, block: Block) -> None:
        """Count what was moved since the last time."""
        values, at = self.values, block.at
        values[at + UP] += flow.bytes_up - flow.seen[0]
        values[at + DOWN] += flow.bytes_down - flow.seen[1]
        values[at + DATAGRAMS_UP] += flow.datagrams_up - flow.seen[2]
        values[at + DATAGRAMS_DOWN] += flow.datagrams_down - flow.seen[3]
        flow.seen = (flow.bytes_up, flow.bytes_down, flow.datagrams_up, flow.datagrams_down)

    def look(self, flow: UdpFlow) -> None:
        """A flow goes on."""
        if flow.block is not None:
            self.add(flow, flow.block)

    def opened(self) -> None:
        """A flow was admitted."""
        self.values[self._connections.at] += 1.0

    def over(self, flow: UdpFlow, route: Route | None, end: str, reason: str = "", ago: float = 0.0) -> None:
        """A flow has ended. ago: seconds since its last datagram."""
        seconds = flow.last_seen_at - flow.opened_at
        block = flow.block
        if block is not None:
            self.values[block.at + SECONDS] += seconds
            self.values[block.at + BUCKETS + bisect_left(DURATIONS, seconds)] += 1.0
        self.left(flow)
        self.values[self._connections.at + 1] += 1.0
        if self.access.on:
            self.access.udp(self._record(flow, route, end, reason, seconds, ago))

    def _record(
        self, flow: UdpFlow, route: Route | None, end: str, reason: str, seconds: float, ago: float
    ) -> UdpRecord:
        host, port = flow.source
        return UdpRecord(
            self._name,
            host,
            port,
            route=route,
            server=flow.server,
            duration=seconds,
            ago=ago,
            datagrams_in=flow.datagrams_up,
            datagrams_out=flow.datagrams_down,
            bytes_in=flow.bytes_up,
            bytes_out=flow.bytes_down,
            end=end,
            reason=reason,
            mirrors=tuple(mirror.name for mirror in flow.mirrors),
        )
