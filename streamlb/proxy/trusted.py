"""Whose word about a client is taken: that of the proxies an entry point trusts.

What lives here: `Trusted`, for forwarding fields and PROXY headers alike. What must not: reading either.
Asked by `http.py` and `door.py`. Specified by Traefik's `trustedIPs` and `insecure` of entry points.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlb.config.static import ForwardedHeaders
    from streamlb.config.tls import AcceptedProxyProtocol
    from streamlb.net.address import IPAddress


class Trusted:
    """The peers that are believed; without options there are none."""

    __slots__ = ("_is_everybody", "_networks")

    def __init__(self, options: ForwardedHeaders | AcceptedProxyProtocol | None) -> None:
        self._is_everybody = options is not None and options.insecure
        texts = options.trusted_ips if options is not None else ()
        self._networks = tuple(ip_network(text, strict=False) for text in texts)

    def covers(self, peer: IPAddress | str) -> bool:
        """Whether a peer, by its address, is believed."""
        if self._is_everybody or not self._networks:
            return self._is_everybody
        address = ip_address(peer) if isinstance(peer, str) else peer
        return any(address in network for network in self._networks)
