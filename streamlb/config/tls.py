"""TLS and the PROXY protocol in the model: certificates, options, stores, and who says TLS to whom.

What lives here: dataclasses with Traefik's names, their defaults and ranges. What must not: validation, file access,
cryptography, heavy imports. Others import these names from `config/model.py`.
Specified by Traefik's TLS reference pages (certificates, options, stores) and those of entry points and transports.

Wherever a certificate or a key is named, YAML holds a path or PEM text, and the model holds PEM text once the check
has read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from streamlb.config.naming import SETTINGS, Derived

TlsVersion = Literal["VersionTLS12", "VersionTLS13"]
"""Older ones are broken (RFC 8996), and OpenSSL no longer speaks them unless it is talked into it."""

Trust = tuple[tuple[str, ...], tuple[tuple[str, str], ...], bool, str, str, tuple[str, ...]]
"""Authorities, certificates shown, whether the server's is verified, lowest and highest version, cipher suites."""

DEFAULT_OPTIONS = "default"
"""The name of the options that hold where nobody names others, and of the only certificate store."""


@dataclass(slots=True, kw_only=True)
class Certificate:
    """A certificate chain and its key."""

    cert_file: str
    key_file: str = field(repr=False)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class ServedCertificate(Certificate):
    """A certificate shown to clients.

    stores: only `default` exists. names: the hosts it is good for, lower case, wildcards with their star.
    expires_at: the end of its validity, in seconds since 1970.
    """

    stores: list[str] = field(default_factory=list)
    names: Annotated[list[str], Derived()] = field(default_factory=list)
    expires_at: Annotated[float, Derived()] = 0.0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Store:
    default_certificate: ServedCertificate | None = None

    __pydantic_config__ = SETTINGS


ClientAuthType = Literal[
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
]


@dataclass(slots=True, kw_only=True)
class ClientAuth:
    """Whether clients show certificates, and whom these must be signed by (paths or PEM text).

    client_auth_type: without one, to name authorities is to ask for a certificate that they have signed, as in Traefik.
    """

    ca_files: list[str] = field(default_factory=list)
    client_auth_type: ClientAuthType | None = None

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class TlsOptions:
    """What a handshake with a client must be like.

    cipher_suites: Go's names, those of TLS 1.2 and below. alpn_protocols: empty is `http/1.1` for HTTP routers.
    prefer_server_cipher_suites: taken for Traefik's sake and without effect, as there.
    """

    min_version: TlsVersion = "VersionTLS12"
    max_version: TlsVersion = "VersionTLS13"
    cipher_suites: list[str] = field(default_factory=list)
    curve_preferences: list[str] = field(default_factory=list)
    sni_strict: bool = False
    alpn_protocols: list[str] = field(default_factory=list)
    client_auth: ClientAuth = field(default_factory=ClientAuth)
    disable_session_tickets: bool = False
    prefer_server_cipher_suites: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Tls:
    """`tls` at the root."""

    certificates: list[ServedCertificate] = field(default_factory=list)
    options: dict[str, TlsOptions] = field(default_factory=dict)
    stores: dict[str, Store] = field(default_factory=dict)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class RouterTls:
    """`tls` of a router: its presence makes the router one for TLS only.

    options: a name under `tls.options`, empty for `default`. passthrough: TCP routers only, hand the bytes on as they
    are instead of ending TLS here.
    """

    options: str = ""
    passthrough: bool = False

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class EntryPointTls:
    """`http.tls` of an entry point: every HTTP router there is one for TLS, with these options unless it says so."""

    options: str = ""

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class RedirectEntryPoint:
    """Send every HTTP request of an entry point elsewhere. `to`: the name of an entry point, or `:port`.

    priority: of the router that does so; 0 is Traefik's, above all that a configuration may say.
    """

    to: str
    scheme: Literal["https", "http"] = "https"
    permanent: bool = True
    priority: int = 0

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class Redirections:
    entry_point: RedirectEntryPoint

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class AcceptedProxyProtocol:
    """Whose PROXY headers are believed; from anybody else one is read and dropped. Without this it is data."""

    insecure: bool = False
    trusted_ips: list[str] = field(default_factory=list)

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class SentProxyProtocol:
    """The PROXY header to begin connections to servers with."""

    version: Annotated[int, Ge(1), Le(2)] = 2

    __pydantic_config__ = SETTINGS


@dataclass(slots=True, kw_only=True)
class ClientTls:
    """TLS towards servers: the name their certificate must have (empty: that of their address), who may have signed it
    (paths or PEM text, as in `Certificate`; none: whom the system trusts), and what certificates we show when asked.
    """

    server_name: str = ""
    root_cas: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    insecure_skip_verify: bool = False
    min_version: TlsVersion = "VersionTLS12"
    max_version: TlsVersion = "VersionTLS13"

    __pydantic_config__ = SETTINGS

    @property
    def trust(self) -> Trust:
        """What a TLS context for these servers is made of."""
        return self._trust(())

    def _trust(self, suites: tuple[str, ...]) -> Trust:
        shown = tuple((certificate.cert_file, certificate.key_file) for certificate in self.certificates)
        verified = not self.insecure_skip_verify
        return tuple(self.root_cas), shown, verified, self.min_version, self.max_version, suites
