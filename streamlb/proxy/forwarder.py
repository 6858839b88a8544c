"""The shell of an exchange: from a request's head to a server and back.

What lives here: `Forwarder`, one per client connection: routes, picks, sends, retries, answers, and ties the two
connections' back pressure together. What must not: reading bytes (`downstream.py`, `upstream.py`), deciding what a loss
means (`session/exchange.py`). Behaviour: Traefik's proxying and its status table for failures.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final, cast

from streamlb.balance.failover import fall_back
from streamlb.balance.selection import Selection
from streamlb.errors import Retry, UpstreamError
from streamlb.observe import records
from streamlb.proxy.answers import render_answer, render_changed
from streamlb.proxy.bypass import bypass
from streamlb.proxy.clock import NEVER
from streamlb.proxy.heads import head_for
from streamlb.proxy.http_facts import HttpFacts
from streamlb.proxy.tunnel import Tunnel
from streamlb.session.exchange import Answer, Loss
from streamlb.wire.body import LAST_CHUNK, encode_chunk
from streamlb.wire.http1 import is_asked_for
from streamlb.wire.message import CHUNKED, UNTIL_CLOSE

if TYPE_CHECKING:
    from streamlb.balance.queue import Queue
    from streamlb.balance.selection import Node, Server
    from streamlb.proxy.downstream import Downstream
    from streamlb.proxy.http import HttpEntry
    from streamlb.proxy.introducing import Ends
    from streamlb.proxy.mirror import MirrorCopy
    from streamlb.proxy.pool import Dialling
    from streamlb.proxy.replay import Replay
    from streamlb.proxy.upstream import Upstream
    from streamlb.routing.router import Route
    from streamlb.runtime.limits import Limits, Override
    from streamlb.wire.message import RequestHead, ResponseHead

MAX_EARLY: Final = 64 * 1024
"""Bytes of a request's body held while its server is being reached."""
HALF_CLOSED_TIMEOUT: Final = 60.0
"""Seconds between two pieces of an answer, or of a tunnel, once one side has ended: the other may well be gone."""


