"""UDP entry points: datagrams in, a flow per client, answers out.

What lives here: `UdpEntry`, all flows of one UDP socket. What must not: who is picked (`balance`), when a flow is over
(`session/flows.py`), socket options (`net/datagram.py`). Called by `process/worker.py`.
Specified by Traefik's UDP pages: one pick per flow, idle end after `udp.timeout`; docs/architecture.md.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from streamlb.net.address import client_group
from streamlb.net.datagram import ABSENT, MAX_DATAGRAM, is_half_full, open_door, overruns
from streamlb.net.poller import READABLE, poller_of
from streamlb.observe import records
from streamlb.observe.books import Books
from streamlb.proxy.raw_ledger import UdpLedger
from streamlb.proxy.udp_flow import UdpFlow, socket_address
from streamlb.proxy.udp_upstream import UdpUpstream
from streamlb.session.flows import FlowTable

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Hashable

    from streamlb.config.static import UdpOptions
    from streamlb.proxy.live import Live
    from streamlb.runtime.snapshot import World

MAX_DATAGRAMS_PER_WAKE = 64
"""Client datagrams taken before the loop's other work gets a turn."""
MAX_ANSWERS_PER_TURN = 8
"""Answers of one server taken at once when turns are rare: its socket holds but some hundred small ones."""
MAX_VISITS_PER_CHECK = 1024
"""Flows looked at by one run of the timer; the rest follow at once, after other work."""
TIMER_SLACK = 0.001
"""Seconds; loops round timers to milliseconds and must not fire before the tick."""


