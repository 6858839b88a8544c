"""How TCP servers are reached, and what a conversation with them may take: transport and load balancer, made one.

What lives here: `Reach`, one per load balancer. What must not: clocks, sockets, TLS contexts; the proxy has those.
Built by `build.py`, read once per connection. Specified in docs/reference.md ("TCP services").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from streamlb.config.tls import ClientTls
from streamlb.runtime.limits import ANY_TIME

if TYPE_CHECKING:
    from streamlb.config.model import LoadBalancer
    from streamlb.config.static import TcpServersTransport


DEFAULT_KEEP_ALIVE: Final = 15.0
"""Seconds that 0 stands for, as in Traefik."""


class Reach(NamedTuple):
    """Seconds, `ANY_TIME` where there is no limit.

    dial: to connect and, over TLS, to shake hands; 0 leaves it to the kernel. keep_alive: of silence before the kernel
    asks whether the server is there; negative is never.
    half_closed: of silence once one side has ended; idle: of silence before.
    proxy_version: of the PROXY header that connections begin with, 0 is none. tls: how, where a server wants TLS.
    """

    dial: float = 30.0
    keep_alive: float = DEFAULT_KEEP_ALIVE
    half_closed: float = ANY_TIME
    idle: float = ANY_TIME
    proxy_version: int = 0
    tls: ClientTls = ClientTls()


def reach_of(transport: TcpServersTransport, balancer: LoadBalancer) -> Reach:
    """What a transport says, where the load balancer does not in Traefik's older words."""
    half_closed = transport.termination_delay
    if balancer.termination_delay is not None:
        half_closed = balancer.termination_delay / 1000
    proxy = balancer.proxy_protocol or transport.proxy_protocol
    return Reach(
        dial=transport.dial_timeout,
        keep_alive=transport.dial_keep_alive or DEFAULT_KEEP_ALIVE,
        half_closed=half_closed if half_closed >= 0 else ANY_TIME,
        idle=balancer.idle_timeout or ANY_TIME,
        proxy_version=proxy.version if proxy is not None else 0,
        tls=transport.tls or ClientTls(),
    )
