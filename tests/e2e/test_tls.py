"""TLS towards clients, as a user sets it up and sees it: curl, openssl, certificates in files that are renewed.

The story: a site on 80 and 443, an admin site for those with a certificate, databases told apart by their names.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Pair, authority, local_pair, secure_recording
from tests.support.http import http_get, ok, recording
from tests.support.ports import free_port
from tests.support.programs import curl, need, running_streamlb
from tests.support.tls import trusting
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"


def site(plain: int, secure: int, origin: int, tls: str = "", router: str = "", entry_point: str = "") -> str:
    return f"""
entryPoints:
  web: {{address: "{HOST}:{plain}", http: {{redirections: {{entryPoint: {{to: websecure}}}}}}}}
  websecure: {{address: "{HOST}:{secure}", http: {{tls: {{}}}}{entry_point}}}
http:
  routers:
    site: {{rule: "Host(`site.test`)", service: app, entryPoints: [websecure]}}
    admin: {{rule: "Host(`admin.test`)", service: app, entryPoints: [websecure]{router}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://{HOST}:{origin}"}}]}}}}}}
tls: {{{tls}}}
"""


def served(*pairs: Pair) -> str:
    listed = ", ".join(f"{{certFile: {pair.certificate}, keyFile: {pair.key}}}" for pair in pairs)
    return f"certificates: [{listed}]"


def browse(port: int, host: str, *more: str | Path) -> subprocess.CompletedProcess[str]:
    """What curl makes of `https://host/`."""
    ca = authority().pair.certificate
    return curl("--cacert", ca, "--resolve", f"{host}:{port}:{HOST}", f"https://{host}:{port}/", *more)


def s_client(port: int, *more: str) -> str:
    """What `openssl s_client` prints."""
    command = [need("openssl"), "s_client", "-connect", f"{HOST}:{port}", *more]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_site_on_both_ports(loop: str) -> None:
    plain, secure = free_port(), free_port()
    pairs = authority().certificate("site.test"), authority().certificate("admin.test")
    with recording(ok(b"hello")) as origin:
        text = site(plain, secure, origin.port, served(*pairs))
        with running_streamlb(text, env={"STREAMLB_LOOP": loop}) as proxy:
            assert browse(secure, "site.test").stdout == "hello"
            assert browse(secure, "site.test", "--http1.1", "--tls-max", "1.2").stdout == "hello"
            assert browse(secure, "admin.test").stdout == "hello"
            followed = curl(
                "-L", "--cacert", authority().pair.certificate, "--resolve", f"site.test:{plain}:{HOST}",
                "--resolve", f"site.test:{secure}:{HOST}", f"http://site.test:{plain}/path?query",
            )  # fmt: skip
            assert followed.stdout == "hello"
            unknown = browse(secure, "site.example", "-k", "-w", "%{http_code}")
            assert unknown.stdout.endswith("404")
            assert "default certificate" in proxy.log()
            assert http_get(secure).status == 400
            assert proxy.stop() == 0
    last = origin.requests[-1]
    assert last.value("x-forwarded-proto") == b"https"
    assert last.start_line.startswith(b"GET /path?query ")


def test_who_has_no_certificate_stays_out() -> None:
    plain, secure = free_port(), free_port()
    both = authority().certificate("site.test", "admin.test")
    options = (
        f", options: {{mutual: {{clientAuth: {{caFiles: [{authority('clients').pair.certificate}], "
        "clientAuthType: RequireAndVerifyClientCert}}"
    )
    with recording(ok(b"hello")) as origin:
        text = site(plain, secure, origin.port, served(both) + options + "}", ", tls: {options: mutual}")
        with running_streamlb(text):
            friend, foe = authority("clients").certificate("friend"), authority().certificate("foe")
            shown = browse(secure, "admin.test", "--cert", friend.certificate, "--key", friend.key)
            assert shown.stdout == "hello"
            assert browse(secure, "admin.test").returncode != 0
            assert browse(secure, "admin.test", "--cert", foe.certificate, "--key", foe.key).returncode != 0
            assert browse(secure, "site.test").stdout == "hello"
            # Not through the other host's handshake, either.
            sneaking = browse(secure, "site.test", "-H", f"Host: admin.test:{secure}", "-w", "%{http_code}")
            assert sneaking.stdout.endswith("421")
    assert len(origin.requests) == 2


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_session_is_resumed(version: str, tmp_path: Path) -> None:
    plain, secure = free_port(), free_port()
    with recording(ok(b"hello")) as origin, running_streamlb(site(plain, secure, origin.port, served(local_pair()))):
        session = tmp_path / "session"
        request = f"GET / HTTP/1.1\r\nHost: site.test:{secure}\r\nConnection: close\r\n\r\n"

        def visit(*more: str) -> str:
            command = [need("openssl"), "s_client", "-connect", f"{HOST}:{secure}", "-ign_eof", version, *more]
            done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=20, check=False)
            return done.stdout

        assert "\nNew, TLSv1." in visit("-sess_out", str(session))
        assert "\nReused, TLSv1." in visit("-sess_in", str(session))


def test_a_renewed_certificate_is_shown_to_whoever_comes_next(tmp_path: Path) -> None:
    """As certbot does it: links of `live` are made to point to new files of `archive`."""
    plain, secure = free_port(), free_port()
    link = Pair(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")

    def install(pair: Pair) -> None:
        for place, file in ((link.certificate, pair.certificate), (link.key, pair.key)):
            fresh = place.with_suffix(".new")
            fresh.symlink_to(file)
            fresh.rename(place)

    old, new = authority().certificate("site.test"), authority().certificate("site.test")
    install(old)
    with recording(ok(b"hello")) as origin, running_streamlb(site(plain, secure, origin.port, served(link))) as proxy:
        with visiting(secure, "site.test") as kept:
            assert shown(kept) == old.text.strip()
            install(new)
            proxy.wait_for("certificate for site.test renewed")

            def shows_new() -> bool:
                with visiting(secure, "site.test") as visitor:
                    return shown(visitor) == new.text.strip()

            until(shows_new, 5, "the new certificate is shown")
            kept.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in kept.recv(65536)


@contextlib.contextmanager
def visiting(port: int, host: str, first: bytes = b"") -> Iterator[ssl.SSLSocket]:
    """A handshake for `host`."""
    with socket.create_connection((HOST, port), 10) as raw:
        raw.sendall(first)
        with trusting().wrap_socket(raw, server_hostname=host) as sock:
            yield sock


def shown(sock: ssl.SSLSocket) -> str:
    return ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True) or b"").strip()


def test_behind_a_proxy_that_says_who_is_there() -> None:
    plain, secure = free_port(), free_port()
    proxies = ", proxyProtocol: {trustedIPs: [127.0.0.1]}"
    pair = authority().certificate("site.test")
    with recording(ok(b"hello")) as origin:
        text = site(plain, secure, origin.port, served(pair), entry_point=proxies)
        with running_streamlb(text):
            assert browse(secure, "site.test", "--haproxy-protocol").stdout == "hello"
            with visiting(secure, "site.test", b"PROXY TCP4 192.0.2.9 192.0.2.1 5 443\r\n") as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
                assert b"200 OK" in sock.recv(65536)
    assert [each.value("x-real-ip") for each in origin.requests] == [b"127.0.0.1", b"192.0.2.9"]


def test_names_lead_to_servers_that_end_tls_themselves() -> None:
    port = free_port()
    pairs = {name: authority().certificate(name) for name in ("one.test", "two.test")}
    with secure_recording(pairs["one.test"], ok(b"one")) as one, secure_recording(pairs["two.test"], ok(b"two")) as two:
        text = f"""
entryPoints: {{db: {{address: "{HOST}:{port}"}}}}
tcp:
  routers:
    one: {{rule: "HostSNI(`one.test`)", service: one, tls: {{passthrough: true}}}}
    two: {{rule: "HostSNIRegexp(`^t.o\\\\.test$`) && ALPN(`http/1.1`)", service: two, tls: {{passthrough: true}}}}
  services:
    one: {{loadBalancer: {{servers: [{{address: "{HOST}:{one.port}"}}]}}}}
    two: {{loadBalancer: {{servers: [{{address: "{HOST}:{two.port}"}}]}}}}
"""
        with running_streamlb(text):
            assert browse(port, "one.test", "--http1.1").stdout == "one"
            assert browse(port, "two.test", "--http1.1").stdout == "two"
            assert browse(port, "two.test", "--no-alpn").returncode != 0
            assert "unrecognized name" in s_client(port, "-servername", "three.test")


def test_what_cannot_be_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    text = site(1, 2, 3, f"certificates: [{{certFile: {tmp_path}/empty.pem, keyFile: {tmp_path}/gone.pem}}]")
    with running_streamlb(text, wait=False) as proxy:
        assert proxy.wait() == 1
        assert "empty.pem` is not PEM text" in proxy.log()
        assert "gone.pem`: No such file" in proxy.log()
