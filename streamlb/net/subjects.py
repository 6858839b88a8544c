"""The subject of a certificate as one line, as Go and so Traefik write it.

What lives here: `subject_of`. What must not: whether a certificate is good. Called by `proxy` for its logs.
Specified by RFC 2253 (the last part first), with the short names of Go's crypto/x509/pkix.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl

SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "postalCode": "POSTALCODE",
    "serialNumber": "SERIALNUMBER",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
}
_SPECIAL: Final = re.compile(r'[,+"\\<>;]|^[ #]| $')


def subject_of(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> str:
    """Of the certificate that the other side has shown, and that was verified; empty where there is none."""
    certificate: dict[str, Any] = ssl_object.getpeercert() or {}
    parts = ("+".join(f"{SHORT.get(key, key)}={_escaped(value)}" for key, value in part)
             for part in reversed(certificate.get("subject", ())))  # fmt: skip
    return ",".join(parts)


def _escaped(value: str) -> str:
    return _SPECIAL.sub(lambda found: "\\" + found[0], value)
