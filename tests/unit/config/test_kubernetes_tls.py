"""Secrets, TLSOptions, TLSStores, MiddlewareTCPs and `tls` of routes, as the whole check reads them."""

from __future__ import annotations

import base64
import time
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from streamlb.config import check
from streamlb.config.model import InFlightConn, IpAllowList
from streamlb.config.tls import ClientAuth, RouterTls, TlsOptions
from streamlb.config.transports import PemFault
from streamlb.errors import ConfigError
from tests.unit.config.asking import line_of

if TYPE_CHECKING:
    from pathlib import Path

    from streamlb.config.model import Config

MAIN = """\
entryPoints: {web: {address: ":443"}}
providers: {kubernetesManifests: {paths: [m.yaml], endpoints: {default/one: ["127.0.0.1:8081"]}}}
"""
PEM = "-----BEGIN CERTIFICATE-----\nxxx\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(name: str, body: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ntype: kubernetes.io/tls\n{body}\n---\n"


def document(kind: str, spec: str, name: str = "app") -> str:
    return f"apiVersion: traefik.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"


PAIR = secret("pair", f"data: {{tls.crt: {encoded(PEM)}, tls.key: {encoded(KEY)}}}")
SERVICES = "services: [{name: one, port: 80}]"


def web(tls: str, name: str = "app") -> str:
    return document("IngressRoute", f"{{routes: [{{match: Host(`{name}`), {SERVICES}}}], tls: {tls}}}", name)


def load(folder: Path, manifests: str, main: str = "") -> check.Loaded:
    (folder / "m.yaml").write_text(manifests)
    path = folder / "lb.yaml"
    path.write_text(MAIN + dedent(main))
    judge = lambda _, key: PemFault("not the key", of_key=True) if "wrong" in key else None  # noqa: E731
    return check.load(path, check.Judges(check_pem=judge, describe=lambda chain: ([f"{len(chain)}.test"], 7.0)))


def config_of(folder: Path, manifests: str, main: str = "") -> Config:
    loaded = load(folder, manifests, main)
    assert loaded.notes == []
    return loaded.config


def faults(folder: Path, manifests: str, main: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, manifests, main)
    for problem in caught.value.problems:
        assert "PRIVATE" not in problem.excerpt
        assert encoded(KEY)[:20] not in problem.excerpt
    return [line_of(problem) for problem in caught.value.problems]


def only_router(config: Config, protocol: str = "http") -> RouterTls:
    [router] = config.section(protocol).routers.values()
    assert router.tls is not None
    return router.tls


def test_a_certificate_of_two_routes_is_served_once(tmp_path: Path) -> None:
    config = config_of(tmp_path, PAIR + web("{secretName: pair}") + web("{secretName: pair}", "other"))
    [certificate] = config.tls.certificates
    assert (certificate.cert_file, certificate.key_file) == (PEM, KEY)
    assert (certificate.names, certificate.expires_at) == ([f"{len(PEM)}.test"], 7.0)
    assert all(router.tls == RouterTls() for router in config.http.routers.values())


def test_plain_text(tmp_path: Path) -> None:
    body = "stringData:\n  tls.crt: |\n" + "".join(f"    {line}\n" for line in PEM.splitlines())
    body += "  tls.key: |\n" + "".join(f"    {line}\n" for line in KEY.splitlines())
    [certificate] = config_of(tmp_path, secret("pair", body) + web("{secretName: pair}")).tls.certificates
    assert (certificate.cert_file, certificate.key_file) == (PEM, KEY)


def test_an_empty_mapping_is_enough(tmp_path: Path) -> None:
    assert only_router(config_of(tmp_path, web("{}"))) == RouterTls()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"data: {{tls.crt: {encoded(PEM)}}}", "Secret default/pair has no `tls.key`"),
        ("data: {tls.crt: '***', tls.key: x}", "Secret default/pair: tls.crt is not base64"),
        ("stringData: {tls.crt: /etc/passwd}", "Secret default/pair: tls.crt is not PEM text (`-----BEGIN ...`)"),
        ("", "Secret default/pair has no `tls.crt`"),
    ],
)
def test_secrets_that_hold_no_certificate(tmp_path: Path, body: str, reason: str) -> None:
    line = faults(tmp_path, web("{secretName: pair}") + secret("pair", body))[0]
    assert "IngressRoute default/app: spec.tls.secretName" in line
    assert reason in line


