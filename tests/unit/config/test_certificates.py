"""What a configuration says about TLS towards clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.config import check
from streamlb.errors import ConfigError
from tests.unit.config.asking import WEB, line_of, lines_of

if TYPE_CHECKING:
    from pathlib import Path

    from streamlb.config.check import Loaded
    from streamlb.config.tls import TlsOptions

PEM = "-----BEGIN CERTIFICATE-----\nxxx\n-----END CERTIFICATE-----\n"
OLD = PEM.replace("xxx", "old")
KEY = "-----BEGIN PRIVATE KEY-----\nxxx\n-----END PRIVATE KEY-----\n"


def load(folder: Path, tls: str, rest: str = "") -> Loaded:
    def refuse_curves(options: TlsOptions) -> list[tuple[tuple[str | int, ...], str, str]]:
        return [(("curvePreferences", 0), "no such curve", "another")] if options.curve_preferences else []

    path = folder / "lb.yaml"
    path.write_text(f"{WEB}tls: {{{tls}}}\n{rest}")
    for name, text in (("c.pem", PEM), ("k.pem", KEY), ("ca.pem", PEM), ("old.pem", OLD)):
        (folder / name).write_text(text)
    judges = check.Judges(
        describe=lambda chain: ([chain[5:10]], 7.0),
        remark=lambda chain: [("it is old", "renew it")] if chain == OLD else [],
        check_tls_options=refuse_curves,
    )
    return check.load(path, judges)


def faults(folder: Path, tls: str, rest: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, tls, rest)
    return [line_of(problem) for problem in caught.value.problems]


def test_files_become_text_and_are_described(tmp_path: Path) -> None:
    pair = "certFile: c.pem, keyFile: k.pem"
    loaded = load(
        tmp_path,
        f"certificates: [{{{pair}, stores: [default]}}], stores: {{default: {{defaultCertificate: {{{pair}}}}}}}, "
        "options: {mutual: {clientAuth: {caFiles: [ca.pem], clientAuthType: RequireAndVerifyClientCert}}}",
    )
    tls = loaded.config.tls
    default = tls.stores["default"].default_certificate
    for certificate in (tls.certificates[0], default):
        assert certificate is not None
        assert (certificate.cert_file, certificate.key_file) == (PEM, KEY)
        assert (certificate.names, certificate.expires_at) == (["BEGIN"], 7.0)
    assert tls.options["mutual"].client_auth.ca_files == [PEM]
    assert loaded.files[1:] == [str(tmp_path / name) for name in ("c.pem", "k.pem", "ca.pem")]


def test_what_cannot_be(tmp_path: Path) -> None:
    pair = "certFile: c.pem, keyFile: k.pem"
    assert faults(tmp_path, f"certificates: [{{{pair}, stores: [other]}}], stores: {{other: {{}}}}") == [
        "2:65 tls.certificates[0].stores[0] | there is only the store `default` | remove it",
        "2:84 tls.stores.other | there is only the store `default` | ",
    ]
    assert faults(tmp_path, "certificates: [{certFile: gone.pem, keyFile: k.pem}]") == [
        f"2:33 tls.certificates[0].certFile | cannot read `{tmp_path}/gone.pem`: No such file or directory | "
    ]
    assert faults(tmp_path, "options: {o: {minVersion: VersionTLS13, maxVersion: VersionTLS12}}") == [
        "2:33 tls.options.o.minVersion | minVersion VersionTLS13 is above maxVersion VersionTLS12 | "
    ]
    assert faults(tmp_path, "options: {o: {curvePreferences: [X]}}") == [
        "2:40 tls.options.o.curvePreferences[0] | no such curve | another"
    ]


def test_protocols_have_names(tmp_path: Path) -> None:
    assert faults(tmp_path, "options: {o: {alpnProtocols: [h2, '', 'ü']}}") == [
        "2:41 tls.options.o.alpnProtocols[1] | a protocol's name has 1 to 255 characters of ASCII | ",
        "2:45 tls.options.o.alpnProtocols[2] | a protocol's name has 1 to 255 characters of ASCII | ",
    ]


def test_what_is_remarkable_is_noted(tmp_path: Path) -> None:
    notes = load(
        tmp_path, "certificates: [{certFile: old.pem, keyFile: k.pem}, {certFile: c.pem, keyFile: k.pem}]"
    ).notes
    assert [line_of(note) for note in notes] == ["2:33 tls.certificates[0].certFile | it is old | renew it"]
    notes = load(tmp_path, "options: {o: {clientAuth: {caFiles: [ca.pem], clientAuthType: NoClientCert}}}").notes
    assert [line_of(note) for note in notes] == [
        "2:53 tls.options.o.clientAuth.clientAuthType | with `NoClientCert` no client is asked for a certificate | "
        "write `RequireAndVerifyClientCert`"
    ]


@pytest.mark.parametrize(
    ("written", "advice"), [("true", "write `{}`: to be there is enough"), ("false", "remove the line")]
)
def test_tls_is_no_switch(written: str, advice: str) -> None:
    [line] = lines_of(
        f"{WEB}http:\n  routers: {{a: {{rule: A, service: s, tls: {written}}}}}\n"
        "  services: {s: {loadBalancer: {servers: [{url: 'http://a'}]}}}\n"
    )
    assert line.endswith(f"expected a mapping (`key: value` lines), got `{written}` | {advice}")


def test_resolvers_are_not_there_yet() -> None:
    [line] = lines_of(f"{WEB}certificatesResolvers: {{}}\n")
    assert line.endswith("name the certificate's files under `tls.certificates`; they are read again when they change")


def test_options_that_are_named_exist() -> None:
    text = """
        entryPoints: {web: {address: ":80", http: {tls: {options: mutaul}}}}
        http:
          routers: {a: {rule: "A", service: s, tls: {options: none}}, b: {rule: "A", service: s, tls: {}}}
          services: {s: {loadBalancer: {servers: [{url: "http://a"}]}}}
        tls: {options: {mutual: {}}}
        """
    assert lines_of(text) == [
        "2:59 entryPoints.web.http.tls.options | unknown TLS options `mutaul` | did you mean `mutual`?",
        "4:55 http.routers.a.tls.options | unknown TLS options `none` | define them under `tls.options`",
    ]
