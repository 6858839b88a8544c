"""Which certificate a client is shown, by the name it asks for.

What lives here: `Certificates`, an index over those of the configuration. What must not: reading them, OpenSSL, clocks.
Built with each `Runtime`, asked by `proxy`.
Specified by Traefik's page on certificates (exact names before wildcards, then the default) and RFC 6125 section 6.4.3
(a wildcard stands for one label).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.config.tls import DEFAULT_OPTIONS
from streamlb.routing.matchers import wildcard_of

if TYPE_CHECKING:
    from streamlb.config.tls import ServedCertificate, Tls

Chosen = tuple["ServedCertificate", ...]


class Certificates:
    """The certificates of a configuration. Those that fit equally well are chosen together: an RSA and an ECDSA one.

    universal: those that everybody is shown, whatever name it asks for; `()` if that makes a difference.
    """

    __slots__ = ("_by_name", "_default", "universal")

    def __init__(self, tls: Tls) -> None:
        by_name: dict[bytes, list[ServedCertificate]] = {}
        store = tls.stores.get(DEFAULT_OPTIONS)
        default = store.default_certificate if store is not None else None
        for certificate in [*tls.certificates, *([default] if default is not None else [])]:
            for name in dict.fromkeys(certificate.names):
                by_name.setdefault(name.encode(), []).append(certificate)
        # Of two with keys of the same kind OpenSSL shows the last one: that is the one that ends last.
        self._by_name = {name: tuple(sorted(found, key=_end)) for name, found in by_name.items()}
        self._default: Chosen = (default,) if default is not None else tuple(tls.certificates[:1])
        self.universal = self._default if all(found == self._default for found in self._by_name.values()) else ()

    def find(self, server_name: bytes) -> Chosen | None:
        """Those that are good for a name (lower case, no trailing dot), None if there is none."""
        return self._by_name.get(server_name) or self._by_name.get(wildcard_of(server_name))

    def choose(self, server_name: bytes) -> Chosen:
        """Those to show to a client that asks for a name, which may be empty; `()` if there is none at all."""
        return self.find(server_name) or self._default


def _end(certificate: ServedCertificate) -> float:
    return certificate.expires_at