def test_a_key_that_does_not_fit_is_not_shown(tmp_path: Path) -> None:
    wrong = KEY.replace("hidden", "wrong")
    pair = secret("pair", f"stringData: {{tls.crt: {PEM!r}, tls.key: {wrong!r}}}".replace("'", '"'))
    assert faults(tmp_path, web("{secretName: pair}") + pair) == ["6:1 Secret default/pair: tls.key | not the key | "]


def test_a_secret_that_is_not_there(tmp_path: Path) -> None:
    [line] = faults(tmp_path, PAIR + web("{secretName: pear}"))
    assert line.endswith("spec.tls.secretName | unknown Secret `default/pear` | did you mean `pair`?")


def test_a_secret_that_nothing_needs(tmp_path: Path) -> None:
    [note] = load(tmp_path, PAIR + web("{}")).notes
    assert note.reason == "nothing needs Secret default/pair"


# --- options and stores ----------------------------------------------------------------------------------------------


def test_options(tmp_path: Path) -> None:
    authorities = secret("ca", f"data: {{tls.ca: {encoded(PEM)}}}")
    auth = "clientAuth: {secretNames: [ca], clientAuthType: RequireAndVerifyClientCert}"
    option = document("TLSOption", f"{{minVersion: VersionTLS13, sniStrict: true, {auth}}}", "mutual")
    config = config_of(tmp_path, web("{options: {name: mutual}}") + option + authorities)
    assert only_router(config).options == "default-mutual@kubernetescrd"
    client_auth = ClientAuth(ca_files=[PEM], client_auth_type="RequireAndVerifyClientCert")
    expected = TlsOptions(min_version="VersionTLS13", sni_strict=True, client_auth=client_auth)
    assert config.tls.options == {"default-mutual@kubernetescrd": expected}


def test_authorities_alone_mean_that_clients_are_asked(tmp_path: Path) -> None:
    """As in the main file: see `ClientAuth`."""
    authorities = secret("ca", f"data: {{ca.crt: {encoded(PEM)}}}")
    option = document("TLSOption", "{clientAuth: {secretNames: [ca]}}", "mutual")
    [options] = load(tmp_path, option + authorities).config.tls.options.values()
    assert options.client_auth == ClientAuth(ca_files=[PEM])


def test_default_options_and_those_of_the_main_file(tmp_path: Path) -> None:
    option = document("TLSOption", "{minVersion: VersionTLS13}", "default")
    config = config_of(tmp_path, web("{options: {name: default}}") + option)
    assert config.tls.options["default"].min_version == "VersionTLS13"
    assert only_router(config).options == ""
    config = config_of(tmp_path, web("{options: {name: old@file}}"), "tls: {options: {old: {}}}\n")
    assert only_router(config).options == "old"
    [line] = faults(tmp_path, web("{}") + option, "tls: {options: {default: {}}}\n")
    assert "there are other TLS options called `default`" in line


def test_what_is_wrong_with_options(tmp_path: Path) -> None:
    option = document("TLSOption", "{minVersion: VersionTLS13, maxVersion: VersionTLS12}", "mutual")
    lines = faults(tmp_path, option + web("{options: {name: mutaul}}"))
    assert lines == [
        "4:20 TLSOption default/mutual: spec.minVersion | minVersion VersionTLS13 is above maxVersion VersionTLS12 | ",
        "9:97 IngressRoute default/app: spec.tls.options.name | unknown TLS options `default-mutaul` | "
        "did you mean `default-mutual`?",
    ]


