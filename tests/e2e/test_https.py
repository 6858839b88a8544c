"""HTTPS as its users know it: curl and openssl in front, certificates in files, one streamlb in between.

The story: which certificate is shown to whom, who gets in, what becomes of those who come in the clear.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import authority, local_pair
from tests.support.configs import entry_point
from tests.support.http import http_get, ok, raw_http, recording
from tests.support.peers import s_client
from tests.support.programs import curl, running_streamlb

if TYPE_CHECKING:
    import subprocess

    from tests.support.certificates import Pair


def listed(*pairs: Pair) -> str:
    return "\n".join(f"    - {{certFile: {pair.certificate}, keyFile: {pair.key}}}" for pair in pairs)


def https(address: str, origin: int, *pairs: Pair, more: str = "", tls: str = "", router: str = "{}") -> str:
    """One HTTPS router for everything; `more`: further routers, `tls`: further entries of `tls`."""
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers:
    all: {{rule: "PathPrefix(`/`)", service: app, tls: {router}}}
{more}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
tls:
  certificates:
{listed(*pairs)}
{tls}
"""


def get(port: int, host: str, *options: str, path: str = "/") -> subprocess.CompletedProcess[str]:
    """curl, which believes in our CA only and finds `host` at 127.0.0.1."""
    where = ["--cacert", str(authority().pair.certificate), "--resolve", f"{host}:{port}:127.0.0.1"]
    return curl(*where, *options, f"https://{host}:{port}{path}")


def subject(port: int, name: str, *options: str) -> str:
    """The names in the certificate that openssl is shown when it asks for `name`."""
    asking = ["-servername", name] if name else ["-noservername"]
    shown = s_client(port, *asking, *options).stdout
    found = re.search(r"^subject=CN = (.*)$", shown, re.MULTILINE)
    return found[1] if found else ""


def test_each_name_is_shown_its_certificate() -> None:
    port, address = entry_point()
    ca = authority()
    exact, star, first = ca.certificate("a.test"), ca.certificate("*.star.test"), local_pair()
    with recording() as origin, running_streamlb(https(address, origin.port, first, exact, star)):
        for host in ("a.test", "A.TEST", "one.star.test", "two.star.test", "localhost"):
            done = get(port, host)
            assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
        # One label only, and nobody vouches for strangers: curl says no.
        for host in ("x.y.star.test", "star.test", "b.test"):
            assert get(port, host).returncode == 60
    request = origin.requests[0]
    assert request.value("X-Forwarded-Proto") == b"https"
    assert request.value("X-Forwarded-Port") == str(port).encode()
    assert request.value("Host") == f"a.test:{port}".encode()


def test_the_default_certificate_is_for_those_who_ask_for_none() -> None:
    port, address = entry_point()
    named, default = authority().certificate("a.test"), authority().certificate("default.test")
    stores = f"  stores: {{default: {{defaultCertificate: {listed(default).strip().removeprefix('- ')}}}}}"
    with recording() as origin, running_streamlb(https(address, origin.port, named, tls=stores)):
        assert f"streamlb test {named.key.stem}" == subject(port, "a.test")
        assert f"streamlb test {default.key.stem}" == subject(port, "b.test") == subject(port, "")


def test_without_any_certificate_one_is_made_up_and_that_is_said() -> None:
    port, address = entry_point()
    text = https(address, 9).partition("tls:\n  certificates:")[0]
    with running_streamlb(text) as proxy:
        assert "streamlb default certificate" in subject(port, "a.test")
        proxy.wait_for("self-signed")
        assert curl("-k", f"https://127.0.0.1:{port}/").stdout == "Bad Gateway"


def test_both_kinds_of_keys_under_one_name() -> None:
    """A client that cannot do ECDSA is shown the RSA certificate."""
    port, address = entry_point()
    ec, rsa = authority().certificate("a.test"), authority().certificate("a.test", kind="rsa")
    with recording() as origin, running_streamlb(https(address, origin.port, ec, rsa)):
        assert subject(port, "a.test") == f"streamlb test {ec.key.stem}"
        rsa_only = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]
        assert subject(port, "a.test", *rsa_only) == f"streamlb test {rsa.key.stem}"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_clients_come_back_without_a_whole_handshake(version: str) -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(https(address, origin.port, local_pair())):
        if version == "-tls1_2":
            printed = s_client(port, version, "-reconnect").stdout
            assert printed.count("Reused, TLSv1.2") == 5, printed
            return
        session = authority().folder / f"session-{port}.pem"
        s_client(port, version, "-sess_out", session, "-ign_eof", say="GET / HTTP/1.0\r\n\r\n", wait_for="ok")
        again = s_client(port, version, "-sess_in", session)
        assert "Reused, TLSv1.3" in again.stdout


