"""The life of one TCP client: picking, dialling, trying the next server while no byte has been moved, then pumps.

What lives here: `TcpConversation`. What must not: routing (`tcp.py`), moving bytes (`pump.py`), copying them to mirrors
(`tcp_mirror.py`). Made by `tcp.py`.
Specified by Traefik's TCP services; other than there, a server that cannot be reached is not the end.
"""

from __future__ import annotations

import logging
import socket
from time import perf_counter
from typing import TYPE_CHECKING

from streamlb.balance.failover import fall_back
from streamlb.balance.selection import Selection
from streamlb.errors import Retry
from streamlb.net.poller import PEER_ENDED, READABLE
from streamlb.net.secure import SecureSocket
from streamlb.net.subjects import subject_of
from streamlb.observe import records
from streamlb.proxy.clock import NEVER
from streamlb.proxy.introducing import local_endpoint
from streamlb.proxy.ledger import tls_facts
from streamlb.proxy.pump import Lost, Pumps, reset_on_close
from streamlb.proxy.tcp_dialling import reach
from streamlb.runtime.limits import ANY_TIME

if TYPE_CHECKING:
    from streamlb.balance.queue import Queue
    from streamlb.balance.selection import Node, Server
    from streamlb.errors import UpstreamError
    from streamlb.net.dial import Dial
    from streamlb.observe.cells import Block
    from streamlb.observe.records import TlsFacts
    from streamlb.proxy.pump import Stream
    from streamlb.proxy.tcp import TcpEntry
    from streamlb.proxy.tcp_dialling import Reaching
    from streamlb.routing.router import Route
    from streamlb.runtime.gates import Gates
    from streamlb.runtime.reach import Reach
    from streamlb.wire.proxy_protocol import Endpoint

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 10
"""Servers tried for one connection, and again as many of a fallback."""
PATIENCE = 1.0
"""Seconds of dialling after which we begin to watch whether the client is still there; most dials are over before."""
LOOKS = 4
"""How often the silence of a conversation is looked at within the time it may last."""


