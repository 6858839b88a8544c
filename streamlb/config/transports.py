"""How servers are reached: what must hold for transports beyond the types of their options, and their files.

What lives here: reading certificates and keys into the model, versions in order, references to transports.
What must not: cryptography; whoever may import it hands in a check for PEM text (`CheckPem`).
Called by `check.py` with everything the providers gave. Specified by Traefik's ServersTransport page.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlb.config.address import is_host
from streamlb.config.load import read_bytes
from streamlb.config.model import FILE_PROVIDER, provider_of, qualify
from streamlb.config.near import nearest
from streamlb.config.tree import problem_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlb.config.model import Config
    from streamlb.config.reading import Path, Reading
    from streamlb.config.static import ServersTransport, TcpServersTransport
    from streamlb.config.tls import Certificate, ClientTls, TlsOptions
    from streamlb.errors import Problem

MARK = "-----BEGIN "
"""What PEM text holds and a path does not (RFC 7468)."""


@dataclass(frozen=True, slots=True)
class PemFault:
    """What is wrong with a certificate or, `of_key`, with its key."""

    reason: str
    of_key: bool = False


CheckPem = Callable[[str, str], PemFault | None]
"""`(certificates, key)` to what is wrong with them; without a key the certificates are authorities."""

CheckCiphers = Callable[["Sequence[str]"], "list[tuple[int, str, str]]"]
"""`cipherSuites` to what is wrong with them: the index of a name, the reason, a suggestion."""


def check(config: Config, files: Files, reading: Reading, check_ciphers: CheckCiphers | None) -> None:
    """Check all transports and replace their paths by what the files hold."""
    http: list[tuple[Path, ServersTransport]] = [(("serversTransport",), config.servers_transport)]
    http += [(("http", "serversTransports", name), each) for name, each in config.http.servers_transports.items()]
    for path, transport in http:
        _check_tls(path, transport, files, reading)
        if check_ciphers is not None and not reading.is_broken((*path, "cipherSuites")):
            for index, reason, suggestion in check_ciphers(transport.cipher_suites):
                reading.error((*path, "cipherSuites", index), reason, suggestion)
    tcp: list[tuple[Path, TcpServersTransport]] = [(("tcpServersTransport",), config.tcp_servers_transport)]
    tcp += [(("tcp", "serversTransports", name), each) for name, each in config.tcp.servers_transports.items()]
    for path, other in tcp:
        if other.tls is not None:
            _check_tls((*path, "tls"), other.tls, files, reading)
    for protocol in ("http", "tcp"):
        for name in _transports(protocol, config):
            reading.check_own_name((protocol, "serversTransports", name))
    _check_references(config, reading)


def check_versions(path: Path, tls: ClientTls | TlsOptions, reading: Reading) -> None:
    if tls.min_version > tls.max_version:
        low = (*path, "minVersion")
        where = low if reading.has(low) else (*path, "maxVersion")
        reading.error(where, f"minVersion {tls.min_version} is above maxVersion {tls.max_version}")


def _check_tls(path: Path, transport: ClientTls, files: Files, reading: Reading) -> None:
    if reading.is_broken(path):
        return
    name = transport.server_name
    if name and not is_host(name):
        reading.error((*path, "serverName"), f"`{name}` is not the name of a host")
    check_versions(path, transport, reading)
    for index in range(len(transport.root_cas)):
        transport.root_cas[index] = files.authorities(transport.root_cas[index], (*path, "rootCAs", index))
    for index, certificate in enumerate(transport.certificates):
        read_pair((*path, "certificates", index), certificate, files)
    if transport.insecure_skip_verify and transport.root_cas:
        reason = "with `insecureSkipVerify` any certificate will do: the `rootCAs` are not asked"
        reading.note((*path, "insecureSkipVerify"), reason)


def read_pair(path: Path, certificate: Certificate, files: Files) -> None:
    """Replace the paths of a certificate and its key by what the files hold."""
    at_cert, at_key = (*path, "certFile"), (*path, "keyFile")
    certificate.cert_file = files.read(certificate.cert_file, at_cert)
    certificate.key_file = files.read(certificate.key_file, at_key)
    if certificate.cert_file and certificate.key_file:
        pair = files.pair(certificate.cert_file, certificate.key_file, at_cert, at_key)
        certificate.cert_file, certificate.key_file = pair


class Files:
    """Reads what the configuration names, by path, which begins where it was written, or as text, and has it judged.

    sources: where in the configuration what came from which file.
    spared: files that are not good any more, by path, and why; what they held before (`fallback`) is used.
    """

    def __init__(
        self,
        files: list[str],
        reading: Reading,
        check_pem: CheckPem | None,
        fallback: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._reading = reading
        self._check_pem = check_pem
        self._fallback = fallback or {}
        self.sources: dict[Path, str] = {}
        self.spared: dict[str, Problem] = {}

    def read(self, written: str, where: Path) -> str:
        """The PEM text meant by `written`; empty after an error."""
        reading = self._reading
        if MARK in written or reading.is_broken(where):
            return written
        if not written:
            reading.error(where, "the path of a file, or the PEM text itself, is missing")
            return ""
        path = os.path.join(os.path.dirname(reading.place(where).node.source.name), written)
        try:
            text = read_bytes(path).decode("ascii", "replace")
            fault = "" if MARK in text else f"`{path}` is not PEM text (`{MARK}...`)"
        except OSError as error:
            text, fault = "", f"cannot read `{path}`: {error.strerror or error}"
        if fault:
            text = self._fallback.get(path, "")
            if not text:
                reading.error(where, fault)
                return ""
            self._spare(path, where, fault)
        if path not in self._files:
            self._files.append(path)
        self.sources[where] = path
        return text

    def pair(self, certificates: str, key: str, at_certificates: Path, at_key: Path) -> tuple[str, str]:
        """A certificate and its key, or what their files held when they fitted together."""
        fault = self._fault(certificates, key, at_certificates)
        if fault is None:
            return certificates, key
        where = at_key if fault.of_key else at_certificates
        before = self._before(at_certificates, certificates), self._before(at_key, key)
        if before != (certificates, key) and self._fault(*before, at_certificates) is None:
            self._spare(self.sources.get(where, ""), where, fault.reason)
            return before
        self._reading.error(where, fault.reason)
        return certificates, key

    def authorities(self, written: str, where: Path) -> str:
        """The certificates of authorities meant by `written`, or what their file held when it was good."""
        text = self.read(written, where)
        fault = self._fault(text, "", where)
        if fault is None:
            return text
        before = self._before(where, text)
        if before != text and self._fault(before, "", where) is None:
            self._spare(self.sources.get(where, ""), where, fault.reason)
            return before
        self._reading.error(where, fault.reason)
        return text

    def _fault(self, certificates: str, key: str, where: Path) -> PemFault | None:
        if self._check_pem is None or not certificates or self._reading.is_broken(where):
            return None
        return self._check_pem(certificates, key)

    def _before(self, where: Path, text: str) -> str:
        return self._fallback.get(self.sources.get(where, ""), text)

    def _spare(self, path: str, where: Path, reason: str) -> None:
        place = self._reading.place(where)
        advice = "what was read before stays in use"
        self.spared[path] = problem_at(place.node, place.label, reason, advice)


# --- references --------------------------------------------------------------------------------------------------


def _transports(protocol: str, config: Config) -> Mapping[str, object]:
    return config.http.servers_transports if protocol == "http" else config.tcp.servers_transports


def _check_references(config: Config, reading: Reading) -> None:
    for protocol in ("http", "tcp"):
        known = _transports(protocol, config)
        for name, service in config.section(protocol).services.items():
            path: Path = (protocol, "services", name, "loadBalancer", "serversTransport")
            balancer = service.load_balancer
            if balancer is None or reading.is_broken(path) or not reading.has(path):
                continue
            wanted = qualify(balancer.servers_transport, name)
            if reading.is_broken((protocol, "serversTransports")) or wanted in known:
                continue
            if balancer.servers_transport == "default@internal":
                balancer.servers_transport = ""
                continue
            guess = nearest(wanted, known) if provider_of(wanted) == FILE_PROVIDER else ""
            suggestion = f"did you mean `{guess}`?" if guess else f"define it under `{protocol}.serversTransports`"
            reading.error(path, f"unknown transport `{balancer.servers_transport}`", suggestion)
