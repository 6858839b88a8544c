"""What certificates say, and one of our own for who has none.

What lives here: everything that needs the `cryptography` package, which workers never load.
What must not: which certificate is for whom (`runtime/certificates.py`), TLS itself (`net/tls.py`).
Called by `configuration.py` and the control process. Specified by RFC 5280 (certificates), RFC 6125 (names).
"""

from __future__ import annotations

import datetime
import functools
import itertools
import socket
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SUBJECT: Final = "streamlb default certificate"
VALIDITY: Final = datetime.timedelta(days=365)
DAY: Final = 86_400.0
SOON: Final = 30 * DAY
"""Seconds before the end of a certificate from which on `check` says so."""


def describe(chain: str) -> tuple[list[str], float]:
    """The hosts a chain's first certificate is good for (lower case), and when it expires, in seconds since 1970."""
    certificate = x509.load_pem_x509_certificate(chain.encode())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [str(name) for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        hosts = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    known = dict.fromkeys(host.lower().removesuffix(".") for host in hosts)
    return list(known), certificate.not_valid_after_utc.timestamp()


@functools.lru_cache(maxsize=10_000)
def identity(chain: str) -> tuple[str, str, str]:
    """What a chain's first certificate is called: its common name, its other names in order, its serial number."""
    certificate = x509.load_pem_x509_certificate(chain.encode())
    names = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return (names or [""])[0], ",".join(sorted(describe(chain)[0])), str(certificate.serial_number)


def remarks(chain: str, now: float | None) -> list[tuple[str, str]]:
    """What is remarkable about a chain, and what to do; of its dates only if it is known what time it is."""
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
    except ValueError:
        return [("one of the certificates of the chain cannot be read", "")]
    found = []
    first = certificates[0]
    if now is not None:
        begin, end = first.not_valid_before_utc.timestamp(), first.not_valid_after_utc.timestamp()
        if now < begin:
            found.append((f"the certificate is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", ""))
        elif now >= end:
            found.append((f"the certificate has expired on {first.not_valid_after_utc:%Y-%m-%d}", "renew it"))
        elif end - now < SOON:
            days = int((end - now) / DAY)
            left = f"in {days} days" if days > 1 else "within two days"
            found.append((f"the certificate expires {left}, on {first.not_valid_after_utc:%Y-%m-%d}", "renew it"))
    for place, (lower, upper) in enumerate(itertools.pairwise(certificates), 2):
        if not _has_issued(upper, lower):
            reason = f"certificate {place} of the chain has not issued the one before it, so clients may not trust it"
            found.append((reason, "the server's own comes first, then who issued it, and so on"))
            break
    return found


def _has_issued(upper: x509.Certificate, lower: x509.Certificate) -> bool:
    try:
        lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def place_of(chain: str, key: str) -> int:
    """Which certificate of a chain a key belongs to, counted from 1; 0 if it is none of them, or cannot be read."""
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        ours = serialization.load_pem_private_key(key.encode(), None).public_key()
        fits = [certificate.public_key() == ours for certificate in certificates]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return 0
    return fits.index(True) + 1 if True in fits else 0


@functools.cache
def self_signed() -> tuple[str, str]:
    """A certificate that nobody vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUBJECT)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_host())]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), text.decode()


def _host() -> str:
    """This machine's name, if it is one that a certificate can hold."""
    name = socket.gethostname().lower()
    return name if name.isascii() and name.replace("-", "").replace(".", "").isalnum() else "localhost"
