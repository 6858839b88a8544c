"""TLS towards clients: what must hold beyond the types of its options, and the files it names.

What lives here: reading certificates, keys and authorities into the model, references to options.
What must not: cryptography; whoever may import it hands in `DescribeCertificate` and `CheckTlsOptions`.
Called by `check.py` with everything the providers gave.
Specified by Traefik's TLS pages (certificates, options, stores).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from streamlb.config.model import tls_options_named
from streamlb.config.near import nearest
from streamlb.config.tls import DEFAULT_OPTIONS
from streamlb.config.transports import Files, check_versions, read_pair

if TYPE_CHECKING:
    from streamlb.config.model import Config
    from streamlb.config.reading import Path, Reading
    from streamlb.config.tls import ServedCertificate, TlsOptions

DescribeCertificate = Callable[[str], tuple[list[str], float]]
"""A chain's PEM text to the hosts it is good for and the end of its validity, in seconds since 1970."""

OptionFault = tuple[tuple[str | int, ...], str, str]
"""Where below TLS options something cannot be honoured, why, and a suggestion."""

Remark = Callable[[str], list[tuple[str, str]]]
"""A chain's PEM text to what is remarkable about it, and what to do."""

CheckTlsOptions = Callable[["TlsOptions"], list[OptionFault]]


def check(
    config: Config,
    files: Files,
    reading: Reading,
    describe: DescribeCertificate | None,
    check_options: CheckTlsOptions | None,
    remark: Remark | None = None,
) -> None:
    """Check all of `tls` and replace its paths by what the files hold."""
    for index, certificate in enumerate(config.tls.certificates):
        path: Path = ("tls", "certificates", index)
        for place, store in enumerate(certificate.stores):
            if store != DEFAULT_OPTIONS:
                reading.error((*path, "stores", place), f"there is only the store `{DEFAULT_OPTIONS}`", "remove it")
        _read(path, certificate, files, reading, describe, remark)
    for name, kept in config.tls.stores.items():
        path = ("tls", "stores", name)
        if name != DEFAULT_OPTIONS:
            reading.error(path, f"there is only the store `{DEFAULT_OPTIONS}`", at_key=True)
        if kept.default_certificate is not None:
            _read((*path, "defaultCertificate"), kept.default_certificate, files, reading, describe, remark)
    for name, options in config.tls.options.items():
        _check_options(("tls", "options", name), options, files, reading, check_options)
    _check_references(config, reading)


def _read(
    path: Path,
    certificate: ServedCertificate,
    files: Files,
    reading: Reading,
    describe: DescribeCertificate | None,
    remark: Remark | None,
) -> None:
    if reading.is_broken(path):
        return
    before = len(reading.problems)
    read_pair(path, certificate, files)
    if describe is not None and len(reading.problems) == before:
        certificate.names, certificate.expires_at = describe(certificate.cert_file)
    if remark is not None and len(reading.problems) == before:
        for reason, suggestion in remark(certificate.cert_file):
            reading.note((*path, "certFile"), reason, suggestion, at_key=False)


def _check_options(
    path: Path, options: TlsOptions, files: Files, reading: Reading, check_options: CheckTlsOptions | None
) -> None:
    if reading.is_broken(path):
        return
    check_versions(path, options, reading)
    authorities = options.client_auth.ca_files
    for index in range(len(authorities)):
        authorities[index] = files.authorities(authorities[index], (*path, "clientAuth", "caFiles", index))
    for index, protocol in enumerate(options.alpn_protocols):
        if not 0 < len(protocol.encode()) < 256 or not protocol.isascii():
            reading.error((*path, "alpnProtocols", index), "a protocol's name has 1 to 255 characters of ASCII")
    if authorities and options.client_auth.client_auth_type == "NoClientCert":
        reason = "with `NoClientCert` no client is asked for a certificate"
        reading.note((*path, "clientAuth", "clientAuthType"), reason, "write `RequireAndVerifyClientCert`")
    for below, reason, suggestion in check_options(options) if check_options is not None else []:
        if not reading.is_broken((*path, *below)):
            reading.error((*path, *below), reason, suggestion)


def _check_references(config: Config, reading: Reading) -> None:
    """Options that routers and entry points name."""
    wanted: list[tuple[Path, str]] = [
        ((protocol, "routers", name, "tls", "options"), tls_options_named(router.tls.options))
        for protocol in ("http", "tcp")
        for name, router in config.section(protocol).routers.items()
        if router.tls is not None
    ]
    wanted += [
        (("entryPoints", name, "http", "tls", "options"), tls_options_named(entry_point.http.tls.options))
        for name, entry_point in config.entry_points.items()
        if entry_point.http.tls is not None
    ]
    known = {DEFAULT_OPTIONS, *config.tls.options}
    for path, options in wanted:
        if options not in known and not reading.is_broken(path):
            guess = nearest(options, known)
            suggestion = f"did you mean `{guess}`?" if guess else "define them under `tls.options`"
            reading.error(path, f"unknown TLS options `{options}`", suggestion)
