"""One HTTP exchange: a request, its answer, and what each turn of events means.

What lives here: `Exchange`, the automaton that says whether a lost server may be retried, and whether the two
connections may be used again. What must not: bytes, sockets, timers. Driven by `proxy/forwarder.py`.
RFC 9110 section 9.2.2 (repeating requests), RFC 9112 sections 6.3, 8, 9.3 (ends of messages and connections).

    request:  BODY ----> DONE          answer:  WAITING ----> STREAMING ----> DONE

Both start together with the request's head; the answer may be DONE before the request is.
"""

from __future__ import annotations

import enum
from typing import Final

MAX_STALE_RETRIES: Final = 1
"""How often a request may be repeated because a kept connection had died under it."""
MAX_SERVERS_TRIED: Final = 5
"""How many servers one request may try to reach."""


class Answer(enum.Enum):
    """How far the answer has come."""

    WAITING = 0
    STREAMING = 1
    DONE = 2


class Loss(enum.Enum):
    """What a lost server connection means for the client."""

    COMPLETE = "its end was the end of the answer"
    RETRY = "send the same request again"
    REFUSE = "answer 502"
    CUT = "the answer cannot be finished: cut the client's connection visibly"


class Exchange:
    """The state of one exchange; one object per client connection, begun anew for each request.

    request_done: the request's last byte was read. body_sent: some of its body left for a server.
    """

    __slots__ = (
        "answer",
        "body_sent",
        "client_keeps",
        "dials",
        "idempotent",
        "request_done",
        "server_keeps",
        "stale_retries",
        "until_close",
    )

    def __init__(self) -> None:
        self.begin(client_keeps=True, idempotent=True, has_body=False)

    def begin(self, *, client_keeps: bool, idempotent: bool, has_body: bool) -> None:
        """A request's head was read."""
        self.answer = Answer.WAITING
        self.client_keeps = client_keeps
        self.idempotent = idempotent
        self.request_done = not has_body
        self.body_sent = False
        self.server_keeps = True
        self.until_close = False
        self.dials = 0
        self.stale_retries = 0

    def on_answer(self, *, server_keeps: bool, until_close: bool) -> None:
        """The final answer's head was read."""
        self.answer = Answer.STREAMING
        self.server_keeps = server_keeps and not until_close
        self.until_close = until_close

    def on_fallback(self) -> None:
        """Another service gets the request, before anything was answered."""
        self.body_sent = False
        self.dials = 0
        self.stale_retries = 0

    def on_dial_failed(self) -> bool:
        """Whether another server may be tried: nothing was sent, so the method does not matter."""
        self.dials += 1
        return self.dials < MAX_SERVERS_TRIED

    def on_loss(self, *, clean: bool, reused: bool) -> Loss:
        """The server's connection ended. clean: by FIN. reused: it had served an exchange before this one."""
        if self.answer is not Answer.WAITING:
            return Loss.COMPLETE if self.until_close and clean else Loss.CUT
        if reused and self.idempotent and not self.body_sent and self.stale_retries < MAX_STALE_RETRIES:
            self.stale_retries += 1
            return Loss.RETRY
        return Loss.REFUSE

    @property
    def keeps_server(self) -> bool:
        """Whether the server's connection may serve another exchange, once the answer is done."""
        return self.server_keeps and self.request_done

    @property
    def keeps_client(self) -> bool:
        """Whether the client's connection may carry another request, once the answer is done.

        A request whose body was not read to its end leaves bytes nobody can place: the connection must go.
        """
        return self.client_keeps and self.request_done