def test_stores(tmp_path: Path) -> None:
    store = document(
        "TLSStore", "{defaultCertificate: {secretName: pair}, certificates: [{secretName: pair}]}", "default"
    )
    config = config_of(tmp_path, PAIR + store + web("{}"))
    default = config.tls.stores["default"].default_certificate
    assert default is not None
    assert default.cert_file == config.tls.certificates[0].cert_file == PEM
    [line] = faults(tmp_path, PAIR + store.replace("{name: default}", "{name: mine}") + web("{}"))
    assert "there is only the store `default`" in line
    [line] = faults(tmp_path, PAIR + store + store.replace("{name: default}", "{name: default, namespace: b}"))[:1]
    assert "there is another default certificate" in line or "unknown Secret `b/pair`" in line


@pytest.mark.parametrize("key", ["certResolver: le", "domains: []", "store: {name: x}"])
def test_what_is_not_there_yet(tmp_path: Path, key: str) -> None:
    [line] = faults(tmp_path, web(f"{{{key}}}"))
    assert "is not supported by streamlb yet" in line


# --- TCP -------------------------------------------------------------------------------------------------------------


def tcp(route: str, tls: str = "") -> str:
    more = f", tls: {tls}" if tls else ""
    return document("IngressRouteTCP", f"{{routes: [{{match: HostSNI(`*`), {route}}}]{more}}}")


def test_passthrough(tmp_path: Path) -> None:
    assert only_router(config_of(tmp_path, tcp(SERVICES, "{passthrough: true}")), "tcp").passthrough
    [line] = faults(tmp_path, web("{passthrough: true}"))
    assert "unknown key `passthrough`" in line


def test_middlewares(tmp_path: Path) -> None:
    office = document("MiddlewareTCP", "{ipAllowList: {sourceRange: [10.0.0.0/8]}}", "office")
    few = document("MiddlewareTCP", "{inFlightConn: {amount: 3}}", "few")
    config = config_of(tmp_path, office + tcp(f"middlewares: [{{name: office}}, {{name: few}}], {SERVICES}") + few)
    [router] = config.tcp.routers.values()
    assert router.middlewares == ["default-office@kubernetescrd", "default-few@kubernetescrd"]
    found = config.tcp.middlewares
    assert found[router.middlewares[0]].ip_allow_list == IpAllowList(source_range=["10.0.0.0/8"])
    assert found[router.middlewares[1]].in_flight_conn == InFlightConn(amount=3)


def test_what_is_wrong_with_middlewares(tmp_path: Path) -> None:
    bad = document("MiddlewareTCP", "{ipAllowList: {sourceRange: [ten]}}", "office")
    lines = faults(tmp_path, bad + tcp(f"middlewares: [{{name: ofice}}], {SERVICES}"))
    assert lines[0].startswith("4:36 MiddlewareTCP default/office: spec.ipAllowList.sourceRange[0] | `ten` is neither")
    assert lines[1].endswith("did you mean `default-office@kubernetescrd`?")
    assert "spec.routes[0].middlewares[0].name" in lines[1]


def test_servers_over_tls(tmp_path: Path) -> None:
    child = "{name: one, port: 80, tls: true, proxyProtocol: {version: 1}, terminationDelay: 100}"
    config = config_of(tmp_path, tcp(f"services: [{child}]"))
    [service] = config.tcp.services.values()
    balancer = service.load_balancer
    assert balancer is not None
    assert [server.tls for server in balancer.servers] == [True]
    assert balancer.proxy_protocol is not None
    assert (balancer.proxy_protocol.version, balancer.termination_delay) == (1, 100)


def test_many_routes_take_linear_time(tmp_path: Path) -> None:
    """A second here; a walk over everything for each route would take minutes."""
    text = PAIR + "".join(web("{secretName: pair}", f"app{number}") for number in range(1_500))
    began = time.perf_counter()
    config = config_of(tmp_path, text)
    assert time.perf_counter() - began < 20
    assert (len(config.http.routers), len(config.tls.certificates)) == (1_500, 1)
