"""TLS towards servers and clients: contexts, the reasons of failed handshakes, the judging of PEM text.

What lives here: everything that knows OpenSSL. What must not: which server needs what (`proxy/pool.py`), which client
gets what (`runtime/certificates.py`), connections (`secure.py`), files.
Called by `proxy`, `health` and, for the check of a configuration, by `process/configuration.py`.
Specified by RFC 8446, RFC 9110 section 4.3.4 (whose certificate is right), the `ssl` module.
"""

from __future__ import annotations

import functools
import os
import ssl
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from streamlb.errors import Retry, StreamlbError, UpstreamError
from streamlb.net.tls_names import CURVES, UNHONOURED, client_auth, openssl_ciphers

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}

MAX_CONTEXTS = 256
"""Contexts remembered; transports beyond it pay for theirs again with each new pool."""

TICKETS: Final = 1
"""Sessions a client of TLS 1.3 gets to come back with, as in Go. Each costs a tenth of a handshake; a client that comes
back gets another one."""
PRIORITIZE_CHACHA: Final = 1 << 21
"""SSL_OP_PRIORITIZE_CHACHA, which `ssl` has no name for: who puts ChaCha20 first has no AES in hardware."""

REASONS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
    "HTTP_REQUEST": "the server does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "the server does not speak TLS",
    "RECORD_LAYER_FAILURE": "the server does not speak TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the connection was closed during the TLS handshake",
}
"""OpenSSL's names for what an operator knows by another name."""


WEAK = {
    "EE_KEY_TOO_SMALL": "its key is too short to be safe",
    "CA_KEY_TOO_SMALL": "the key of an authority in its chain is too short to be safe",
    "CA_MD_TOO_WEAK": "it is signed with a hash that is no longer safe",
}
"""OpenSSL's names for certificates that it refuses to show."""

CLIENT_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "HTTP_REQUEST": "it speaks plain HTTP",
    "PACKET_LENGTH_TOO_LONG": "it does not speak TLS",
    "RECORD_LAYER_FAILURE": "it does not speak TLS",
    "UNSUPPORTED_PROTOCOL": "it speaks only versions of TLS that are not served",
    "NO_SHARED_CIPHER": "it has no cipher suite in common with us",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not trust the certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not trust the certificate",
}
"""The same for what clients do."""


class Truncated(ConnectionError):
    """A TLS connection ended without the goodbye that tells an end from a cut."""

    def __init__(self) -> None:
        super().__init__("connection closed without a TLS goodbye")


class PemError(StreamlbError):
    """PEM text that cannot be used. of_key: the fault is the key's, not the certificate's."""

    def __init__(self, reason: str, *, of_key: bool = False) -> None:
        self.reason = reason
        self.of_key = of_key
        super().__init__(reason)


@functools.lru_cache(maxsize=MAX_CONTEXTS)
def client_context(
    authorities: tuple[str, ...],
    certificates: tuple[tuple[str, str], ...],
    is_verified: bool,
    minimum: str,
    maximum: str,
    ciphers: tuple[str, ...] = (),
    protocols: tuple[str, ...] = ("http/1.1",),
) -> ssl.SSLContext:
    """The context of connections to servers; everything is PEM text. Raises PemError.

    authorities: whom to trust; empty for whom the system trusts. certificates: chains and keys to show when asked.
    ciphers: Go's names of those of TLS 1.2, empty for all that are good. protocols: what ALPN offers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = VERSIONS[minimum]
    context.maximum_version = VERSIONS[maximum]
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if known := openssl_ciphers(ciphers):
        context.set_ciphers(known)
    if not is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authorities:
        # A certificate that the operator names is trusted as it is, whether it signed itself or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        for text in authorities:
            _load_authorities(context, text)
    else:
        context.load_default_certs()
    for certificate, key in certificates:
        _load_pair(context, certificate, key)
    return context


# --- towards clients -----------------------------------------------------------------------------------------------


class ClientAuth(Protocol):
    """As in the model: `ca_files` hold PEM text."""

    @property
    def ca_files(self) -> Sequence[str]: ...
    @property
    def client_auth_type(self) -> str | None: ...


class Options(Protocol):
    """What of the model's `TlsOptions` a context depends on."""

    @property
    def min_version(self) -> str: ...
    @property
    def max_version(self) -> str: ...
    @property
    def cipher_suites(self) -> Sequence[str]: ...
    @property
    def curve_preferences(self) -> Sequence[str]: ...
    @property
    def alpn_protocols(self) -> Sequence[str]: ...
    @property
    def client_auth(self) -> ClientAuth: ...
    @property
    def disable_session_tickets(self) -> bool: ...


class Terms(NamedTuple):
    """`Options` as a key. curve: empty for all."""

    minimum: str
    maximum: str
    ciphers: str
    curve: str
    protocols: tuple[str, ...]
    client_auth: str
    authorities: tuple[str, ...]
    has_tickets: bool


