"""What is remembered of an HTTP exchange until it is over.

What lives here: `HttpFacts`, which the shell of an exchange (`forwarder.py`) is, and what it tells its ledger.
What must not: doing anything to either connection, counting (`ledger.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from streamlb.observe import records
from streamlb.session.exchange import Answer, Exchange

if TYPE_CHECKING:
    from streamlb.balance.selection import Selection, Server
    from streamlb.proxy.downstream import Downstream
    from streamlb.proxy.ledger import HttpLedger
    from streamlb.routing.router import Route
    from streamlb.wire.body import Body
    from streamlb.wire.message import RequestHead, ResponseHead


class HttpFacts:
    """One client connection's, for one exchange after the other.

    ledger: who is told. began_at: when the head was complete, by `perf_counter`; 0 while there is no exchange.
    asked_at: when the server that answered was sent the request. server: the one it is with, if any; want: how it was
    picked. status: sent to the client. reason: why the proxy answered itself, or ended it early.
    request_body: None where there is none. answer_body: None where it came in one piece, whose size is answer_size.
    origin_head: of the server's answer. sent_head: as the client got it, perhaps with something behind.
    retries: beyond the first attempt. bytes_up, bytes_down: of a tunnel.
    """

    __slots__ = (
        "answer_body",
        "answer_size",
        "asked_at",
        "began_at",
        "bytes_down",
        "bytes_up",
        "client",
        "exchange",
        "head",
        "ledger",
        "origin_head",
        "reason",
        "request_body",
        "retries",
        "route",
        "sent_head",
        "server",
        "status",
        "want",
    )

    def __init__(self, ledger: HttpLedger, client: Downstream) -> None:
        # connection
        self.ledger = ledger
        self.client = client
        self.exchange = Exchange()
        # exchange
        self.head = cast("RequestHead", None)
        self.want = cast("Selection", None)
        self.route: Route | None = None
        self.server: Server | None = None
        self.began_at = 0.0
        self.asked_at = 0.0
        self.status = 0
        self.reason = ""
        self.request_body: Body | None = None
        self.answer_body: Body | None = None
        self.answer_size = 0
        self.origin_head: ResponseHead | None = None
        self.sent_head = b""
        self.retries = 0
        self.bytes_up = self.bytes_down = 0

    def conclude(self, status: int = 499, reason: str = records.CLIENT_GONE) -> None:
        """It is over before its answer is, if it is not over yet. status: what it is counted as if nothing was
        answered so far. reason: if none was given before."""
        if self.began_at:
            if self.exchange.answer is Answer.WAITING:
                self.status, self.answer_size = status, 0
            self.reason = self.reason or reason
            self.ledger.over(self)
