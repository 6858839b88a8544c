"""TLS towards servers: contexts, the reasons of failed handshakes, the judging of PEM text.

What lives here: everything that knows OpenSSL. What must not: which server needs what (`proxy/pool.py`), files.
Called by `proxy` and, for the check of a configuration, by `process/configuration.py`.
Specified by RFC 8446, RFC 9110 section 4.3.4 (whose certificate is right), the `ssl` module.
"""

from __future__ import annotations

import functools
import os
import ssl
from typing import TYPE_CHECKING

from streamlb.errors import Retry, StreamlbError, UpstreamError

if TYPE_CHECKING:
    import asyncio

VERSIONS = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}

MAX_CONTEXTS = 256
"""Contexts remembered; transports beyond it pay for theirs again with each new pool."""
SHUTDOWN_TIMEOUT = 2.0
"""Seconds a server gets to answer our goodbye before the connection is closed without it."""

REASONS = {
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
    "HTTP_REQUEST": "the server does not speak TLS",
    "PACKET_LENGTH_TOO_LONG": "the server does not speak TLS",
    "RECORD_LAYER_FAILURE": "the server does not speak TLS",
    "UNEXPECTED_EOF_WHILE_READING": "the connection was closed during the TLS handshake",
}
"""OpenSSL's names for what an operator knows by another name."""


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
) -> ssl.SSLContext:
    """The context of connections to servers; everything is PEM text. Raises PemError.

    authorities: whom to trust; empty for whom the system trusts. certificates: chains and keys to show when asked.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = VERSIONS[minimum]
    context.maximum_version = VERSIONS[maximum]
    context.set_alpn_protocols(["http/1.1"])
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


def _load_authorities(context: ssl.SSLContext, text: str) -> None:
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise PemError("this is no certificate that can be read") from None


def _load_pair(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """The `ssl` module reads files only; this one is in memory and nobody else's."""
    descriptor = os.memfd_create("streamlb-certificate")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(f"{certificate}\n{key}\n".encode())
        # Without a password OpenSSL would ask the terminal for one.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
    finally:
        os.close(descriptor)


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
    try:
        _load_pair(context, certificate, key)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise PemError("this key is not the certificate's", of_key=True) from None
        raise PemError("this is no key that can be read", of_key=True) from None


def said_goodbye(transport: asyncio.BaseTransport) -> bool:
    """Whether the server ended its side by a close_notify, so that nobody can have cut its last bytes off.

    uvloop reports nothing else as an end; stock asyncio does not tell it from a plain FIN.
    """
    connection = transport.get_extra_info("ssl_object")
    try:
        return connection is not None and not connection.read(1)
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False


# --- what went wrong ---------------------------------------------------------------------------------------------


def handshake_error(error: Exception) -> UpstreamError:
    """What a failed handshake means; nothing was sent yet, so another server may be tried."""
    if isinstance(error, ConnectionAbortedError) and error.errno is None:  # How the loops report their timeout.
        return UpstreamError(504, "the TLS handshake took too long", Retry.ALWAYS)
    return UpstreamError(502, reason_of(error) or "the connection was lost during the TLS handshake", Retry.ALWAYS)


def reason_of(error: Exception | None) -> str:
    """Why a TLS connection has ended, in words; empty where TLS was not the reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        name = error.reason or ""
        return REASONS.get(name) or f"TLS: {name.lower().replace('_', ' ') or 'failure'}"
    return ""
