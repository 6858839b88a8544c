"""TLS that is not ours to end, and several protocols on one port: openssl, PostgreSQL, and greetings of mail servers.

The story: one address, one port, and everybody behind it is found by the name his client asks for.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.support.certificates import authority, local_pair
from tests.support.configs import entry_point
from tests.support.peers import (
    connect,
    everything,
    psql,
    running_postgres,
    running_s_server,
    s_client,
)
from tests.support.programs import running_streamlb, running_whoami

if TYPE_CHECKING:
    from tests.support.certificates import Pair


def tcp(address: str, routers: str, certificates: tuple[Pair, ...] = (), **servers: int) -> str:
    """TCP routers as written, and a service for each name and port."""
    services = "\n".join(
        f"    {name}: {{loadBalancer: {{servers: [{{address: 'localhost:{port}'}}]}}}}"
        for name, port in servers.items()
    )
    pairs = ", ".join(f"{{certFile: {pair.certificate}, keyFile: {pair.key}}}" for pair in certificates)
    tls = f"tls: {{certificates: [{pairs}]}}" if pairs else ""
    return f"""
entryPoints: {{in: {{address: "{address}"}}}}
tcp:
  routers:
{routers}
  services:
{services}
{tls}
"""


def backwards(port: int, name: str, *options: str) -> str:
    """What openssl's server says to `abc`, and the certificate it shows."""
    asking = ["-servername", name] if name else ["-noservername"]
    return s_client(port, *asking, "-ign_eof", *options, say="abc\n", wait_for="cba").stdout


def test_names_lead_through_without_being_opened() -> None:
    """Exact names before wildcards before patterns before the rest; the certificates are the servers' own."""
    port, address = entry_point("/tcp")
    pairs = {name: authority().certificate(f"{name}.test") for name in ("exact", "star", "pattern", "rest")}
    routers = """
    exact: {rule: "HostSNI(`exact.test`)", service: exact, tls: {passthrough: true}}
    star: {rule: "HostSNI(`*.star.test`)", service: star, tls: {passthrough: true}}
    pattern: {rule: "HostSNIRegexp(`^db[0-9]+\\\\.test$`)", service: pattern, tls: {passthrough: true}}
    rest: {rule: "HostSNI(`*`)", service: rest, tls: {passthrough: true}}"""
    with (
        running_s_server(pairs["exact"]) as (_, exact),
        running_s_server(pairs["star"]) as (_, star),
        running_s_server(pairs["pattern"]) as (_, pattern),
        running_s_server(pairs["rest"]) as (_, rest),
        running_streamlb(tcp(address, routers, exact=exact, star=star, pattern=pattern, rest=rest)),
    ):
        for asked, found in {
            "exact.test": "exact",
            "EXACT.test": "exact",
            "one.star.test": "star",
            "two.star.test": "star",
            "x.y.star.test": "rest",
            "db12.test": "pattern",
            "db.test": "rest",
            "": "rest",
        }.items():
            printed = backwards(port, asked)
            assert f"subject=CN = streamlb test {pairs[found].key.stem}\n" in printed, asked
        # TLS 1.2 and a hello of many kilobytes take the same way.
        assert "TLSv1.2" in backwards(port, "exact.test", "-tls1_2")
        assert "cba" in backwards(port, "exact.test", "-alpn", ",".join(f"protocol-{n:04}" * 8 for n in range(40)))


def test_a_name_nobody_wants_hears_so() -> None:
    port, address = entry_point("/tcp")
    routers = """
    exact: {rule: "HostSNI(`exact.test`)", service: exact, tls: {passthrough: true}}"""
    with running_whoami("v1", http=False, tcp=True) as v1:
        with running_streamlb(tcp(address, routers, exact=v1.tcp_port)):
            assert "unrecognized name" in s_client(port, "-servername", "other.test").stderr
            with connect(port) as sock:
                sock.sendall(b"plain text\n")
                assert everything(sock) == b""


def test_protocols_lead_to_their_servers() -> None:
    port, address = entry_point("/tcp")
    mail, web = authority().certificate("mail.test"), authority().certificate("web.test")
    routers = """
    mail: {rule: "ALPN(`imap`)", service: mail, tls: {passthrough: true}}
    web: {rule: "HostSNI(`*`)", service: web, tls: {passthrough: true}}"""
    with (
        running_s_server(mail, "-rev", "-alpn", "imap") as (_, mail_port),
        running_s_server(web) as (_, web_port),
        running_streamlb(tcp(address, routers, mail=mail_port, web=web_port)),
    ):
        assert "ALPN protocol: imap" in backwards(port, "a.test", "-alpn", "h2,imap")
        assert f"streamlb test {web.key.stem}" in backwards(port, "a.test", "-alpn", "h2")
        assert f"streamlb test {web.key.stem}" in backwards(port, "a.test")


def test_clients_are_known_by_their_address() -> None:
    port, address = entry_point("/tcp")
    office, rest = authority().certificate("office.test"), authority().certificate("rest.test")
    routers = """
    office: {rule: "HostSNI(`a.test`) && ClientIP(`127.0.0.2`)", service: office, tls: {passthrough: true}}
    rest: {rule: "HostSNI(`a.test`)", service: rest, tls: {passthrough: true}}"""
    with (
        running_s_server(office) as (_, office_port),
        running_s_server(rest) as (_, rest_port),
        running_streamlb(tcp(address, routers, office=office_port, rest=rest_port)),
    ):
        assert f"streamlb test {office.key.stem}" in backwards(port, "a.test", "-bind", "127.0.0.2:0")
        assert f"streamlb test {rest.key.stem}" in backwards(port, "a.test")


def test_a_greeting_comes_at_once_where_nothing_is_peeked_at() -> None:
    """A mail server speaks first; its entry point has plain TCP routers only."""
    port, address = entry_point("/tcp")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        routers = """
    mail: {rule: "HostSNI(`*`)", service: mail}"""
        with running_streamlb(tcp(address, routers, mail=listener.getsockname()[1])), connect(port) as client:
            client.settimeout(2)
            server, _ = listener.accept()
            with server:
                server.sendall(b"220 mail.test ESMTP\r\n")
                assert client.recv(100) == b"220 mail.test ESMTP\r\n"


def test_postgres_asks_in_the_clear_for_tls() -> None:
    """psql's SSLRequest, then its ClientHello; the server's own certificate is verified."""
    port, address = entry_point("/tcp")
    routers = """
    db: {rule: "HostSNI(`localhost`)", service: db, tls: {passthrough: true}}"""
    with running_postgres(local_pair()) as postgres, running_streamlb(tcp(address, routers, db=postgres)):
        asking = "select sum(i), (select ssl from pg_stat_ssl where pid = pg_backend_pid())"
        asking += " from generate_series(1, 100000) as t(i)"
        verified = ("sslmode=verify-full", f"sslrootcert={authority().pair.certificate}")
        done = psql(port, asking, *verified, host="localhost")
        assert done.stdout == "5000050000|t\n", done.stderr
        # Whoever does not ask has no name, so that nobody is there for him.
        assert psql(port, "select 1", "sslmode=disable", host="localhost").returncode != 0
