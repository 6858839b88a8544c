"""How TLS with a client is ended here: the context for the name it asks for and the options that hold there.

What lives here: `Contexts`, one per entry point. What must not: OpenSSL (`net/tls.py`), whose connection it is.
Asked by `newcomer.py`, with what the ClientHello said, before there is any TLS object.
Specified by RFC 6066 section 3 (names), RFC 7301 section 3.2 (protocols), Traefik's `sniStrict`.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from streamlb.net.tls import PemError, server_context
from streamlb.observe.throttle import Throttle

if TYPE_CHECKING:
    import asyncio
    import ssl

    from streamlb.config.tls import TlsOptions
    from streamlb.proxy.arrival import Arrival
    from streamlb.runtime.certificates import Chosen
    from streamlb.runtime.snapshot import Runtime, World

log = logging.getLogger(__name__)

HTTP_PROTOCOLS: Final = ("http/1.1", "http/1.0")
"""What an HTTP router's client may agree on with us."""
INTERNAL_ERROR: Final = 80
UNRECOGNIZED_NAME: Final = 112
NO_APPLICATION_PROTOCOL: Final = 120
LOG_INTERVAL: Final = 60.0


class Unserved(NamedTuple):
    """Why there is no context. alert: what the client is told, in TLS's numbers."""

    reason: str
    alert: int


class Universal(NamedTuple):
    """What every HTTPS client gets. options: their name."""

    context: ssl.SSLContext
    options: str


class Contexts:
    """The contexts of one entry point, by certificates and options; made anew for each configuration.

    What costs, OpenSSL's own, is kept beyond that by `server_context`.
    """

    __slots__ = ("_found", "_loop", "_name", "_runtime", "_throttle", "_universal", "_world")

    def __init__(self, world: World, name: str, loop: asyncio.AbstractEventLoop) -> None:
        # process
        self._world = world
        self._name = name
        self._loop = loop
        self._throttle = Throttle(LOG_INTERVAL)
        # snapshot
        self._runtime: Runtime | None = None
        self._found: dict[tuple[str, bool, tuple[int, ...]], ssl.SSLContext] = {}
        self._universal: Universal | None = None

    def universal(self) -> Universal | None:
        """What every TLS client gets, whatever its ClientHello says; None where that makes a difference. Hot.

        Where it speaks no HTTP/1.1, that makes one in any case.
        """
        if self._world.runtime is not self._runtime:
            self._renew()
        return self._universal

    def _renew(self) -> None:
        """There is a new configuration."""
        runtime = self._runtime = self._world.runtime
        self._found.clear()
        self._universal = None
        table, certificates = runtime.entry_points[self._name], runtime.certificates.universal
        name = table.plan.universal
        if table.https is None or table.tcp_tls is not None or name is None or not certificates:
            return
        options = runtime.tls_options(name)
        if options is None or options.sni_strict or HTTP_PROTOCOLS[0] not in _protocols(options):
            return
        made = self._make(certificates, options, is_http=True)
        if not isinstance(made, Unserved):
            self._universal = Universal(made, name)

    def find(self, arrival: Arrival, name: str, *, is_http: bool) -> ssl.SSLContext | Unserved:
        """The context for a connection whose router wants the TLS options `name`."""
        runtime = self._world.runtime
        if runtime is not self._runtime:
            self._renew()
        options = runtime.tls_options(name)
        if options is None:
            return self._complain(f"there are no TLS options `{name}`")
        certificates = runtime.certificates.find(arrival.host)
        if certificates is None:
            if options.sni_strict:
                return Unserved("there is no certificate for the name it asks for", UNRECOGNIZED_NAME)
            certificates = runtime.certificates.choose(arrival.host)
        if (
            is_http
            and arrival.protocols
            and not any(each.encode() in arrival.protocols for each in _protocols(options))
        ):
            return Unserved("it speaks no HTTP/1.1", NO_APPLICATION_PROTOCOL)
        key = (name, is_http, tuple(map(id, certificates)))
        found = self._found.get(key)
        if found is None:
            made = self._make(certificates, options, is_http=is_http)
            if isinstance(made, Unserved):
                return made
            found = self._found[key] = made
        return found

    def _make(self, certificates: Chosen, options: TlsOptions, *, is_http: bool) -> ssl.SSLContext | Unserved:
        if not certificates:
            return self._complain("there is no certificate to show")
        # Of two with the same kind of key OpenSSL keeps the last.
        pairs = tuple((each.cert_file, each.key_file) for each in reversed(certificates))
        if is_http:
            options = dataclasses.replace(options, alpn_protocols=list(_protocols(options)))
        try:
            return server_context(pairs, options)
        except (PemError, OSError) as error:
            return self._complain(f"a certificate cannot be used: {error}")

    def _complain(self, reason: str) -> Unserved:
        if self._throttle.admit(reason, self._loop.time()):
            log.error("entry point %s: no TLS: %s", self._name, reason)
        return Unserved(reason, INTERNAL_ERROR)


def _protocols(options: TlsOptions) -> tuple[str, ...]:
    """What HTTP clients may choose from: of the protocols wanted those that we speak."""
    return tuple(each for each in options.alpn_protocols if each in HTTP_PROTOCOLS) or HTTP_PROTOCOLS[:1]