class TcpConversation:
    """One client's connection: dialling, then pumping.

    source: the client's address, whoever told us; destination: what it connected to, None is what the socket says.
    is_postgres: it was asked for TLS in PostgreSQL's way; passes_tls: the client's own TLS goes through to the server.
    server: the one being dialled or talked to; its `active` counts this conversation.
    due_at: while dialling, when to begin watching the client; then, when to look for signs of life.
    silence: seconds there may be none, ANY_TIME for ever.
    began_at, reached_at: when it came in, and when it got its server, by `perf_counter`. retries: servers tried beyond
    the first. end, reason: how it ended and why, if not by both sides. block: where it is counted with its server.
    """

    __slots__ = (
        "_alive_at",
        "_attempts",
        "_began_at",
        "_client",
        "_destination",
        "_dial",
        "_dialled_at",
        "_end",
        "_entry",
        "_gates",
        "_is_postgres",
        "_passes_tls",
        "_progress",
        "_pumps",
        "_queue",
        "_reached_at",
        "_reason",
        "_retries",
        "_route",
        "_server",
        "_server_name",
        "_service",
        "_silence",
        "_source",
        "_want",
        "_watching",
        "block",
        "due_at",
    )

    def __init__(
        self,
        entry: TcpEntry,
        client: Stream,
        route: Route,
        source: Endpoint,
        destination: Endpoint | None = None,
        is_postgres: bool = False,
        server_name: bytes = b"",
    ) -> None:
        # snapshot
        self._route = route
        self._service: Node = route.service
        self._gates: Gates | None = route.gates
        # conversation
        self._entry = entry
        self._client = client
        self._source = source
        self._destination = destination
        self._is_postgres = is_postgres
        self._server_name = server_name
        self._passes_tls = is_postgres and route.tls is not None and route.tls.passthrough
        self._want = Selection(b"", source[0].packed)
        self._attempts = 0
        self._server: Server | None = None
        self._dial: Dial | Reaching | None = None
        self._dialled_at = 0.0
        self._queue: Queue | None = None
        self._watching = False
        self._pumps: Pumps | None = None
        self._silence = ANY_TIME
        self._progress = 0
        self._alive_at = 0.0
        self.due_at = NEVER
        self._began_at = perf_counter()
        self._reached_at = 0.0
        self._retries = 0
        self._end = self._reason = ""
        self.block: Block | None = None

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes from the client and from the server."""
        return self._pumps.moved if self._pumps is not None else (0, 0)

    @property
    def _raw(self) -> socket.socket:
        """The client's connection, below TLS if that is ended here."""
        return self._client.raw if isinstance(self._client, SecureSocket) else self._client

    # --- dialling ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        self._entry.ledger.opened()
        server = self._service.pick(self._want)
        if server is None and not self._wait():
            self._give_up(records.NO_SERVER)
            return
        if server is not None:
            self._start_dial(server)
            self._entry.clock.watch(self)
            self.due_at = self._entry.clock.after(PATIENCE)
        self._entry.live.add(self)

    def _wait(self) -> bool:
        """Wait for a place at a server, if that is all there is to wait for."""
        queue = self._want.queue
        if queue is None or not queue.join(self, self._want.wanted):
            return False
        self._queue = queue
        self._stop_watching()
        self._entry.clock.watch(self)
        self.due_at = self._entry.clock.after(queue.timeout)
        return True

    def on_room(self) -> None:
        self._queue = None
        self._want.again()
        self._service = self._entry.present(self._service)
        server = self._service.pick(self._want)
        if server is not None:
            self.due_at = self._entry.clock.after(PATIENCE)
            self._start_dial(server)
        elif not self._wait():
            self._give_up(records.NO_SERVER)

    def _leave_queue(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave(self)

    def _start_dial(self, server: Server) -> None:
        self._attempts += 1
        self._server = server
        server.state.active += 1
        server.state.total += 1
        if server.state.latency is not None:
            self._dialled_at = self._entry.loop.time()
        # What the client asked us, we ask the server: before its own ClientHello goes through, or before ours.
        asks = self._is_postgres and (self._passes_tls or bool(server.tls_name))
        self._dial = reach(self._entry.loop, server, self._introduction, self._on_dialled, asks_postgres=asks)

    def _introduction(self) -> tuple[Endpoint, Endpoint | None]:
        return self._source, self._destination or local_endpoint(self._raw)

    def on_due(self) -> None:
        self.due_at = NEVER
        if self._queue is not None:
            self._leave_queue()
            self._give_up(records.QUEUE_TIMEOUT)
        elif self._pumps is not None:
            self._look_for_life(self._pumps)
        elif self._dial is not None:
            self._watching = True
            self._entry.workshop.poller.add(self._client.fileno(), READABLE | PEER_ENDED, self._on_early)

    def _on_early(self, _events: int) -> None:
        """The client spoke or left before a server was reached. What it said stays in the kernel."""
        try:
            self._raw.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._end = records.CLIENT_RESET
            self.abort()
            return
        self._stop_watching()

    def _stop_watching(self) -> None:
        self._entry.clock.forget(self)
        if self._watching:
            self._watching = False
            self._entry.workshop.poller.remove(self._client.fileno())

    def _on_dialled(self, sock: Stream | None, error: UpstreamError | None) -> None:
        self._dial = None
        try:
            if error is not None:
                self._try_next(error)
            if sock is not None:
                self._start_pumps(sock)
        except Exception:
            log.exception("a connection was dropped by a bug of streamlb")
            self.abort()
            if sock is not None:
                sock.close()

    def _start_pumps(self, sock: Stream) -> None:
        self._stop_watching()
        entry, orders, server = self._entry, self._want.mirrors, self._server
        assert server is not None, "no server was reached"
        if server.watch is not None:
            server.watch.succeeded()
        if server.state.latency is not None:
            server.state.latency.add(entry.loop.time() - self._dialled_at)
        self._reached_at = perf_counter()
        self.block = entry.ledger.reached(self, self._route, server)
        taps = entry.mirrors.open(orders, self._want.hash_key, self._introduction) if orders else ()
        self._pumps = Pumps(entry.loop, entry.workshop, self._client, sock, self, taps)
        how: Reach = server.limits
        if how.idle != ANY_TIME:
            self._bound_silence(how.idle)
        self._pumps.start()

    def _try_next(self, error: UpstreamError) -> None:
        server = self._server
        if server is not None:
            self._server = None
            self._entry.failed(server, error)
            server.leave()
            if error.retry is Retry.ALWAYS:
                another = self._pick_another(server)
                if another is not None:
                    self._retries += 1
                    self._start_dial(another)
                    return
                if self._wait():
                    return
        self._give_up(records.UNREACHABLE)

    def _give_up(self, reason: str) -> None:
        """reason: unless it is for want of a place to wait in."""
        is_full = self._want.queue is not None
        if is_full and reason != records.QUEUE_TIMEOUT:
            reason = records.QUEUE_FULL
        self._end, self._reason = records.REFUSED, reason
        self._entry.gave_up(self._route, self._service.name, reason, full=is_full)
        self._stop_watching()
        self._client.close()
        self.on_end()

    def _pick_another(self, failed: Server) -> Server | None:
        """Another server of the service or, when it had its tries, one of its fallback."""
        if self._attempts < MAX_ATTEMPTS:
            self._want.retry(failed)
            return self._service.pick(self._want)
        found = fall_back(self._want)
        if found is None:
            return None
        self._service, server = found
        self._attempts = 0
        return server

    # --- pumping ----------------------------------------------------------------------------------------------

    def _bound_silence(self, seconds: float) -> None:
        """Give the conversation up when it is silent for so long from now on."""
        self._silence = seconds
        if seconds == ANY_TIME:
            self.due_at = NEVER
            return
        clock = self._entry.clock
        clock.watch(self)
        self._alive_at = clock.after(0.0)
        self.due_at = clock.after(seconds / LOOKS)

    def on_half_closed(self) -> None:
        """One side has finished; the other may take its time, but not for ever."""
        assert self._server is not None, "no server was reached"
        how: Reach = self._server.limits
        self._bound_silence(min(how.idle, how.half_closed))

    def _look_for_life(self, pumps: Pumps) -> None:
        """Cut a conversation that has been silent for too long; never early, and at most one look late."""
        clock = self._entry.clock
        progress = pumps.count_progress()
        if progress != self._progress:
            self._progress = progress
            self._alive_at = clock.now
        if clock.now - self._alive_at >= self._silence:
            self._end = records.IDLE
            pumps.abort()
            return
        left = self._alive_at + self._silence - clock.now
        self.due_at = clock.now + min(left, self._silence / LOOKS)

    def on_end(self) -> None:
        """Both sockets are closed."""
        self._entry.clock.forget(self)
        self._tell()
        server, self._server = self._server, None
        if server is not None:
            server.leave()
        if self._gates is not None:
            self._leave_gates()
        self._entry.live.discard(self)

    def _tell(self) -> None:
        """What has become of it."""
        ledger, pumps = self._entry.ledger, self._pumps
        ledger.closed()
        seconds = perf_counter() - self._began_at
        if self.block is not None:
            ledger.over(self, self.block, seconds)
        if not ledger.access.on:
            return
        end = self._end or records.CLOSED
        if not self._end and pumps is not None and pumps.lost is not None:
            end = records.CLIENT_RESET if pumps.lost is Lost.CLIENT else records.SERVER_RESET
        bytes_in, bytes_out = self.moved
        host, port = self._source
        record = records.TcpRecord(
            self._entry.name,
            str(host),
            port,
            route=self._route,
            server=self._server,
            server_name=self._server_name,
            duration=seconds,
            dial_duration=self._reached_at - self._began_at if self._reached_at else 0.0,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            retries=self._retries,
            end=end,
            reason=self._reason,
            mirrors=tuple(order.name for order in self._want.mirrors),
            tls=self._tls(),
        )
        ledger.access.tcp(record)

    def _tls(self) -> TlsFacts | None:
        """What TLS with the client was like, if it ended here."""
        if not isinstance(self._client, SecureSocket):
            return None
        ssl_object = self._client.ssl_object
        cipher = ssl_object.cipher()
        facts = tls_facts(ssl_object.version() or "", cipher[0] if cipher else "")
        return facts._replace(subject=subject_of(ssl_object))

    def _leave_gates(self) -> None:
        gates, self._gates = self._gates, None
        if gates is not None:
            gates.leave(self._source[0])

    # --- as one of the live conversations ---------------------------------------------------------------------

    def drain(self) -> None:
        """A TCP conversation has no pause to end in: it runs until it is done, or aborted."""

    def abort(self) -> None:
        self._leave_queue()
        self._end = self._end or records.CUT
        if self._pumps is not None:
            self._pumps.abort()
            return
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._stop_watching()
        reset_on_close(self._client)
        self._client.close()
        self.on_end()
