"""Reaching a TCP server: connected, told who the client is, and, where it wants TLS, after the handshake.

What lives here: `reach`, which is `dial` and what comes between it and the first byte of a client.
What must not: who is reached (balance), trying another one (`tcp_conversation.py`).
Called by `tcp_conversation.py` and `tcp_mirror.py`. Specified in docs/reference.md ("TCP services").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.balance.selection import Server
from streamlb.balance.tree import Balancer
from streamlb.errors import InternalError, Retry, UpstreamError
from streamlb.net.dial import REASONS, dial
from streamlb.net.handshake import MIN_HANDSHAKE_TIMEOUT, shake_hands
from streamlb.net.poller import PEER_ENDED, READABLE, poller_of
from streamlb.net.secure import SecureSocket
from streamlb.net.tls import PemError, client_context, handshake_error
from streamlb.proxy.introducing import introduce, send_whole
from streamlb.wire.opening import GO_AHEAD, SSL_REQUEST

if TYPE_CHECKING:
    import asyncio
    import socket
    import ssl
    from collections.abc import Callable

    from streamlb.config.tls import ClientTls
    from streamlb.net.dial import Dial
    from streamlb.net.handshake import Handshake
    from streamlb.proxy.introducing import Introduction
    from streamlb.proxy.pump import Stream
    from streamlb.runtime.reach import Reach
    from streamlb.runtime.snapshot import Runtime

    OnDone = Callable[[Stream | None, UpstreamError | None], object]


def reach(
    loop: asyncio.AbstractEventLoop,
    server: Server,
    introduction: Introduction,
    on_done: OnDone,
    *,
    asks_postgres: bool = False,
) -> Dial | Reaching:
    """Connect to `server`: `on_done` gets a socket ready for the client's bytes, or a reason, as with `dial`.

    asks_postgres: what comes next is TLS with a PostgreSQL server, which wants to be asked before.
    """
    how: Reach = server.limits
    if not (how.proxy_version or server.tls_name or asks_postgres):
        return dial(loop, server.host, server.port, how.dial, on_done, how.keep_alive)
    return Reaching(loop, server, introduction, on_done, asks_postgres)


class Reaching:
    """A server that wants more than a connection, on the way: a PROXY header, PostgreSQL's question, a TLS handshake.

    Ends once: `on_done(sock, None)`, the socket being a `SecureSocket` where TLS is spoken, or `on_done(None, error)`;
    never after `cancel`.
    """

    __slots__ = (
        "_asks_postgres",
        "_deadline_at",
        "_dial",
        "_handshake",
        "_introduction",
        "_loop",
        "_on_done",
        "_server",
        "_sock",
        "_timer",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        server: Server,
        introduction: Introduction,
        on_done: OnDone,
        asks_postgres: bool,
    ) -> None:
        how: Reach = server.limits
        # conversation
        self._loop = loop
        self._server = server
        self._introduction = introduction
        self._on_done: OnDone | None = on_done
        self._asks_postgres = asks_postgres
        self._deadline_at = loop.time() + how.dial if how.dial > 0 else float("inf")
        self._sock: socket.socket | None = None
        self._handshake: Handshake | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._dial: Dial = dial(loop, server.host, server.port, how.dial, self._on_dialled, how.keep_alive)

    def cancel(self) -> None:
        self._on_done = None
        self._dial.cancel()
        if self._handshake is not None:
            self._handshake.cancel()
        self._drop()

    def _on_dialled(self, sock: socket.socket | None, error: UpstreamError | None) -> None:
        how: Reach = self._server.limits
        self._sock = sock
        if sock is None:
            self._finish(None, error)
            return
        if how.proxy_version:
            error = introduce(sock, how.proxy_version, self._introduction())
        if error is None and self._asks_postgres:
            error = send_whole(sock, SSL_REQUEST, "PostgreSQL's question could not be sent")
        if error is not None:
            self._fail(error)
        elif self._asks_postgres:
            self._await_answer(sock)
        else:
            self._secure(sock)

    # --- PostgreSQL -------------------------------------------------------------------------------------------

    def _await_answer(self, sock: socket.socket) -> None:
        poller_of(self._loop).add(sock.fileno(), READABLE | PEER_ENDED, self._on_answer)
        if self._deadline_at != float("inf"):
            self._timer = self._loop.call_at(self._deadline_at, self._on_timeout)

    def _on_answer(self, _events: int) -> None:
        sock = self._sock
        assert sock is not None, "an answer without a question"
        try:
            # One byte, not more: whatever comes behind it is the client's.
            answer = sock.recv(1)
        except BlockingIOError:
            return
        except OSError as error:
            reason = REASONS.get(error.errno or 0, "the connection was lost")
            self._fail(UpstreamError(502, reason, Retry.ALWAYS))
            return
        if answer != GO_AHEAD:
            self._fail(UpstreamError(502, "the server does not speak TLS in PostgreSQL's way", Retry.ALWAYS))
            return
        self._stop_waiting(sock)
        self._secure(sock)

    def _on_timeout(self) -> None:
        self._timer = None
        self._fail(UpstreamError(504, "PostgreSQL's answer took too long", Retry.ALWAYS))

    def _stop_waiting(self, sock: socket.socket) -> None:
        poller_of(self._loop).remove(sock.fileno())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- TLS --------------------------------------------------------------------------------------------------

    def _secure(self, sock: socket.socket) -> None:
        """Shake hands, where the server wants it; there is what is left of the time for dialling."""
        if not self._server.tls_name:
            self._sock = None
            self._finish(sock, None)
            return
        how: Reach = self._server.limits
        try:
            name = how.tls.server_name or self._server.tls_name
            secure = SecureSocket(sock, context_of(how.tls), server_side=False, server_hostname=name)
        except (ValueError, OSError, PemError) as error:  # ValueError: a name that TLS cannot carry.
            self._fail(handshake_error(error))
            return
        self._sock = None
        left = 0.0
        if how.dial > 0:
            left = max(MIN_HANDSHAKE_TIMEOUT, self._deadline_at - self._loop.time())
        self._handshake = shake_hands(self._loop, secure, left, lambda error: self._on_shaken(secure, error))

    def _on_shaken(self, secure: SecureSocket, error: OSError | None) -> None:
        self._handshake = None
        if error is None:
            # The last word of the handshake goes with the client's first, or as soon as there proves to be none.
            self._finish(secure, None)
        else:
            self._finish(None, handshake_error(error))

    # --- the end ----------------------------------------------------------------------------------------------

    def _fail(self, error: UpstreamError) -> None:
        self._drop()
        self._finish(None, error)

    def _drop(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._stop_waiting(sock)
            sock.close()

    def _finish(self, sock: Stream | None, error: UpstreamError | None) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(sock, error)


def context_of(tls: ClientTls) -> ssl.SSLContext:
    """The TLS context for these options, made once for all that say the same."""
    return client_context(*tls.trust, protocols=())


def prepare(runtime: Runtime) -> None:
    """Make the TLS contexts that will be needed: it takes too long to let a first connection wait for it."""
    for (protocol, name), node in runtime.services.items():
        servers = [child.node for child in node.children] if isinstance(node, Balancer) and protocol == "tcp" else []
        for server in servers:
            if isinstance(server, Server) and server.tls_name:
                try:
                    context_of(server.limits.tls)
                except PemError as error:
                    reason = f"the certificates for the servers of {name} cannot be used: {error.reason}"
                    raise InternalError(reason) from error