class UdpEntry:
    """All flows of one UDP socket; starts at once. It owns the socket and closes it when it ends.

    counters: what became of the datagrams.
    """

    __slots__ = (
        "_door",
        "_draining",
        "_is_left",
        "_is_over",
        "_is_pressed",
        "_ledger",
        "_live",
        "_loop",
        "_mirrors",
        "_name",
        "_options",
        "_overruns",
        "_poller",
        "_serial",
        "_table",
        "_timer",
        "_upstream",
        "_world",
        "counters",
        "sock",
    )

    def __init__(
        self,
        world: World,
        name: str,
        loop: asyncio.AbstractEventLoop,
        live: Live,
        sock: socket.socket,
        books: Books | None = None,
    ) -> None:
        # process
        self._world = world
        self._name = name
        self._loop = loop
        self._live = live
        self.sock = sock
        sock.setblocking(False)
        self._door = open_door(sock)
        # snapshot
        options = self._options = world.runtime.entry_points[name].options.udp
        # conversations
        self._table: FlowTable[UdpFlow] = FlowTable(options.timeout, options.max_flows, _per_client(options))
        self._serial = itertools.count()
        self._overruns = overruns(sock)
        self._ledger = UdpLedger(books or Books(), world, name)
        upstream = self._upstream = UdpUpstream(world, name, loop, self._table, self._on_answer, self._ledger)
        self._mirrors = upstream.mirrors
        self.counters = upstream.counters
        self._timer: asyncio.TimerHandle | None = None
        self._draining = self._is_left = self._is_over = False
        self._is_pressed = False
        self._poller = poller_of(loop)
        self._poller.add(sock.fileno(), READABLE, self._on_clients)
        live.add(self)

    def __len__(self) -> int:
        """Flows now open."""
        return len(self._table)

    # --- a conversation, in the eyes of `Live` ---

    def drain(self) -> None:
        """Open no more flows; end once those there are have gone quiet."""
        self._draining = True
        self._end_if_drained()

    def abort(self) -> None:
        """Close every flow and end."""
        self._draining = True
        for flow in list(self._table.flows.values()):
            self._end(flow, records.CUT)
        self._end_if_drained()

    def stop_reading(self) -> None:
        """Leave what clients send to somebody else on the same socket; the answers of our flows still leave by it."""
        if not (self._is_left or self._is_over):
            self._is_left = True
            self._poller.remove(self.sock.fileno())

    def _end_if_drained(self) -> None:
        if not self._draining or self._table.flows or self._is_over:
            return
        self.stop_reading()
        self._is_over = True
        self._stop_timer()
        self.sock.close()
        self._live.discard(self)

    def leave_down(self) -> None:
        """A server has gone down: no flow stays with it, if another can serve it."""
        self._upstream.leave_down()

    # --- datagrams ---

    def _on_clients(self, _: int) -> None:
        now = self._loop.time()
        receive, flows = self._door.receive, self._table.flows
        for _ in range(MAX_DATAGRAMS_PER_WAKE):
            try:
                datagram, key = receive()
            except BlockingIOError:
                self._is_pressed = False
                return
            except OSError:
                # An error queued for an answer of ours, not a datagram.
                continue
            flow = flows.get(key)
            if flow is None:
                self._open(key, datagram, now)
                continue
            flow.last_seen_at = now
            flow.datagrams_up += 1
            flow.bytes_up += len(datagram)
            try:
                flow.send(datagram)
            except BlockingIOError:
                self._upstream.on_busy()
            except OSError as error:
                self._upstream.on_send_error(flow, datagram, error)
            if flow.mirrors:
                self._mirrors.feed(flow.mirrors, datagram)
        # To open a flow takes ten times as long as to pass a datagram on.
        self._is_pressed = is_half_full(self.sock)

    def _on_answer(self, flow: UdpFlow, events: int) -> bool:
        """A flow's server has said something: pass it on; whether there may be more. events: 0 for the next one."""
        try:
            datagram = flow.receive(MAX_DATAGRAM)
        except BlockingIOError:
            return False
        except OSError as error:
            self._on_receive_error(flow, error)
            return False
        flow.last_seen_at = self._loop.time()
        flow.datagrams_down += 1
        flow.bytes_down += len(datagram)
        try:
            self._door.answer(datagram, flow.peer)
        except BlockingIOError:
            self._upstream.on_busy()
        except OSError as error:
            # The client is gone, or cannot be answered (port 0, a firewall); its flow ends by its timeout.
            self._upstream.on_failed(error)
        if flow.is_once:
            self._end(flow, records.ANSWERED)
            return False
        if self._is_pressed and events:
            self._pass_more(flow)
        return True

    def _pass_more(self, flow: UdpFlow) -> None:
        """Turns are rare. (Else it is one a turn: to ask for a second that is not there costs more than a turn.)"""
        for _ in range(MAX_ANSWERS_PER_TURN - 1):
            if not self._on_answer(flow, 0):
                return

    def _on_receive_error(self, flow: UdpFlow, error: OSError) -> None:
        if error.errno in ABSENT:
            self._upstream.on_refused(flow)
            if flow.is_once and flow.server is None:
                self._end(flow, records.REFUSED, records.UNREACHABLE)

    # --- flows ---

    def _open(self, peer: Any, datagram: bytes, now: float) -> None:
        """A datagram that belongs to no flow."""
        if self._draining:
            self.counters.draining += 1
            return
        if self._is_pressed:
            self.counters.pressed += 1
            self._upstream.complain("UDP datagrams of new clients dropped: they come faster than flows can be opened")
            return
        self._read_limits(now)
        table, host = self._table, socket_address(peer)[0]
        client = client_group(host)
        leaving = None
        if not table.has_room(client):
            leaving = table.yielding(client, now)
            if leaving is None:
                self._turn_away(client, host)
                return
        is_once = self._options.mode == "datagram"
        flow = UdpFlow(next(self._serial) if is_once else peer, peer, client, is_once=is_once)
        if not self._upstream.begin(flow, now):
            return
        if leaving is not None:
            self._evict(leaving)
        self.counters.flows += 1
        self._ledger.opened()
        flow.datagrams_up = 1
        flow.bytes_up = len(datagram)
        table.admit(flow, now)
        if self._timer is None:
            self._set_timer(now)
        self._upstream.send_first(flow, datagram)
        if flow.want.mirrors:
            flow.mirrors = self._mirrors.open(flow.want.mirrors, now, flow.want.request)
            self._mirrors.feed(flow.mirrors, datagram)

    def _turn_away(self, client: Hashable, host: str) -> None:
        """There is no room for a new flow of `client`."""
        if self._table.is_crowded(client):
            self.counters.crowded += 1
            self._upstream.complain(
                "UDP datagrams dropped: a client has %d flows, as many as one may have (udp.maxFlowsPerClient)",
                self._table.max_per_client,
                example=host,
            )
        else:
            self.counters.full += 1
            self._upstream.complain(
                "UDP datagrams of new clients dropped: the limit of %d flows is reached (udp.maxFlows)",
                self._table.max_flows,
            )

    def _evict(self, flow: UdpFlow) -> None:
        self.counters.evicted += 1
        self._upstream.complain("UDP flows without answers give way to new ones: there are as many as there may be")
        self._end(flow, records.EVICTED)

    def _end(self, flow: UdpFlow, end: str, reason: str = "") -> None:
        self._table.remove(flow)
        self._close(flow, end, reason)
        if self._draining:
            self._end_if_drained()

    def _close(self, flow: UdpFlow, end: str, reason: str = "") -> None:
        """Close what a flow that has left the table holds."""
        self._ledger.over(flow, flow.route, end, reason, self._loop.time() - flow.last_seen_at)
        self._upstream.release(flow)
        if flow.mirrors:
            self._mirrors.close(flow.mirrors)

    def _read_limits(self, now: float) -> None:
        """Take over the limits of the present world if they are new."""
        table = self._world.runtime.entry_points.get(self._name)
        if table is not None and table.options.udp is not self._options:
            self._options = options = table.options.udp
            self._table.set_limits(options.timeout, options.max_flows, _per_client(options))
            self._mirrors.max_mirrors = options.max_flows
            self._stop_timer()
            self._set_timer(now)

    # --- time ---

    def _set_timer(self, now: float) -> None:
        if self._timer is None and (next_at := self._table.next_at) is not None:
            self._timer = self._loop.call_at(max(next_at, now) + TIMER_SLACK, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        # What arrived in time counts, even if the loop was late to look.
        self._poller.look()
        if self._is_over:
            return
        now = self._loop.time()
        for flow in self._table.expire(now, MAX_VISITS_PER_CHECK, self._ledger.look):
            self._close(flow, records.IDLE)
        self._count_overruns()
        self._set_timer(now)
        self._end_if_drained()

    def _count_overruns(self) -> None:
        before, self._overruns = self._overruns, overruns(self.sock)
        if self._overruns != before:
            self.counters.overrun += (self._overruns - before) % 2**32
            self._upstream.complain("UDP datagrams lost: they came faster than they could be read (net.core.rmem_max)")


def _per_client(options: UdpOptions) -> int:
    """Flows of one client; the option's 0 is more than there can be."""
    return options.max_flows_per_client or options.max_flows + 1
