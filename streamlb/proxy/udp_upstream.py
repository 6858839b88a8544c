"""The server's side of UDP flows: picking, connecting, and moving on when a server is not there.

What lives here: `UdpUpstream`, which leads the flows of one entry point to servers. What must not: the clients' socket
and the life of flows (`udp.py`), copies (`udp_mirror.py`). Called by `proxy/udp.py`.
Specified by docs/architecture.md ("UDP datagram"): one pick per flow, a new one after "port unreachable".
"""

from __future__ import annotations

import errno
import functools
import logging
from typing import TYPE_CHECKING

from streamlb.balance.failover import fall_back
from streamlb.balance.selection import Server
from streamlb.net.datagram import ABSENT, connect, overruns
from streamlb.net.poller import READABLE, poller_of
from streamlb.observe.throttle import Throttle, often
from streamlb.proxy.udp_flow import HoldingRoom, UdpCounters, destination_of
from streamlb.proxy.udp_mirror import UdpMirrors
from streamlb.session.flows import Stage

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from streamlb.balance.selection import Selection
    from streamlb.net.datagram import Place
    from streamlb.proxy.raw_ledger import UdpLedger
    from streamlb.proxy.udp_flow import UdpFlow
    from streamlb.runtime.snapshot import World
    from streamlb.session.flows import FlowTable

log = logging.getLogger(__name__)

MAX_PICKS = 3
"""Servers tried for one datagram."""
MAX_RESENDS = 2
"""Times a flow's first datagram goes to another server because the one before was not there."""
MAX_FIRST_SIZE = 2048
"""Bytes; a larger first datagram is not kept for another try."""
LOG_INTERVAL = 10.0
"""Seconds between two lines about the same trouble."""
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE})
NOBODY = Server("nobody", "", 0)


