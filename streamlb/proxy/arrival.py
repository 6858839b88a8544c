"""A connection that has come in: who it is from, and what it has said before anybody served it.

What lives here: `Arrival`, made once per accepted connection. What must not: reading it off the socket (`door.py`).
Routed by `routing/router.py`, carried by `tcp.py` for whoever wants to know of the client.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any

from streamlb.net.address import client_of

if TYPE_CHECKING:
    from streamlb.net.address import IPAddress
    from streamlb.wire.proxy_protocol import Endpoint


class Arrival:
    """client, port: where the connection comes from, as a trusted PROXY header says or else the kernel. text: the same
    address as text.

    destination: what the client connected to, by that header; None is the address it was accepted at.
    host: the server name of its ClientHello, empty for none. protocols: its ALPN. is_tls: whether there was one.
    is_postgres: it asked for TLS in PostgreSQL's way, and was told to go ahead.
    """

    __slots__ = ("client", "destination", "host", "is_postgres", "is_tls", "port", "protocols", "text")

    def __init__(self, peer: Any) -> None:
        # connection
        self.client: IPAddress
        self.client, self.text = client_of(peer[0])
        self.port: int = peer[1]
        self.destination: Endpoint | None = None
        self.host = b""
        self.protocols: tuple[bytes, ...] = ()
        self.is_tls = False
        self.is_postgres = False

    @property
    def source(self) -> Endpoint:
        return self.client, self.port

    def speak_for(self, source: Endpoint, destination: Endpoint | None) -> None:
        """Take a proxy's word for who its client is, and what that one connected to."""
        client, self.port = source
        self.client = (client.ipv4_mapped or client) if isinstance(client, IPv6Address) else client
        self.text = str(self.client)
        self.destination = destination
