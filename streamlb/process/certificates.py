"""What certificates say, and one of our own for who has none.

What lives here: everything that needs the `cryptography` package, which workers never load.
What must not: which certificate is for whom (`runtime/certificates.py`), TLS itself (`net/tls.py`).
Called by `configuration.py` and the control process. Specified by RFC 5280 (certificates), RFC 6125 (names).
"""

from __future__ import annotations

import datetime
import functools
import socket
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SUBJECT: Final = "streamlb default certificate"
VALIDITY: Final = datetime.timedelta(days=365)


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
