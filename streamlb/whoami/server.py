"""The example server as a process: listen, say so, answer until told to stop.

What lives here: `serve`, the body of `streamlb whoami`, and the loop it runs on.
What must not: anything of the proxy. What the demo and many tests talk to.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from streamlb.whoami.echo import TcpEcho, UdpEcho
from streamlb.whoami.http import HttpConversation
from streamlb.whoami.identity import Address, Identity

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG = 1024


def serve(addresses: Sequence[Address], identity: Identity) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        try:
            return runner.run(_serve(addresses, identity))
        except KeyboardInterrupt:
            return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    if os.environ.get("STREAMLB_LOOP") == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _serve(addresses: Sequence[Address], identity: Identity) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for address in addresses:
        try:
            port = await _listen(loop, address, identity)
        except OSError as error:
            print(f"whoami: cannot listen on {address}: {_reason(error)}", file=sys.stderr)
            return 1
        print(f"{identity.name} listening on {Address(address.host, port, address.kind)}", flush=True)
    print(f"{identity.name} ready", flush=True)
    await stop.wait()
    return 0


async def _listen(loop: asyncio.AbstractEventLoop, address: Address, identity: Identity) -> int:
    """Listen; return the port, which the kernel chose if 0 was asked for."""
    endpoint: Any
    if address.kind == "udp":
        where = (address.host or "0.0.0.0", address.port)
        endpoint, _ = await loop.create_datagram_endpoint(lambda: UdpEcho(identity), local_addr=where)
        name = endpoint.get_extra_info("sockname")
    else:
        protocol: type[TcpEcho | HttpConversation] = TcpEcho if address.kind == "tcp" else HttpConversation
        endpoint = await loop.create_server(lambda: protocol(identity), address.host, address.port, backlog=BACKLOG)
        name = endpoint.sockets[0].getsockname()
    return int(name[1])


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the address is already in use"
    return error.strerror or str(error)
