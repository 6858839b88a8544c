"""What a worker says when the control process asks: its servers, its entry points, what it has in flight.

What lives here: `Answers`. What must not: the shapes of what is said (`loads.py`), what a person makes of it
(`views.py`), what a conversation knows of itself (`proxy/inspection.py`). Owned by `process/worker.py`.

A worker goes on serving while it answers: it says a little at a time, and lets others have their turn in between.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import msgspec

from streamlb.net.tasks import spawn
from streamlb.process.channel import Told
from streamlb.process.loads import EntryPointLoad, ServerLoad
from streamlb.proxy.inspection import describe
from streamlb.proxy.pool import Pool
from streamlb.proxy.udp import UdpEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlb.balance.selection import Server, ServerState
    from streamlb.balance.tree import Balancer
    from streamlb.health.verdicts import Verdicts
    from streamlb.process.channel import Ask
    from streamlb.process.serving import Serving
    from streamlb.runtime.registry import Registry
    from streamlb.runtime.snapshot import World

SLICE = 0.002
"""Seconds after which the others have their turn."""

encode = msgspec.json.Encoder().encode


class Answers:
    """Answers the questions of one worker's control process; what is none is answered with nothing."""

    def __init__(
        self,
        send: Callable[[Told], None],
        world: Callable[[], World | None],
        registry: Registry,
        verdicts: Verdicts,
        servings: Callable[[], list[Serving]],
    ) -> None:
        # process
        self._send = send
        self._world = world
        self._registry = registry
        self._verdicts = verdicts
        self._servings = servings
        self._known: dict[str, Callable[[], Iterator[Any]]] = {
            "servers": self._servers,
            "entryPoints": self._entry_points,
            "conversations": self._conversations,
        }

    def on_ask(self, question: Ask) -> None:
        rows = self._known.get(question.what)
        if rows is None:
            self._send(Told(question.number, None))
        else:
            spawn(self._answer(question, rows()), f"answer about {question.what}")

    async def _answer(self, question: Ask, rows: Iterator[Any]) -> None:
        pieces: list[bytes] = []
        began_at = time.perf_counter()
        try:
            for row in rows:
                pieces.append(encode(row))
                if question.limit and len(pieces) >= question.limit:
                    break
                if time.perf_counter() - began_at > SLICE:
                    await asyncio.sleep(0)
                    began_at = time.perf_counter()
            body: bytes | None = b"[" + b",".join(pieces) + b"]"
        except BaseException:
            self._send(Told(question.number, None))
            raise
        self._send(Told(question.number, body))

    # --- what there is to say ------------------------------------------------------------------------------------

    def _servers(self) -> Iterator[ServerLoad]:
        world = self._world()
        if world is None:
            return
        runtime = world.runtime
        for (protocol, name), node in runtime.services.items():
            if runtime.config.section(protocol).services[name].load_balancer is None:
                continue
            # A load balancer's children are servers.
            balancer = cast("Balancer", node)
            waiting = len(balancer.queue) if balancer.queue is not None else 0
            for child in balancer.children:
                server = cast("Server", child.node)
                ejected = self._verdicts.is_ejected((protocol, name, server.name))
                yield _load(protocol, name, server.name, server.state, ejected, waiting)
        for (protocol, name, parked), state in [*self._registry.parked.items()]:
            yield _load(protocol, name, parked, state, False, 0)

    def _entry_points(self) -> Iterator[EntryPointLoad]:
        for serving in self._servings():
            live = serving.live
            active = sum(len(each) for each in live if isinstance(each, UdpEntry)) if serving.is_udp else len(live)
            yield EntryPointLoad(serving.name, active)

    def _conversations(self) -> Iterator[Any]:
        loop = asyncio.get_running_loop()
        for serving in self._servings():
            for conversation in serving.live:
                yield from describe(conversation, serving.name, loop.time())


def _load(protocol: str, service: str, server: str, state: ServerState, ejected: bool, waiting: int) -> ServerLoad:
    idle = state.pool.idle if isinstance(state.pool, Pool) else 0
    return ServerLoad(
        protocol, service, server, state.up, state.active, state.total, state.failures, idle, ejected, waiting
    )
