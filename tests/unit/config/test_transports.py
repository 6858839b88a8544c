"""Transports: files read and judged at their place, versions, references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlb.config import check
from streamlb.config.static import ServersTransport
from streamlb.config.tls import Certificate
from streamlb.config.transports import PemFault
from streamlb.errors import ConfigError
from tests.unit.config.asking import WEB, config_of, line_of, lines_of, notes_of

if TYPE_CHECKING:
    from pathlib import Path

PEM = "-----BEGIN CERTIFICATE-----\nxxx\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nxxx\n-----END PRIVATE KEY-----\n"


def transport(options: str) -> str:
    return f"{WEB}http: {{serversTransports: {{t: {{{options}}}}}}}\n"


def with_service(reference: str, protocol: str = "http", transports: str = "tls: {}") -> str:
    server = "url: 'http://a:1'" if protocol == "http" else "address: 'a:1'"
    return (
        f"{WEB}{protocol}:\n  serversTransports: {{{transports}}}\n"
        f"  services: {{s: {{loadBalancer: {{serversTransport: {reference}, servers: [{{{server}}}]}}}}}}\n"
    )


def test_all_options() -> None:
    options = (
        "serverName: app.internal, insecureSkipVerify: true, minVersion: VersionTLS13, disableHTTP2: true, "
        "maxIdleConnsPerHost: 3, forwardingTimeouts: {dialTimeout: 1s, readTimeout: 5s}"
    )
    found = config_of(transport(options)).http.servers_transports["t"]
    assert (found.server_name, found.insecure_skip_verify) == ("app.internal", True)
    assert (found.min_version, found.max_version, found.disable_http2) == ("VersionTLS13", "VersionTLS13", True)
    assert (found.max_idle_conns_per_host, found.forwarding_timeouts.read_timeout) == (3, 5.0)
    assert config_of(f"{WEB}serversTransport: {{serverName: b.test}}\n").servers_transport.server_name == "b.test"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("serverName: 'a b'", "2:44 http.serversTransports.t.serverName | `a b` is not the name of a host | "),
        (
            "serverName: 10.0.0.300",
            "2:44 http.serversTransports.t.serverName | `10.0.0.300` is not the name of a host | ",
        ),
        (
            "minVersion: VersionTLS13, maxVersion: VersionTLS12",
            "2:44 http.serversTransports.t.minVersion | minVersion VersionTLS13 is above maxVersion VersionTLS12 | ",
        ),
        (
            "minVersion: VersionTLS10",
            "2:44 http.serversTransports.t.minVersion | expected one of `VersionTLS12`, `VersionTLS13`, "
            'got the text "VersionTLS10" | did you mean `VersionTLS13`?',
        ),
        (
            "rootCAs: [nope.pem]",
            "2:42 http.serversTransports.t.rootCAs[0] | cannot read `nope.pem`: No such file or directory | ",
        ),
        (
            "rootCAs: ['']",
            "2:42 http.serversTransports.t.rootCAs[0] | the path of a file, or the PEM text itself, is missing | ",
        ),
        (
            "certificates: [{certFile: a.pem}]",
            "2:47 http.serversTransports.t.certificates[0].keyFile | `keyFile` is missing | ",
        ),
        (
            "rootCas: [], rootCAz: []",
            "2:45 http.serversTransports.t.rootCAz | unknown key `rootCAz` | did you mean `rootCAs`?",
        ),
    ],
)
def test_what_is_wrong(options: str, line: str) -> None:
    assert line in lines_of(transport(options))


def test_a_name_without_a_provider() -> None:
    lines = lines_of(f"{WEB}http: {{serversTransports: {{'a@b': {{serverName: a}}}}}}\n")
    assert lines == [
        "2:28 http.serversTransports.a@b | a name cannot hold `@`: it separates a name from its provider | "
    ]


def test_authorities_that_nobody_asks_are_noted() -> None:
    inline = PEM.replace("\n", "\\n")
    notes = notes_of(transport(f'insecureSkipVerify: true, rootCAs: ["{inline}"]'))
    assert notes == [
        "2:32 http.serversTransports.t.insecureSkipVerify | with `insecureSkipVerify` any certificate will do: "
        "the `rootCAs` are not asked | "
    ]


# --- files ---------------------------------------------------------------------------------------------------------


def judge(certificates: str, key: str) -> PemFault | None:
    return PemFault(f"bad key for {len(certificates)}", of_key=True) if "bad" in key else None


def load(folder: Path, options: str) -> check.Loaded:
    path = folder / "lb.yaml"
    path.write_text(transport(options))
    return check.load(path, check.Judges(check_pem=judge))


def test_files_are_read_from_beside_the_configuration(tmp_path: Path) -> None:
    for name, text in (("ca.pem", PEM), ("own.pem", PEM), ("own.key", KEY)):
        (tmp_path / name).write_text(text)
    loaded = load(tmp_path, "rootCAs: [ca.pem], certificates: [{certFile: own.pem, keyFile: own.key}]")
    found = loaded.config.http.servers_transports["t"]
    assert found.root_cas == [PEM]
    assert found.certificates == [Certificate(cert_file=PEM, key_file=KEY)]
    assert loaded.files[1:] == [str(tmp_path / name) for name in ("ca.pem", "own.pem", "own.key")]


def test_a_fault_is_told_where_its_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.pem").write_text(PEM)
    (tmp_path / "own.key").write_text(KEY.replace("xxx", "bad"))
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "certificates: [{certFile: own.pem, keyFile: own.key}, {certFile: text.txt, keyFile: own.key}]")
    lines = [line_of(problem) for problem in caught.value.problems]
    assert lines == [
        f"2:76 http.serversTransports.t.certificates[0].keyFile | bad key for {len(PEM)} | ",
        "2:97 http.serversTransports.t.certificates[1].certFile | "
        f"`{tmp_path}/text.txt` is not PEM text (`-----BEGIN ...`) | ",
    ]


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Certificate(cert_file="a", key_file="secret"))


# --- references ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_references(protocol: str) -> None:
    transports = "tls: {forwardingTimeouts: {}}" if protocol == "http" else "tls: {dialTimeout: 1s}"
    assert lines_of(with_service("tls", protocol, transports)) == []
    assert lines_of(with_service("default@internal", protocol, transports)) == []
    assert lines_of(with_service("tsl", protocol, transports)) == [
        f"4:51 {protocol}.services.s.loadBalancer.serversTransport | unknown transport `tsl` | did you mean `tls`?"
    ]


def test_udp_has_no_transports() -> None:
    text = (
        'entryPoints: {dns: {address: ":53/udp"}}\n'
        "udp: {services: {s: {loadBalancer: {serversTransport: t, servers: [{address: 'a:1'}]}}}}\n"
    )
    assert lines_of(text) == [
        "2:37 udp.services.s.loadBalancer.serversTransport | "
        "UDP has no connections, so there are no options for them | "
    ]
    assert (
        "unknown key `serversTransports`"
        in lines_of('entryPoints: {dns: {address: ":53/udp"}}\nudp: {serversTransports: {t: {}}}\n')[0]
    )


def test_tls_is_what_makes_connections_differ() -> None:
    assert ServersTransport(max_idle_conns_per_host=1).identity == ServersTransport().identity
    assert ServersTransport(server_name="a").identity != ServersTransport().identity
    assert ServersTransport(insecure_skip_verify=True).identity != ServersTransport().identity


# --- TCP -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["tcpServersTransport", "tcp.serversTransports.t"])
def test_files_of_tcp_transports_are_read_too(tmp_path: Path, place: str) -> None:
    for name, text in (("ca.pem", PEM), ("own.pem", PEM), ("own.key", KEY)):
        (tmp_path / name).write_text(text)
    options = "{tls: {rootCAs: [ca.pem], certificates: [{certFile: own.pem, keyFile: own.key}]}}"
    path = tmp_path / "lb.yaml"
    at_root = place == "tcpServersTransport"
    path.write_text(f"{WEB}{place}: {options}" if at_root else f"{WEB}tcp: {{serversTransports: {{t: {options}}}}}")
    config = check.load(path, check.Judges(check_pem=judge)).config
    tls = (config.tcp_servers_transport if at_root else config.tcp.servers_transports["t"]).tls
    assert tls is not None
    assert (tls.root_cas, tls.certificates) == ([PEM], [Certificate(cert_file=PEM, key_file=KEY)])


def test_what_is_wrong_with_tcp_transports() -> None:
    options = "tls: {serverName: 'a b', rootCAs: [nope.pem], minVersion: VersionTLS13, maxVersion: VersionTLS12}"
    place = "tcp.serversTransports.t.tls"
    assert lines_of(f"{WEB}tcp: {{serversTransports: {{t: {{{options}}}}}}}\n") == [
        f"2:49 {place}.serverName | `a b` is not the name of a host | ",
        f"2:66 {place}.rootCAs[0] | cannot read `nope.pem`: No such file or directory | ",
        f"2:89 {place}.minVersion | minVersion VersionTLS13 is above maxVersion VersionTLS12 | ",
    ]


def test_suites(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(transport("cipherSuites: [GOOD, BAD]"))
    judges = check.Judges(check_ciphers=lambda names: [(1, "unknown", "did you mean `GOOD`?")] if names else [])
    with pytest.raises(ConfigError) as caught:
        check.load(path, judges)
    assert [line_of(problem) for problem in caught.value.problems] == [
        "2:53 http.serversTransports.t.cipherSuites[1] | unknown | did you mean `GOOD`?"
    ]
