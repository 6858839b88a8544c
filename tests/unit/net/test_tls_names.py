"""Go's names for ciphers and curves: known, broken, unknown; and that OpenSSL knows every one of the tables."""

from __future__ import annotations

import ssl

import pytest

from streamlb.net.tls_names import (
    ALWAYS,
    BROKEN,
    CIPHERS,
    CURVES,
    check_ciphers,
    check_client_auth,
    check_curves,
    openssl_ciphers,
)


@pytest.mark.parametrize("name", CIPHERS)
def test_every_cipher_is_one_that_openssl_offers(name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(openssl_ciphers([name]))
    offered = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert offered == [CIPHERS[name]]


@pytest.mark.parametrize("name", CURVES)
def test_every_curve_is_taken_or_said_to_be_missing(name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if check_curves([name]):
        assert name == "X25519", "only old Pythons lack it"
        with pytest.raises(ssl.SSLError):
            context.set_ecdh_curve(CURVES[name])
    else:
        context.set_ecdh_curve(CURVES[name])


def test_what_is_wrong_with_ciphers() -> None:
    assert check_ciphers([*CIPHERS, *ALWAYS]) == []
    assert check_ciphers(["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]) == [
        (1, "ECDHE-RSA-AES128-GCM-SHA256 is not a cipher suite that streamlb knows")
    ]
    for name in BROKEN:
        assert check_ciphers([name]) == [(0, f"{name} is broken, and OpenSSL no longer speaks it")]
    assert openssl_ciphers(sorted(ALWAYS)) == ""


def test_what_is_wrong_with_curves() -> None:
    assert check_curves([]) == check_curves(["CurveP384"]) == []
    assert check_curves(["CurveP384", "CurveP256"]) == [
        (1, "Python's ssl takes one curve only: name the one, or none for all of them")
    ]
    assert check_curves(["x25519"]) == [(0, "x25519 is not a curve that streamlb knows")]
    assert check_curves(["X25519MLKEM768"]) == [(0, "X25519MLKEM768 needs a newer OpenSSL than streamlb can count on")]


def test_what_is_wrong_with_client_authentication() -> None:
    assert check_client_auth("NoClientCert", False) == check_client_auth(None, True) == ""
    assert check_client_auth("RequireAndVerifyClientCert", True) == ""
    assert "needs caFiles" in check_client_auth("VerifyClientCertIfGiven", False)
    assert "cannot be honoured" in check_client_auth("RequestClientCert", True)