def test_versions_and_ciphers_are_the_operator_s() -> None:
    port, address = entry_point()
    options = """
  options:
    modern: {minVersion: VersionTLS13}
    old: {maxVersion: VersionTLS12, cipherSuites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]}"""
    more = """
    modern: {rule: "Host(`modern.test`)", service: app, tls: {options: modern}}
    old: {rule: "Host(`old.test`)", service: app, tls: {options: old}}"""
    pair = authority().certificate("modern.test", "old.test")
    with recording() as origin, running_streamlb(https(address, origin.port, pair, more=more, tls=options)):
        assert get(port, "modern.test", "--tls-max", "1.2").returncode == 35
        assert get(port, "modern.test").stdout == "ok\n"
        assert get(port, "old.test", "--tlsv1.3").returncode == 35
        assert get(port, "old.test").stdout == "ok\n"
        assert get(port, "old.test", "--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256").returncode == 35
        assert "ECDHE-ECDSA-AES256-GCM-SHA384" in s_client(port, "-servername", "old.test").stdout
        for version in ("-tls1", "-tls1_1"):
            refused = s_client(port, version, "-cipher", "ALL:@SECLEVEL=0")
            assert "Cipher is (NONE)" in refused.stdout


def test_sni_strict_shows_nothing_to_strangers() -> None:
    port, address = entry_point()
    pair = authority().certificate("a.test")
    tls = "  options: {default: {sniStrict: true}}"
    with recording() as origin, running_streamlb(https(address, origin.port, pair, tls=tls)):
        assert get(port, "a.test").stdout == "ok\n"
        for asking in (["-servername", "b.test"], ["-noservername"]):
            refused = s_client(port, *asking)
            assert "unrecognized name" in refused.stderr
            assert "BEGIN CERTIFICATE" not in refused.stdout


def test_client_certificates() -> None:
    port, address = entry_point()
    ours, theirs = authority("clients"), authority("strangers")
    good, foreign, expired = ours.certificate("c"), theirs.certificate("c"), ours.certificate("c", days=-1)
    tls = f"""
  options:
    known: {{clientAuth: {{caFiles: [{ours.pair.certificate}], clientAuthType: RequireAndVerifyClientCert}}}}
    maybe: {{clientAuth: {{caFiles: [{ours.pair.certificate}], clientAuthType: VerifyClientCertIfGiven}}}}"""
    more = """
    known: {rule: "Host(`known.test`)", service: app, tls: {options: known}}
    maybe: {rule: "Host(`maybe.test`)", service: app, tls: {options: maybe}}"""
    pair = authority().certificate("known.test", "maybe.test", "free.test")

    def showing(shown: Pair | None) -> list[str]:
        return [] if shown is None else ["--cert", str(shown.certificate), "--key", str(shown.key)]

    with recording() as origin, running_streamlb(https(address, origin.port, pair, more=more, tls=tls)):
        for version in (["--tlsv1.3"], ["--tls-max", "1.2"]):
            answers = {
                (host, name): get(port, f"{host}.test", *version, *showing(shown)).stdout
                for host in ("known", "maybe", "free")
                for name, shown in (("good", good), ("none", None), ("foreign", foreign), ("expired", expired))
            }
            served = {each for each, answer in answers.items() if answer == "ok\n"}
            assert served == {
                ("known", "good"),
                ("maybe", "good"),
                ("maybe", "none"),
                *(("free", name) for name in ("good", "none", "foreign", "expired")),
            }
            assert set(answers.values()) == {"ok\n", ""}