def server_context(
    pairs: tuple[tuple[str, str], ...], options: Options, protocols: tuple[str, ...] = ()
) -> ssl.SSLContext:
    """The context of connections from clients, shown one of `pairs` (chain and key, PEM text). Raises PemError.

    pairs: at most one for each kind of key; OpenSSL shows the one that the client can verify.
    protocols: for ALPN, where the options do not name any.
    The same arguments give the same context, so that clients can resume their sessions after a new configuration.
    """
    curves = options.curve_preferences
    terms = Terms(
        options.min_version,
        options.max_version,
        openssl_ciphers(options.cipher_suites),
        CURVES[curves[0]] if curves else "",
        tuple(options.alpn_protocols) or protocols,
        client_auth(options.client_auth.client_auth_type, options.client_auth.ca_files),
        tuple(options.client_auth.ca_files),
        not options.disable_session_tickets,
    )
    return _server_context(pairs, terms)


@functools.lru_cache(maxsize=MAX_CONTEXTS)
def _server_context(pairs: tuple[tuple[str, str], ...], terms: Terms) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[terms.minimum]
    context.maximum_version = VERSIONS[terms.maximum]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | PRIORITIZE_CHACHA
    if terms.ciphers:
        context.set_ciphers(terms.ciphers)
    if terms.curve:
        context.set_ecdh_curve(terms.curve)
    if terms.protocols:
        context.set_alpn_protocols(terms.protocols)
    if terms.has_tickets:
        context.num_tickets = TICKETS
    else:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    _ask_for_certificates(context, terms)
    for certificate, key in pairs:
        _load_pair(context, certificate, key)
    return context


def _ask_for_certificates(context: ssl.SSLContext, terms: Terms) -> None:
    if terms.client_auth == "NoClientCert":
        return
    if terms.client_auth in UNHONOURED:
        # The check says so; a context that asks nobody would let everybody in.
        raise PemError(f"{terms.client_auth} cannot be honoured: {UNHONOURED[terms.client_auth]}")
    is_required = terms.client_auth == "RequireAndVerifyClientCert"
    context.verify_mode = ssl.CERT_REQUIRED if is_required else ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for text in terms.authorities:
        _load_authorities(context, text)


# --- PEM text ------------------------------------------------------------------------------------------------------


def _load_authorities(context: ssl.SSLContext, text: str) -> None:
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: not ASCII.
        raise PemError("this is no certificate that can be read") from None


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """The `ssl` module reads files only; this one is in memory and nobody else's."""
    descriptor = os.memfd_create("streamlb-certificate")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(f"{certificate}\n{key}\n".encode())
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    except ssl.SSLError as error:
        raise _pair_error(error) from None
    finally:
        os.close(descriptor)


def _pair_error(error: ssl.SSLError) -> PemError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return PemError("this key is not the certificate's", of_key=True)
    if error.reason in WEAK:
        return PemError(WEAK[error.reason])
    return PemError("this is no key that can be read", of_key=True)


# --- judging what a configuration names ----------------------------------------------------------------------------


def check_authorities(text: str) -> None:
    """Whether these are certificates to verify servers with. Raises PemError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_authorities(context, text)
    if not context.cert_store_stats()["x509"]:
        raise PemError("there is no certificate in it")


def check_pair(certificate: str, key: str) -> None:
    """Whether this is a certificate and its key. Raises PemError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_authorities(context, certificate)
    if "PRIVATE KEY-----" not in key:
        raise PemError("there is no private key in it", of_key=True)
    if "ENCRYPTED" in key:
        raise PemError("the key needs a password, and streamlb has nobody to ask for it", of_key=True)
    _load_pair(context, certificate, key)


# --- what went wrong ---------------------------------------------------------------------------------------------


def handshake_error(error: Exception) -> UpstreamError:
    """What a failed handshake means; nothing was sent yet, so another server may be tried."""
    # TimeoutError is ours, the other is how the loops report theirs.
    if isinstance(error, TimeoutError) or (isinstance(error, ConnectionAbortedError) and error.errno is None):
        return UpstreamError(504, "the TLS handshake took too long", Retry.ALWAYS)
    return UpstreamError(502, reason_of(error) or "the connection was lost during the TLS handshake", Retry.ALWAYS)


def reason_of(error: Exception | None) -> str:
    """Why a TLS connection has ended, in words; empty where TLS was not the reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        name = error.reason or ""
        return REASONS.get(name) or f"TLS: {name.lower().replace('_', ' ') or 'failure'}"
    if isinstance(error, Truncated):
        return str(error)
    return ""


def client_reason(error: Exception) -> str:
    """Why a client's handshake, or its connection, came to nothing, in words."""
    if isinstance(error, TimeoutError):
        return "the TLS handshake took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        name = error.reason or ""
        return CLIENT_REASONS.get(name) or f"TLS: {name.lower().replace('_', ' ') or 'failure'}"
    return str(error) if isinstance(error, Truncated) else "the connection was lost"
