"""PEM text judged, contexts made once, reasons in words."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.tls import ClientAuth, TlsOptions
from streamlb.errors import Retry
from streamlb.net.tls import (
    TICKETS,
    PemError,
    Truncated,
    check_authorities,
    check_pair,
    client_context,
    client_reason,
    handshake_error,
    reason_of,
    server_context,
)
from tests.support.certificates import authority, local_pair

if TYPE_CHECKING:
    from tests.support.certificates import Pair

BROKEN = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def fault(certificate: str, key: str = "") -> tuple[str, bool]:
    with pytest.raises(PemError) as caught:
        check_pair(certificate, key) if key else check_authorities(certificate)
    return caught.value.reason, caught.value.of_key


def test_what_can_be_used() -> None:
    pair = local_pair()
    check_authorities(authority().pair.text)
    check_authorities(authority().pair.text + authority("two").pair.text)
    check_pair(pair.text, pair.key.read_text())
    check_pair(pair.text + authority().pair.text, pair.key.read_text())


def test_what_cannot() -> None:
    pair, key = local_pair(), local_pair().key.read_text()
    other = authority().pair.key.read_text()
    assert fault(BROKEN) == ("this is no certificate that can be read", False)
    assert fault(key) == ("this is no certificate that can be read", False)
    assert fault(BROKEN, key) == ("this is no certificate that can be read", False)
    assert fault(pair.text, other) == ("this key is not the certificate's", True)
    assert fault(pair.text, pair.text) == ("there is no private key in it", True)
    assert fault(pair.text, key[:60] + "\n" + key[-30:]) == ("this is no key that can be read", True)
    encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
    assert fault(pair.text, encrypted) == ("the key needs a password, and streamlb has nobody to ask for it", True)


def test_a_context_is_made_once_and_verifies_unless_told_not_to() -> None:
    trusted = (authority().pair.text,)
    context = client_context(trusted, (), True, "VersionTLS12", "VersionTLS13")
    assert client_context(trusted, (), True, "VersionTLS12", "VersionTLS13") is context
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509"] == 1
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    careless = client_context((), (), False, "VersionTLS13", "VersionTLS13")
    assert (careless.verify_mode, careless.check_hostname) == (ssl.CERT_NONE, False)


def test_whom_the_system_trusts_is_trusted_where_nobody_is_named() -> None:
    context = client_context((), (), True, "VersionTLS12", "VersionTLS13")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_reasons() -> None:
    wrong_version = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    wrong_version.reason = "WRONG_VERSION_NUMBER"
    alert = ssl.SSLError(1, "[SSL] alert")
    alert.reason = "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert reason_of(wrong_version) == "the server does not speak TLS"
    assert reason_of(alert) == "TLS: sslv3 alert handshake failure"
    assert reason_of(ConnectionResetError()) == reason_of(None) == ""


def test_a_failed_handshake_may_be_tried_elsewhere() -> None:
    late = handshake_error(ConnectionAbortedError("SSL handshake is taking longer than 1 seconds"))
    assert (late.status, late.reason, late.retry) == (504, "the TLS handshake took too long", Retry.ALWAYS)
    lost = handshake_error(ConnectionResetError(104, "reset"))
    assert (lost.status, lost.retry) == (502, Retry.ALWAYS)
    assert lost.reason == "the connection was lost during the TLS handshake"


# --- towards clients -----------------------------------------------------------------------------------------------


def serve(*pairs: Pair, protocols: tuple[str, ...] = (), **options: Any) -> ssl.SSLContext:
    text = tuple((pair.text, pair.key.read_text()) for pair in pairs or (local_pair(),))
    return server_context(text, TlsOptions(**options), protocols)


def ciphers(context: ssl.SSLContext) -> set[str]:
    return {cipher["name"] for cipher in context.get_ciphers()}


def test_the_same_terms_are_the_same_context_so_that_sessions_outlive_a_reload() -> None:
    context = serve()
    assert serve() is context
    assert serve(min_version="VersionTLS13") is not context
    assert serve(protocols=("http/1.1",)) is not context
    assert serve(authority("two").certificate("localhost")) is not context
    # With names for ALPN, nobody's default counts.
    assert serve(protocols=("a",), alpn_protocols=["b"]) is serve(protocols=("c",), alpn_protocols=["b"])


def test_what_a_handshake_with_a_client_is_like() -> None:
    context = serve()
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert context.verify_mode is ssl.CERT_NONE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert not context.options & ssl.OP_NO_TICKET
    assert context.num_tickets == TICKETS


def test_options_of_a_handshake() -> None:
    narrow = serve(min_version="VersionTLS13", disable_session_tickets=True, curve_preferences=["CurveP384"])
    assert narrow.minimum_version is ssl.TLSVersion.TLSv1_3
    assert (narrow.num_tickets, bool(narrow.options & ssl.OP_NO_TICKET)) == (0, True)
    suites = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]
    chosen = ciphers(serve(cipher_suites=suites))
    assert "ECDHE-RSA-AES128-GCM-SHA256" in chosen
    assert "ECDHE-RSA-AES256-GCM-SHA384" not in chosen
    assert ciphers(serve(cipher_suites=["TLS_AES_128_GCM_SHA256"])) == ciphers(serve())


def test_whose_certificates_clients_show() -> None:
    ours = [authority("clients").pair.text]
    required = serve(client_auth=ClientAuth(ca_files=ours, client_auth_type="RequireAndVerifyClientCert"))
    assert required.verify_mode is ssl.CERT_REQUIRED
    assert required.cert_store_stats()["x509"] == 1
    assert serve(client_auth=ClientAuth(ca_files=ours)) is required
    optional = serve(client_auth=ClientAuth(ca_files=ours, client_auth_type="VerifyClientCertIfGiven"))
    assert optional.verify_mode is ssl.CERT_OPTIONAL
    with pytest.raises(PemError, match="cannot be honoured"):
        serve(client_auth=ClientAuth(ca_files=ours, client_auth_type="RequireAnyClientCert"))
    with pytest.raises(PemError, match="no certificate"):
        serve(client_auth=ClientAuth(ca_files=[BROKEN], client_auth_type="RequireAndVerifyClientCert"))


def test_a_pair_that_does_not_fit() -> None:
    pair, other = local_pair(), authority("two").certificate("localhost")
    with pytest.raises(PemError, match="not the certificate's"):
        server_context(((pair.text, other.key.read_text()),), TlsOptions())


def test_reasons_of_clients_in_words() -> None:
    assert client_reason(TimeoutError()) == "the TLS handshake took too long"
    assert client_reason(Truncated()) == "connection closed without a TLS goodbye"
    assert client_reason(ConnectionResetError()) == "the connection was lost"
    assert reason_of(Truncated()) == "connection closed without a TLS goodbye"
    assert handshake_error(TimeoutError()).status == 504
