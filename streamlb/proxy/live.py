"""What a worker has in flight, and how it comes to an end.

What lives here: the set of live conversations of one worker and the drain over it.
What must not: protocol knowledge. Used by `proxy/tcp.py`, `udp.py`, `http.py`, and by `process/worker.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


LAST_CALL: Final = 0.75
"""Seconds that a client gets, once the end is near, to say what it may have been about to say: a connection that is
closed while a request is on its way looks to the client as if it had failed."""


class Conversation(Protocol):
    """A client's connection, or all flows of a UDP listener."""

    def drain(self) -> None:
        """Finish what is in flight and end; an idle one has `LAST_CALL`. May be called more than once."""

    def abort(self) -> None:
        """End now."""


class Live:
    """The live conversations of one worker. `on_left`: called whenever one has ended."""

    __slots__ = ("_conversations", "_empty", "draining", "on_left")

    def __init__(self) -> None:
        self._conversations: set[Conversation] = set()
        self._empty: asyncio.Future[None] | None = None
        self.draining = False
        self.on_left: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._conversations)

    def __iter__(self) -> Iterator[Conversation]:
        """Those that are live now; whatever happens meanwhile."""
        return iter([*self._conversations])

    def add(self, conversation: Conversation) -> None:
        self._conversations.add(conversation)
        if self.draining:
            conversation.drain()

    def discard(self, conversation: Conversation) -> None:
        self._conversations.discard(conversation)
        if self.on_left is not None:
            self.on_left()
        if not self._conversations and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def drain(self) -> None:
        self.draining = True
        for conversation in list(self._conversations):
            conversation.drain()

    def abort(self) -> None:
        for conversation in list(self._conversations):
            conversation.abort()

    async def wait_empty(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until nothing is in flight; whether that was reached."""
        if not self._conversations:
            return True
        self._empty = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._empty, timeout)
        except TimeoutError:
            return False
        return True
