"""A tunnel: two connections after a 101, each hearing what the other says.

What lives here: `Tunnel`, which passes bytes and ends on until both sides have ended.
What must not: the exchange that opened it (`forwarder.py`), deadlines (`downstream.py` asks the forwarder for them).
RFC 9110 section 7.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.proxy.bypass import ENDLESS, bypass
from streamlb.proxy.plain_pump import BULK, LARGE

if TYPE_CHECKING:
    import asyncio

    from streamlb.errors import UpstreamError
    from streamlb.proxy.forwarder import Forwarder
    from streamlb.proxy.upstream import Upstream


class Tunnel:
    """The relay that an exchange has become. server_ended: the server has shut its side.

    large_up, large_down: bytes of consecutive large pieces, in each direction.
    """

    __slots__ = ("_client", "_forwarder", "_large_down", "_large_up", "_loop", "_upstream", "server_ended")

    def __init__(self, loop: asyncio.AbstractEventLoop, forwarder: Forwarder, upstream: Upstream) -> None:
        # connection
        self._loop = loop
        self._forwarder = forwarder
        self._client = forwarder.client
        self._upstream: Upstream | None = upstream
        self._large_up = self._large_down = 0
        self.server_ended = False

    def start(self) -> None:
        """Pass on what the client has said behind its request."""
        early = self._client.take_inbox()
        if early:
            self.on_client_data(early)
        if self._client.eof:
            self.on_client_end()

    # --- the client --------------------------------------------------------------------------------------------

    def on_client_data(self, data: bytes) -> None:
        upstream = self._upstream
        if upstream is None:
            return
        if data:
            self._forwarder.bytes_up += len(data)
            upstream.transport.write(data)
            self._large_up = self._large_up + len(data) if len(data) >= LARGE else 0
        self._forwarder.on_progress()
        if self._large_up >= BULK:
            self._large_up = 0
            bypass(self._loop, self._client, upstream, ENDLESS)

    def on_client_end(self) -> None:
        """The client has shut its side; the server may still talk."""
        upstream = self._upstream
        if upstream is None:
            return
        if self.server_ended:
            self._end(None)
        elif not upstream.transport.is_closing():
            upstream.shut_writing()

    # --- the server --------------------------------------------------------------------------------------------

    def on_server_data(self, data: bytes) -> None:
        if data:
            self._forwarder.bytes_down += len(data)
            self._client.transport.write(data)
            self._large_down = self._large_down + len(data) if len(data) >= LARGE else 0
        self._forwarder.on_progress()
        upstream = self._upstream
        if self._large_down >= BULK and upstream is not None:
            self._large_down = 0
            bypass(self._loop, upstream, self._client, ENDLESS)

    def on_server_end(self) -> None:
        """The server has shut its side; the client may still talk."""
        self.server_ended = True
        if self._client.eof:
            self._end(None)
        else:
            self._client.shut_writing()

    def on_server_lost(self, error: UpstreamError | None) -> None:
        self._end(error)

    # --- the end -----------------------------------------------------------------------------------------------

    def _end(self, error: UpstreamError | None) -> None:
        self._upstream = None
        self._forwarder.conclude(reason="" if error is None else error.reason)
        self._forwarder.abandon()
        if error is not None and error.reason == "connection reset":
            self._client.cut()
        else:
            self._client.end_tunnel()
