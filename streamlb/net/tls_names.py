"""Go's names for cipher suites and curves, as Traefik's configuration has them, in OpenSSL's words.

What lives here: the tables, and what is wrong with a list of such names. What must not: contexts (`tls.py`).
Called by `tls.py` and, for the check of a configuration, by `process/configuration.py`.
Specified by Go's crypto/tls, the IANA registry of cipher suites, and the `ssl` module of Python 3.11, which takes one
curve, and no choice among the suites of TLS 1.3.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    Fault = tuple[int, str]

CIPHERS: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""The suites of TLS 1.2."""

ALWAYS: Final = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
"""Those of TLS 1.3, which are always on, as in Go: to name them changes nothing."""

BROKEN: Final = frozenset(
    {
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    }
)
"""Known to Go, no longer spoken by OpenSSL."""

CURVES: Final = {
    "X25519": "X25519",
    "CurveP256": "prime256v1",
    "CurveP384": "secp384r1",
    "CurveP521": "secp521r1",
    "secp256r1": "prime256v1",
    "secp384r1": "secp384r1",
    "secp521r1": "secp521r1",
}

UNHONOURED: Final = {
    "RequestClientCert": "Python's ssl cannot take a certificate without verifying it",
    "RequireAnyClientCert": "Python's ssl cannot take a certificate without verifying it",
}
"""Types of client authentication that streamlb cannot do, and why."""


def openssl_ciphers(names: Sequence[str]) -> str:
    """What OpenSSL is told for these names; empty where they say nothing about TLS 1.2."""
    return ":".join(CIPHERS[name] for name in names if name in CIPHERS)


def check_ciphers(names: Sequence[str]) -> list[Fault]:
    """What is wrong with `cipherSuites`: the index of a name, and the reason."""
    faults: list[Fault] = []
    for index, name in enumerate(names):
        if name in BROKEN:
            faults.append((index, f"{name} is broken, and OpenSSL no longer speaks it"))
        elif name not in CIPHERS and name not in ALWAYS:
            faults.append((index, f"{name} is not a cipher suite that streamlb knows"))
    return faults


def check_curves(names: Sequence[str]) -> list[Fault]:
    """What is wrong with `curvePreferences`: the index of a name, and the reason."""
    faults: list[Fault] = []
    for index, name in enumerate(names):
        if name == "X25519MLKEM768":
            faults.append((index, f"{name} needs a newer OpenSSL than streamlb can count on"))
        elif name not in CURVES:
            faults.append((index, f"{name} is not a curve that streamlb knows"))
        elif index:
            faults.append((index, "Python's ssl takes one curve only: name the one, or none for all of them"))
        elif not takes_curve(name):
            faults.append((index, f"the ssl of this Python does not take {name} alone; name none for all curves"))
    return faults


def takes_curve(name: str) -> bool:
    """Whether a context can be held to this curve: Debian 12's Python knows no X25519 here."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ecdh_curve(CURVES[name])
    except (ssl.SSLError, ValueError):
        return False
    return True


def client_auth(kind: str | None, authorities: Sequence[str]) -> str:
    """The `clientAuthType` that holds: who names authorities and nothing else wants them to count."""
    return kind or ("RequireAndVerifyClientCert" if authorities else "NoClientCert")


def check_client_auth(kind: str | None, has_authorities: bool) -> str:
    """What is wrong with a `clientAuthType`; empty if nothing is."""
    if kind is None:
        return ""
    if kind in UNHONOURED:
        return f"{kind} cannot be honoured: {UNHONOURED[kind]}; use VerifyClientCertIfGiven or NoClientCert"
    if kind != "NoClientCert" and not has_authorities:
        return f"{kind} needs caFiles: whose certificates are clients to show?"
    return ""