class UdpUpstream:
    """Leads the flows of one entry point to servers.

    on_answer: called with a flow when its server has said something, or turns out not to be there.
    """

    __slots__ = (
        "_loop",
        "_name",
        "_on_answer",
        "_poller",
        "_room",
        "_table",
        "_throttle",
        "_world",
        "counters",
        "ledger",
        "mirrors",
    )

    def __init__(
        self,
        world: World,
        name: str,
        loop: asyncio.AbstractEventLoop,
        table: FlowTable[UdpFlow],
        on_answer: Callable[[UdpFlow, int], object],
        ledger: UdpLedger,
    ) -> None:
        # process
        self._world = world
        self._name = name
        self._loop = loop
        self._poller = poller_of(loop)
        self._table = table
        self._on_answer = on_answer
        self._room = HoldingRoom()
        self._throttle = Throttle(LOG_INTERVAL)
        self.ledger = ledger
        self.counters = UdpCounters(ledger.cells, name)
        self.mirrors = UdpMirrors(loop, self._room, table.max_flows, ledger.mirrored)

    def complain(self, trouble: str, *details: object, example: str = "") -> None:
        """Log a line about what clients can cause at will, at a bounded rate. example: whom it happened to now."""
        count = self._throttle.admit((trouble, *details), self._loop.time())
        if count:
            such = f", for example {example}" if example else ""
            log.warning("entry point %s: %s%s%s", self._name, trouble % details, such, often(count))

    def begin(self, flow: UdpFlow, now: float) -> bool:
        """Pick a server and lead the flow there, passing over those known not to be there; whether one was found."""
        server = self._pick(flow.want)
        for attempt in range(1, MAX_PICKS + 1):
            if server is None:
                break
            try:
                if self._lead(flow, server, now):
                    return True
            except OSError as error:
                if error.errno not in ABSENT:
                    self._on_shortage(error)
                    return False
            # The last try is the fallback's, if there is one.
            found = fall_back(flow.want) if attempt == MAX_PICKS - 1 else None
            flow.want.retry(server)
            server = found[1] if found is not None else self._pick(flow.want)
        if flow.want.queue is not None:
            self.counters.occupied += 1
            self.complain("UDP datagrams dropped: the servers have as many flows as they may (maxConnections)")
        else:
            self.counters.unserved += 1
            self.complain("no server to send UDP datagrams to")
        return False

    def _on_shortage(self, error: OSError) -> None:
        self.counters.short += 1
        self.complain("cannot open a socket for a UDP flow: %s", error.strerror)

    def _pick(self, want: Selection) -> Server | None:
        table = self._world.runtime.entry_points.get(self._name)
        if table is None or table.udp is None:
            return None
        if want.retried or want.fallbacks or want.queue is not None:
            want.begin_again()
            want.again()
        server = table.udp.pick(want)
        if server is None and want.avoid:
            # Everybody has refused before: perhaps one is back. It stays the same flow, which mirrors count once.
            want.avoid = (NOBODY,)
            want.again()
            server = table.udp.pick(want)
        return server

    def _lead(self, flow: UdpFlow, server: Server, now: float) -> bool:
        """Connect the flow to `server` or have it wait for the server's name. False: the name does not resolve."""
        destination = destination_of(server, self._loop)
        destination.refresh(now)
        if destination.place is not None:
            self._connect(flow, destination.place)
        elif destination.is_asking:
            flow.held = []
            flow.send = functools.partial(self._hold, flow)
            destination.wait(flow, functools.partial(self._on_found, flow))
        else:
            return False
        flow.server = server
        flow.destination = destination
        table = self._world.runtime.entry_points.get(self._name)
        flow.route = table.udp_route if table is not None else None
        if flow.route is not None:
            self.ledger.led(flow, flow.route, server)
        server.state.active += 1
        server.state.total += 1
        return True

    def _connect(self, flow: UdpFlow, place: Place) -> None:
        try:
            sock = connect(place)
        except OSError as error:
            if error.errno not in SHORTAGES or not self.mirrors.shed():
                raise
            # Clients come before mirrors.
            sock = connect(place)
        try:
            self._poller.add(sock.fileno(), READABLE, functools.partial(self._on_answer, flow))
        except OSError:
            sock.close()
            raise
        flow.sock = sock
        flow.place = place
        flow.send = sock.send
        flow.receive = sock.recv
        if flow.stage is Stage.FRESH and not flow.is_once:
            flow.receive = functools.partial(self._receive_first, flow, sock)

    def leave(self, flow: UdpFlow) -> None:
        """Let go of the flow's server; the client's next datagram picks anew."""
        self.release(flow)
        flow.send = functools.partial(self._restart, flow)

    def release(self, flow: UdpFlow) -> None:
        """Let go of the flow's server, if it has one."""
        server, flow.server = flow.server, None
        # It may hold the flow: without this only the garbage collector could free it.
        flow.send = nowhere
        if server is None or flow.destination is None:
            return
        self.ledger.left(flow)
        server.leave()
        if flow.held is not None:
            flow.destination.forget(flow)
            self._room.release(flow.held)
            flow.held = None
        sock, flow.sock = flow.sock, None
        if sock is not None:
            flow.receive = nothing
            if not flow.is_once:
                self._count_overruns(sock)
            self._poller.forget(sock.fileno())
            sock.close()

    def _count_overruns(self, sock: socket.SocketType) -> None:
        lost = overruns(sock)
        if lost:
            self.counters.overrun += lost
            self.complain("UDP datagrams lost: a server's came faster than they could be read (net.core.rmem_default)")

    def leave_down(self) -> None:
        """Health has taken a server down: its flows go on elsewhere with their clients' next datagrams."""
        for flow in self._table.flows.values():
            if flow.sock is not None and flow.server is not None and not flow.server.up and not flow.is_once:
                flow.first = None
                self.leave(flow)

    # --- a flow's first datagram, and servers that are not there ---

    def send_first(self, flow: UdpFlow, datagram: bytes) -> None:
        """Send the first datagram of a flow that has just begun, and keep it in case nobody is there."""
        self._try_send(flow, datagram)
        flow.first = datagram if len(datagram) <= MAX_FIRST_SIZE else None
        if flow.sock is not None and not flow.is_once:
            flow.send = functools.partial(self._send_next, flow, flow.sock)

    def _receive_first(self, flow: UdpFlow, sock: socket.SocketType, size: int) -> bytes:
        """Somebody is there: the first datagram need not be kept, and what the client says next proves it."""
        datagram = sock.recv(size)
        flow.first = None
        flow.receive = sock.recv
        flow.send = functools.partial(self._send_next, flow, sock)
        self._table.answered(flow)
        return datagram

    def _send_next(self, flow: UdpFlow, sock: socket.SocketType, datagram: bytes) -> None:
        """Once this one is out, the first is too old to be sent again."""
        sock.send(datagram)
        flow.first = None
        flow.send = sock.send
        if flow.stage is Stage.SERVED:
            self._table.proved(flow)

    def on_refused(self, flow: UdpFlow) -> None:
        """The server is not there. The next datagram picks anew; a flow's only datagram does so now."""
        self.counters.refused += 1
        server = flow.server
        if server is not None and flow.destination is not None and flow.place is not None:
            server.state.failures += 1
            flow.destination.refused(flow.place)
            flow.want.retry(server)
            self.complain("service %s: nothing listens for UDP at server %s", server.service, server.name)
        self.leave(flow)
        if server is not None and server.watch is not None:
            server.watch.failed("port unreachable")
        if flow.first is not None and flow.resends < MAX_RESENDS:
            flow.resends += 1
            self._start_again(flow, flow.first)

    def _restart(self, flow: UdpFlow, datagram: bytes) -> None:
        """A client's datagram on a flow whose server was not there."""
        flow.resends = 0
        self._start_again(flow, datagram)

    def _start_again(self, flow: UdpFlow, datagram: bytes) -> None:
        if self.begin(flow, self._loop.time()):
            self.send_first(flow, datagram)
        else:
            flow.first = None

    def on_send_error(self, flow: UdpFlow, datagram: bytes, error: OSError) -> None:
        """The flow's `send` refused a datagram of its client."""
        if error.errno in ABSENT:
            # It speaks of an earlier datagram; this one has not been sent.
            self.on_refused(flow)
            self._try_send(flow, datagram)
        else:
            self.on_failed(error)

    def on_busy(self) -> None:
        """A datagram found no room in a socket's send buffer."""
        self.counters.busy += 1
        self.complain("UDP datagrams dropped: a socket's send buffer is full (net.core.wmem_default)")

    def on_failed(self, error: OSError) -> None:
        """A datagram could not be sent, and that says nothing about the server."""
        self.counters.failed += 1
        self.complain("a UDP datagram could not be sent: %s", error.strerror)

    def _try_send(self, flow: UdpFlow, datagram: bytes) -> None:
        try:
            flow.send(datagram)
        except BlockingIOError:
            self.on_busy()
        except OSError as error:
            if error.errno in ABSENT:
                # The datagram before this one found out; both are lost, and the next one goes elsewhere.
                self.on_refused(flow)
            else:
                self.on_failed(error)

    # --- names ---

    def _hold(self, flow: UdpFlow, datagram: bytes) -> None:
        """Keep a datagram while the server's name is looked up."""
        if flow.held is None or not self._room.hold(flow.held, datagram):
            self.counters.waiting += 1

    def _on_found(self, flow: UdpFlow) -> None:
        """The lookup the flow waits for has ended."""
        assert flow.server is not None
        assert flow.destination is not None
        held, flow.held = flow.held or [], None
        self._room.release(held)
        place = flow.destination.place
        try:
            if place is not None:
                self._connect(flow, place)
        except OSError as error:
            self._on_shortage(error)
        if flow.sock is None:
            flow.want.retry(flow.server)
            self.leave(flow)
            if not self.begin(flow, self._loop.time()):
                return
        if held:
            self.send_first(flow, held[0])
        for datagram in held[1:]:
            self._try_send(flow, datagram)


def nowhere(_: bytes) -> int:
    """The `send` of a flow that has ended."""
    return 0


def nothing(_: int) -> bytes:
    """The `receive` of a flow without a server."""
    raise BlockingIOError
