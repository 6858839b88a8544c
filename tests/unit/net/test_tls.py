"""PEM text judged, contexts made once, reasons in words."""

from __future__ import annotations

import ssl

import pytest

from streamlb.errors import Retry
from streamlb.net.tls import (
    PemError,
    check_authorities,
    check_pair,
    client_context,
    handshake_error,
    reason_of,
)
from tests.support.certificates import authority, local_pair

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