def test_who_shook_hands_for_another_host_is_misdirected() -> None:
    """A client cannot reach the host that wants certificates by shaking hands for one that does not."""
    port, address = entry_point()
    ca = authority("clients")
    tls = f"""
  options:
    known: {{clientAuth: {{caFiles: [{ca.pair.certificate}], clientAuthType: RequireAndVerifyClientCert}}}}"""
    more = """
    known: {rule: "Host(`known.test`)", service: app, tls: {options: known}}"""
    pair = authority().certificate("known.test", "free.test")
    with recording() as origin, running_streamlb(https(address, origin.port, pair, more=more, tls=tls)):
        status = ["-o", "/dev/null", "-w", "%{http_code}"]
        assert get(port, "free.test", *status).stdout == "200"
        assert get(port, "free.test", *status, "-H", "Host: known.test").stdout == "421"
        assert get(port, "free.test", *status, "-H", "Host: other.test").stdout == "200"
        assert len(origin.requests) == 2


def test_in_the_clear_one_is_sent_to_https() -> None:
    port, address = entry_point()
    plain, plain_address = entry_point()
    text = https(address, 9, local_pair())
    text = text.replace(
        "entryPoints: {web:",
        f'entryPoints: {{plain: {{address: "{plain_address}", '
        "http: {redirections: {entryPoint: {to: web, scheme: https}}}}, web:",
    ).replace("all: {rule", "all: {entryPoints: [web], rule")
    with running_streamlb(text):
        moved = http_get(plain, "/path?q=%20", host="localhost")
        assert moved.status == 301
        assert moved.value("Location") == f"https://localhost:{port}/path?q=%20".encode()
        post = raw_http(
            plain, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
        )
        assert post.startswith(b"HTTP/1.1 308 ")
        ca = str(authority().pair.certificate)
        followed = curl("-L", "--cacert", ca, "-w", "%{url_effective}", f"http://localhost:{plain}/there")
        assert followed.stdout == f"Bad Gatewayhttps://localhost:{port}/there"


def test_one_entry_point_for_both() -> None:
    """A router with `tls` is not reached in the clear, one without is not reached over TLS."""
    port, address = entry_point()
    text = https(address, 9, authority().certificate("a.test"))
    with recording(ok(b"plain\n")) as plain, recording(ok(b"secure\n")) as secure:
        text = f"""
entryPoints: {{web: {{address: "{address}"}}}}
http:
  routers:
    plain: {{rule: "Path(`/plain`)", service: plain}}
    secure: {{rule: "Path(`/secure`)", service: secure, tls: {{}}}}
  services:
    plain: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{plain.port}"}}]}}}}
    secure: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{secure.port}"}}]}}}}
"""
        with running_streamlb(text):
            assert http_get(port, "/plain").text == "plain\n"
            assert http_get(port, "/secure").status == 404
            assert curl("-k", f"https://127.0.0.1:{port}/secure").stdout == "secure\n"
            status = ["-k", "-o", "/dev/null", "-w", "%{http_code}"]
            assert curl(*status, f"https://127.0.0.1:{port}/plain").stdout == "404"


def test_large_bodies_and_kept_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    port, address = entry_point()
    body = bytes(range(256)) * 40_000
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "up").write_bytes(body)
    with recording(ok(body)) as origin, running_streamlb(https(address, origin.port, local_pair())):
        url = f"https://localhost:{port}/"
        files = [str(folder / name) for name in ("one", "two", "three")]
        upload = ["--data-binary", f"@{folder / 'up'}", "-H", "Expect:"]
        outputs = [part for file in files for part in ("-o", file, url)]
        done = curl("--cacert", authority().pair.certificate, *upload, "-w", "%{num_connects}", *outputs)
        assert done.stdout == "100", done.stderr
        assert [request.body for request in origin.requests] == [body] * 3
        assert [(folder / name).read_bytes() for name in ("one", "two", "three")] == [body] * 3


def test_what_we_speak_is_negotiated() -> None:
    port, address = entry_point()
    with recording() as origin, running_streamlb(https(address, origin.port, local_pair())):
        for offered in ("http/1.1", "h2,http/1.1"):
            assert "ALPN protocol: http/1.1" in s_client(port, "-alpn", offered).stdout
        assert "no application protocol" in s_client(port, "-alpn", "h2").stderr
        assert "No ALPN negotiated" in s_client(port).stdout
