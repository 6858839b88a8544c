"""TLS ended for TCP: Redis and PostgreSQL without certificates of their own, and everything on one port.

The story: databases that speak plain TCP, and clients that insist on TLS.
"""

from __future__ import annotations

from tests.e2e.test_passthrough import backwards, tcp
from tests.support.certificates import authority, local_pair
from tests.support.configs import entry_point
from tests.support.http import http_get, ok, recording
from tests.support.peers import connect, psql, redis_cli, running_postgres, running_redis, running_s_server
from tests.support.programs import curl, running_streamlb, running_whoami


def test_everything_on_one_port() -> None:
    """HTTP, HTTPS, TLS ended for TCP, TLS led through, and plain TCP by its sender."""
    port, address = entry_point()
    through = authority().certificate("through.test")
    with (
        recording(ok(b"plain\n")) as plain,
        recording(ok(b"secure\n")) as secure,
        running_redis() as redis,
        running_s_server(through) as (_, through_port),
        running_whoami("v1", http=False, tcp=True) as v1,
    ):
        routers = """
    redis: {rule: "HostSNI(`redis.test`)", service: redis, tls: {}}
    through: {rule: "HostSNI(`through.test`)", service: through, tls: {passthrough: true}}
    office: {rule: "HostSNI(`*`) && ClientIP(`127.0.0.2`)", service: office}"""
        pairs = (local_pair(), authority().certificate("redis.test"))
        servers = {"redis": redis, "through": through_port, "office": v1.tcp_port}
        text = (
            tcp(address, routers, pairs, **servers)
            + f"""
http:
  routers:
    plain: {{rule: "PathPrefix(`/`)", service: plain}}
    secure: {{rule: "Host(`localhost`)", service: secure, tls: {{}}}}
  services:
    plain: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{plain.port}"}}]}}}}
    secure: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{secure.port}"}}]}}}}
"""
        )
        with running_streamlb(text):
            ca = str(authority().pair.certificate)
            assert http_get(port).text == "plain\n"
            assert curl("--cacert", ca, f"https://localhost:{port}/").stdout == "secure\n"
            assert f"streamlb test {through.key.stem}" in backwards(port, "through.test")
            secured = ["--tls", "--cacert", ca, "--sni", "redis.test"]
            assert redis_cli(port, *secured, "set", "k", "v") == "OK\n"
            assert redis_cli(port, *secured, "get", "k") == "v\n"
            with connect(port, "127.0.0.2") as sock:
                sock.sendall(b"hello\n")
                assert sock.recv(100) == b"v1: hello\n"


def test_redis_over_tls_pushes_and_pipelines() -> None:
    port, address = entry_point("/tcp")
    routers = """
    redis: {rule: "HostSNI(`*`)", service: redis, tls: {}}"""
    with running_redis() as redis, running_streamlb(tcp(address, routers, (local_pair(),), redis=redis)):
        secured = ["--tls", "--cacert", str(authority().pair.certificate), "--sni", "localhost"]
        commands = b"".join(b"*3\r\n$3\r\nSET\r\n$5\r\nk%04d\r\n$5\r\nv%04d\r\n" % (i, i) for i in range(5000))
        assert "errors: 0, replies: 5000" in redis_cli(port, *secured, "--pipe", stdin=commands)
        value = "v" * 3_000_000
        assert redis_cli(port, *secured, "-x", "set", "large", stdin=value) == "OK\n"
        assert redis_cli(port, *secured, "get", "large") == value + "\n"


def test_postgres_without_certificates_of_its_own() -> None:
    """psql's request for TLS is answered by us, and PostgreSQL is spoken to in the clear."""
    port, address = entry_point("/tcp")
    routers = """
    db: {rule: "HostSNI(`localhost`)", service: db, tls: {}}"""
    with running_postgres() as postgres, running_streamlb(tcp(address, routers, (local_pair(),), db=postgres)):
        verified = ("sslmode=verify-full", f"sslrootcert={authority().pair.certificate}")
        done = psql(port, "select sum(i) from generate_series(1, 100000) as t(i)", *verified, host="localhost")
        assert done.stdout == "5000050000\n", done.stderr
        assert psql(port, "select 1", "sslmode=disable", host="localhost").returncode != 0