class Forwarder(HttpFacts):
    """Carries one exchange at a time; owner of the `Upstream` it uses.

    early: body bytes read before a server connection stood. rechunk: the answer ends with its connection, and the
    client gets it chunked, so that its end can be seen. tunnel: what a 101 made of it. sent_at: when the last of
    the request left, if somebody wants to know. queue: where it waits for a place at a server.
    deadline: when the wait in the queue, or else the whole exchange, must be over, in the loop's time.
    """

    __slots__ = (
        "_copies",
        "_dialling",
        "_early",
        "_entry",
        "_limits",
        "_override",
        "_queue",
        "_rechunk",
        "_replay",
        "_sent_at",
        "_service",
        "_upstream",
        "_whole",
        "deadline",
        "tunnel",
    )

    def __init__(self, entry: HttpEntry, client: Downstream) -> None:
        super().__init__(entry.ledger, client)
        # connection
        self._entry = entry
        self.tunnel: Tunnel | None = None
        # exchange
        self._service = cast("Node", None)
        self._override: Override | None = None
        self._limits = cast("Limits", None)
        self.deadline = self._whole = NEVER
        self._queue: Queue | None = None
        self._upstream: Upstream | None = None
        self._dialling: Dialling | None = None
        self._early = b""
        self._rechunk = False
        self._sent_at = 0.0
        self._replay: Replay | None = None
        self._copies: list[MirrorCopy] = []

    # --- the request -------------------------------------------------------------------------------------------

    def start(self, head: RequestHead, data: bytes, done: bool) -> None:
        """A request's head was read, with the first bytes of its body; `done` when they are all."""
        self.began_at = perf_counter()
        self.head = head
        keep = head.keep_alive and not self.client.last
        self.exchange.begin(client_keeps=keep, idempotent=head.idempotent, has_body=not done)
        self._rechunk = False
        self._early = data
        self.want = want = Selection(head.fields.cookie, b"", head)
        table = self._entry.table
        self.route = route = table.route(head) if table is not None else None
        if (route is None or route.local is not None or self.client.options) and self._is_answered(route):
            return
        assert route is not None
        self._service = route.service
        self._override = route.limits
        server = route.service.pick(want)
        if server is None:
            self._wait()
        else:
            self._begin(server, data)

    def _is_answered(self, route: Route | None) -> bool:
        """Answer what needs no server, or has none."""
        entry, head, options = self._entry, self.head, self.client.options
        if options and entry.misdirects(options, head.host, route):
            self._answer(421, records.MISDIRECTED)
        elif route is None and entry.is_for_tls_only:
            self._answer(400, records.TLS_ONLY, body=b"this port speaks HTTPS\n")
        elif route is None:
            self._answer(404, records.NO_ROUTE)
        elif route.local is not None:
            status, location, body = route.local.answer(head, entry.terminating)
            self._answer(status, records.REDIRECTED if location else records.LOCAL, location=location, body=body)
        else:
            return False
        return True

    def _begin(self, server: Server, data: bytes) -> None:
        """The first server is picked; `data` is what there is of the body."""
        self._limit(server.limits)
        self._reach(server)
        want = self.want
        if want.mirrors and not want.retried:
            done = self.exchange.request_done
            self._copies = self._entry.mirrors.copies(want.mirrors, self.head, data, done)

    def _limit(self, theirs: Limits) -> None:
        """Hold the exchange to what its router, its service and the load balancer say."""
        override = self._override
        limits = self._limits = theirs if override is None else override.over(theirs)
        if limits.request < NEVER:
            if self.deadline == NEVER:
                self.deadline = self._entry.clock.after(limits.request)
            self.client.renew()
        elif limits.upload is not None and self.client.body is not None:
            self.client.renew()

    # --- the queue ---------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Nobody was picked: wait for a place, if that is all there is to wait for."""
        queue = self.want.queue
        if queue is None:
            self._answer(503, records.NO_SERVER)
        elif not queue.join(self, self.want.wanted):
            self._entry.turned_away(queue.name, "its queue is full")
            self._answer(503, records.QUEUE_FULL)
        else:
            self._queue = queue
            self._limit(queue.limits)
            self._whole = self.deadline
            self.deadline = min(self._whole, self._entry.clock.after(queue.timeout))
            self.client.renew()

    def on_room(self) -> None:
        self._queue = None
        self.deadline, self._whole = self._whole, NEVER
        self.want.again()
        self.client.renew()
        self._service = self._entry.present(self._service)
        server = self._service.pick(self.want)
        if server is None:
            self._wait()
        else:
            self._begin(server, self._early)

    def _leave_queue(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.leave(self)
            self.deadline, self._whole = self._whole, NEVER

    # --- the request's way -------------------------------------------------------------------------------------

    def on_request_body(self, data: bytes, done: bool) -> None:
        exchange = self.exchange
        if data and self._upstream is not None and exchange.answer is Answer.WAITING:
            self._upstream.hear_first()
            if not self.client.busy:
                return  # It was answered already.
        exchange.request_done = done
        if self._upstream is not None:
            exchange.body_sent = True
            if data:
                self._upstream.transport.write(data)
            if self._replay is not None and not self._replay.add(data):
                self._replay = None
            if not done:
                self._bypass_request()
            if done and cast("Server", self.server).state.latency is not None:
                self._sent_at = self._entry.loop.time()
        else:
            self._early += data
            if len(self._early) > MAX_EARLY:
                self.client.set_upstream_full(True)
        if self._copies:
            for copy in self._copies:
                copy.feed(data, done)
            if done:
                self._copies = []  # Complete: what becomes of the client is nothing to them.

    def _bypass_request(self) -> None:
        """Splice what is left of a large request, unless somebody else wants it too."""
        if self._upstream is not None and not self.want.mirrors and self._replay is None:
            bypass(self._entry.loop, self.client, self._upstream)

    def on_broken_request(self) -> None:
        """The body's framing is broken; no server may see its end."""
        self.conclude(400, records.UNREADABLE)
        self.abandon()
        if self.exchange.answer is Answer.WAITING:
            self.client.refuse(400)
        else:
            self.client.cut()

    def _reach(self, server: Server) -> None:
        if server is not self.server:
            self._leave_server()
            self.server = server
            server.state.active += 1
            server.state.total += 1
        pool = server.pool or self._entry.pool_of(server)
        upstream = pool.take(self)
        if upstream is not None:
            self.on_connected(upstream)
        else:
            self.ledger.dialled(server)
            self._dialling = pool.dial(self)

    @property
    def ends(self) -> Ends:
        """Of the client's connection."""
        return self.client.ends

    def on_connected(self, upstream: Upstream) -> None:
        self._dialling = None
        self._upstream = upstream
        self.asked_at = perf_counter()
        head, server = self.head, cast("Server", self.server)
        if server.state.latency is not None:
            self._sent_at = self._entry.loop.time()
        message = head_for(head, server)
        if self.want.fallbacks:
            self._replay = self._entry.replays.begin(self.want.fallbacks, head.fields.framing, self._early)
        if self._early:
            message += self._early
            self._early = b""
            self.exchange.body_sent = True
            self.client.set_upstream_full(False)
        upstream.start(self, head.method, message, unchunk=head.minor == 0)
        if not self.exchange.request_done:
            self._bypass_request()
        else:
            due_at = self._entry.clock.after(self._limits.first_byte)
            if due_at < self.deadline:
                self.client.due_at = due_at
            else:
                self.client.renew()

    def patience(self) -> float:
        """Seconds the server may take for what is awaited of it now."""
        limits = self._limits
        tunnel = self.tunnel
        limit = limits.answer if tunnel is None else limits.tunnel
        if self.exchange.answer is Answer.WAITING:
            limit = NEVER if self._upstream is None else limits.first_byte
            if limit < NEVER:
                return limit
        if self.client.eof or (tunnel is not None and tunnel.server_ended):
            return min(limit, HALF_CLOSED_TIMEOUT)
        return limit

    def upload_patience(self) -> float:
        """Seconds the client may take for the next piece of its request's body."""
        if self.client.upstream_full and self._upstream is None:
            return NEVER  # It may not go on before a server is reached, which has a limit of its own.
        limit = None if self._limits is None else self._limits.upload
        return self._entry.read_timeout if limit is None else limit

    @property
    def overdue(self) -> bool:
        """Whether the whole exchange has taken too long."""
        return self.deadline <= self._entry.clock.now

    def on_dial_failed(self, error: UpstreamError) -> None:
        self._dialling = None
        server = cast("Server", self.server)
        self._entry.failed(server, error)
        if error.retry is Retry.ALWAYS and self.exchange.on_dial_failed():
            self.want.retry(server)
            other = self._service.pick(self.want)
            if other is not None:
                self._retry(server)
                self._reach(other)
                return
            if self.want.queue is not None:
                self._leave_server()
                self._wait()
                return
        if error.retry is not Retry.ALWAYS or not self._fall_back(None):
            self._answer(error.status, records.UNREACHABLE)

    def _retry(self, server: Server) -> None:
        """The request is not over with `server`, it is sent again."""
        self.retries += 1
        self.ledger.retried(server)

    def _fall_back(self, status: int | None, *, spare: bool = False) -> bool:
        """Send the request to a fallback instead of failing with `status` (None: nobody was reached), if there is one.

        spare: the connection that brought the failure may serve another exchange.
        """
        replay, self._replay = self._replay, None
        may = status is None or replay is not None
        found = fall_back(self.want, status) if may and self.want.fallbacks else None
        if found is None:
            if replay is not None:
                replay.drop()
            return False
        if replay is not None:
            self._early = replay.take()
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if spare:
                upstream.release()
            else:
                upstream.close()
        self._service, server = found
        self.origin_head = None
        self._entry.fell_back(self.server, status, server)
        self.exchange.on_fallback()
        self._limit(server.limits)
        self.client.renew()
        self._reach(server)
        return True

    # --- the answer --------------------------------------------------------------------------------------------

    def on_interim(self, head: ResponseHead) -> None:
        if self.head.minor == 1:
            self.client.transport.write(head.plain)

    def on_answer(self, upstream: Upstream, head: ResponseHead, data: bytes, done: bool) -> None:
        server = self.server
        if server is not None and server.watch is not None:
            server.watch.answered(head.status)
        exchange, client = self.exchange, self.client
        framing = head.body_framing(self.head.method)
        self.origin_head = head
        latency = cast("Server", self.server).state.latency
        if latency is not None:
            latency.add(self._entry.loop.time() - self._sent_at if head.status < 500 else None)
        if self._replay is not None:
            spare = done and head.keep_alive and framing != UNTIL_CLOSE and exchange.request_done
            if self._fall_back(head.status, spare=spare):
                return
        exchange.on_answer(server_keeps=head.keep_alive, until_close=framing == UNTIL_CLOSE)
        self.status = head.status
        if done:
            self.answer_size = len(data)
        else:
            self.answer_body = upstream.body
            client.renew()
        if head.status == 101:
            self._open_tunnel(upstream, head)
            return
        as_it_is = framing != UNTIL_CLOSE and self.head.minor == 1 and not self.want.cookies
        if as_it_is and exchange.keeps_client and not self._entry.live.draining:
            self.sent_head = head.plain
            answer = head.plain + data if data else head.plain
        else:
            answer = self._changed(head, framing, data)
        if done:
            self._end(answer)
        else:
            client.transport.write(answer)
            bypass(self._entry.loop, upstream, client)

    def _changed(self, head: ResponseHead, framing: int, data: bytes) -> bytes:
        """The head with what this exchange adds to it: cookies, another framing, the end of the connection."""
        exchange, old = self.exchange, self.head.minor == 0
        if framing == UNTIL_CLOSE or (framing == CHUNKED and old):
            self._rechunk = not old
            exchange.client_keeps = exchange.client_keeps and not old
        if self._entry.live.draining or not exchange.request_done:
            exchange.client_keeps = False
        changed = render_changed(head, framing, self.want.cookies, old=old, keep=exchange.client_keeps)
        self.sent_head = changed
        if data:
            changed += encode_chunk(data) if self._rechunk else data
        return changed

    def on_answer_body(self, upstream: Upstream, data: bytes, done: bool) -> None:
        client = self.client
        if data and self._rechunk:
            data = encode_chunk(data)
        if done:
            self._end(data)
        else:
            if data:
                client.transport.write(data)
            self.on_progress()
            bypass(self._entry.loop, upstream, client)

    def on_progress(self) -> None:
        """A piece of an answer, or of a tunnel, was passed on: it may buy more time."""
        client = self.client
        if client.due_at == NEVER or client.write_blocked:
            return
        if client.body is None or self._limits.upload is not None:
            client.renew()

    def on_upstream_lost(self, upstream: Upstream, error: UpstreamError | None) -> None:
        self._upstream = None
        exchange = self.exchange
        if self.tunnel is not None:
            self.tunnel.on_server_lost(error)
            return
        loss = exchange.on_loss(clean=error is None, reused=upstream.reused)
        if loss is Loss.COMPLETE:
            self._end(LAST_CHUNK if self._rechunk else b"")
            return
        if loss is Loss.RETRY:
            self._replay = None  # Empty: a request whose body has left is not repeated.
            self._retry(cast("Server", self.server))
            self.client.set_upstream_full(False)
            self._dialling = upstream.pool.dial(self)
            return
        error = error or UpstreamError(502, "connection closed before the answer was complete")
        self._entry.failed(cast("Server", self.server), error)
        if loss is Loss.REFUSE:
            if not self._fall_back(error.status):
                self._answer(error.status, records.SERVER_LOST)
        else:
            self.conclude(502, records.SERVER_LOST)
            self._drop_copies()
            self._leave_server()
            self.client.cut()

    def _answer(self, status: int, reason: str, *, location: bytes = b"", body: bytes = b"") -> None:
        """A local answer, and why; the client's connection survives it where the request was read to its end."""
        keep = self.exchange.keeps_client and not self._entry.live.draining
        cookies = self.want.cookies if status in (502, 504) else None
        method = self.head.method
        answer = render_answer(status, method, close=not keep, cookies=cookies, location=location, body=body)
        self.exchange.client_keeps = keep
        self.status, self.reason, self.sent_head = status, reason, answer
        self.answer_size = 0 if method == b"HEAD" else len(answer) - answer.index(b"\r\n\r\n") - 4
        self._end(answer)

    def _end(self, last: bytes) -> None:
        """Let go of everything this exchange held, and write the last bytes of its answer."""
        exchange = self.exchange
        exchange.answer = Answer.DONE
        self.deadline = NEVER
        if self.began_at:
            self.ledger.over(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if upstream.held:
                upstream.let_go()
            if exchange.keeps_server:
                upstream.release()
            else:
                upstream.close()
        if self._copies:
            self._drop_copies()
        self._early = b""
        self._drop_replay()
        self._leave_server()
        self.client.finish(exchange.keeps_client, last)

    # --- tunnels (RFC 9110 section 7.8) ------------------------------------------------------------------------

    def _open_tunnel(self, upstream: Upstream, head: ResponseHead) -> None:
        if self.client.body is not None or not is_asked_for(head.upgrade, self.head.fields.upgrade):
            error = UpstreamError(502, "the server switched protocols unasked")
            self._entry.failed(cast("Server", self.server), error)
            self._drop_upstream()
            self._answer(502, records.SERVER_LOST)
            return
        self.sent_head = head.plain
        self.tunnel = Tunnel(self._entry.loop, self, upstream)
        self.deadline = NEVER  # A tunnel is no answer that could be complete.
        self.client.renew()
        self.client.transport.write(head.plain)
        self.tunnel.start()

    def on_tunnel_passed(self, count: int) -> None:
        if self.tunnel is not None:
            self.bytes_down += count
            self.tunnel.on_server_data(b"")

    def on_tunnel_data(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.on_server_data(data)

    def on_tunnel_end(self) -> None:
        if self.tunnel is not None:
            self.tunnel.on_server_end()

    # --- the client --------------------------------------------------------------------------------------------

    def on_client_end(self) -> None:
        """The client has shut its side and waits for what is under way."""
        if self.tunnel is not None:
            self.tunnel.on_client_end()

    def abandon(self) -> None:
        """The client is gone."""
        if self.began_at:
            self.conclude()
        self._leave_queue()
        self._drop_copies()
        self._drop_upstream()
        self._drop_replay()
        self._leave_server()

    def on_due(self) -> None:
        """A deadline of the exchange has passed."""
        if self._queue is not None and self.overdue:
            self._entry.turned_away(self._queue.name, "a request waited too long for a server")
            self._leave_queue()
            self._answer(504 if self.overdue else 503, records.QUEUE_TIMEOUT)
        elif self.exchange.answer is not Answer.WAITING:
            if self.tunnel is None and self.client.body is None and self.server is not None:
                self._entry.failed(self.server, UpstreamError(504, "no more of the answer in time"))
            self.conclude(504, records.SERVER_SLOW)
            self._drop_upstream()
            self.client.cut()
        elif not self.exchange.request_done and not self.client.upstream_full:
            self.conclude(408, records.CLIENT_SLOW)
            self.abandon()
            self.client.refuse(408)
        else:
            if self.server is not None:
                self._entry.failed(self.server, UpstreamError(504, "no answer in time"))
            self._drop_upstream()
            if not self._fall_back(504):
                self._answer(504, records.SERVER_SLOW)

    def on_client_full(self) -> None:
        if self._upstream is not None:
            self._upstream.hold()

    def on_client_room(self) -> None:
        if self._upstream is not None:
            self._upstream.let_go()

    def on_upstream_full(self) -> None:
        self.client.set_upstream_full(True)

    def on_upstream_room(self) -> None:
        self.client.set_upstream_full(False)

    # --- letting go --------------------------------------------------------------------------------------------

    def _drop_upstream(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()

    def _drop_copies(self) -> None:
        for copy in self._copies:
            copy.drop()
        self._copies = []

    def _drop_replay(self) -> None:
        replay, self._replay = self._replay, None
        if replay is not None:
            replay.drop()

    def _leave_server(self) -> None:
        server, self.server = self.server, None
        if server is not None:
            server.leave()
