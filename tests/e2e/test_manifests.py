"""The tutorial's Kubernetes manifests, unchanged, on a machine without Kubernetes.

The story: `providers.kubernetesManifests` reads IngressRoute and TraefikService documents; `endpoints` says where the
Services they name live; names come out as Traefik makes them.
"""

from __future__ import annotations

import base64
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import authority
from tests.support.configs import entry_point
from tests.support.http import Client
from tests.support.programs import ROOT, curl, running_streamlb, running_whoami
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.programs import Whoami

HOST = "myapp.test.com"


@pytest.fixture(scope="module")
def versions() -> Iterator[tuple[Whoami, Whoami]]:
    with running_whoami("v1", text="v1", tcp=True, udp=True) as v1:
        with running_whoami("v2", text="v2", tcp=True, udp=True) as v2:
            yield v1, v2


def tutorial(address: str, scenario: str, versions: tuple[Whoami, Whoami]) -> str:
    return f"""
entryPoints: {{web: {{address: "{address}"}}}}
providers:
  kubernetesManifests:
    paths: ["{ROOT}/conf/kubernetes/{scenario}"]
    endpoints:
      default/myapp1: ["127.0.0.1:{versions[0].http_port}"]
      default/myapp2: ["127.0.0.1:{versions[1].http_port}"]
"""


def test_canary(versions: tuple[Whoami, Whoami]) -> None:
    port, address = entry_point()
    with running_streamlb(tutorial(address, "canary", versions)), Client(port) as client:
        assert [client.request(host=HOST).text for _ in range(6)] == ["v1\n", "v2\n", "v2\n"] * 2


def test_mirror(versions: tuple[Whoami, Whoami]) -> None:
    port, address = entry_point()
    with running_streamlb(tutorial(address, "mirror", versions)), Client(port) as client:
        assert [client.request(f"/mirrored/{n}", host=HOST).text for n in range(1, 5)] == ["v1\n"] * 4
        until(lambda: "/mirrored/3" in versions[1].log())
        assert "/mirrored/1" in versions[1].log()
        assert "/mirrored/2" not in versions[1].log()
        assert "/mirrored/4" not in versions[1].log()


def test_sticky(versions: tuple[Whoami, Whoami]) -> None:
    port, address = entry_point()
    with running_streamlb(tutorial(address, "sticky", versions)):
        for name, version in (("default-myapp2-80", "v2\n"), ("default-myapp1-80", "v1\n")):
            for _ in range(2):
                answer = curl("-b", f"lvl1={name}", "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/")
                assert answer.stdout == version


def test_documents_of_every_kind_together(versions: tuple[Whoami, Whoami], tmp_path: Path) -> None:
    """TCP and UDP routes, addresses from EndpointSlice and Endpoints, a named port, both API groups, other kinds."""
    web, web_address = entry_point()
    db, db_address = entry_point("/tcp")
    dns, dns_address = entry_point("/udp")
    v1, v2 = versions
    manifests = f"""
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {{name: site, namespace: shop}}
spec:
  entryPoints: [web]
  routes:
    - match: Host(`{HOST}`) && PathPrefix(`/shop`)
      kind: Rule
      services:
        - {{name: front, port: http, weight: 1}}
        - {{name: front2, port: 80, weight: 1}}
---
apiVersion: traefik.containo.us/v1alpha1
kind: IngressRouteTCP
metadata: {{name: db, namespace: shop}}
spec:
  entryPoints: [db]
  routes:
    - match: HostSNI(`*`)
      services: [{{name: db, port: 5432}}]
---
apiVersion: traefik.io/v1alpha1
kind: IngressRouteUDP
metadata: {{name: dns, namespace: shop}}
spec:
  entryPoints: [dns]
  routes:
    - services: [{{name: dns, port: 53}}]
---
apiVersion: v1
kind: Service
metadata: {{name: front, namespace: shop}}
spec: {{ports: [{{name: http, port: 80, targetPort: web}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: front-abc, namespace: shop, labels: {{kubernetes.io/service-name: front}}}}
addressType: IPv4
ports: [{{name: http, port: {v1.http_port}}}]
endpoints: [{{addresses: ["127.0.0.1"], conditions: {{ready: true}}}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{name: front2, namespace: shop}}
subsets: [{{addresses: [{{ip: 127.0.0.1}}], ports: [{{port: {v2.http_port}}}]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: front2, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: front, namespace: shop}}
spec: {{}}
"""
    (tmp_path / "all.yaml").write_text(manifests)
    config = f"""
entryPoints:
  web: {{address: "{web_address}"}}
  db: {{address: "{db_address}"}}
  dns: {{address: "{dns_address}"}}
providers:
  kubernetesManifests:
    paths: ["{tmp_path}/all.yaml"]
    endpoints:
      shop/db:5432: ["127.0.0.1:{v1.tcp_port}"]
      shop/dns: ["127.0.0.1:{v2.udp_port}"]
"""
    with running_streamlb(config), Client(web) as client:
        assert {client.request("/shop", host=HOST).text for _ in range(2)} == {"v1\n", "v2\n"}
        assert client.request("/other", host=HOST).status == 404
        assert ask_tcp(db) == b"v1: hello\n"
        assert ask_udp(dns) == b"v2: hello"


def ask_tcp(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"hello\n")
        return sock.recv(100)


def ask_udp(port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(b"hello", ("127.0.0.1", port))
        return sock.recv(100)


def test_certificates_from_secrets(versions: tuple[Whoami, Whoami], tmp_path: Path) -> None:
    """An IngressRoute for HTTPS, one for TCP with TLS ended here, one that only its options keep out."""
    port, address = entry_point()
    pair = authority().certificate("web.test", "echo.test")
    encoded = [base64.b64encode(path.read_bytes()).decode() for path in (pair.certificate, pair.key)]
    group, site = "apiVersion: traefik.io/v1alpha1", "services: [{name: site, port: 80}]"
    (tmp_path / "all.yaml").write_text(f"""
apiVersion: v1
kind: Secret
metadata: {{name: pair}}
type: kubernetes.io/tls
data: {{tls.crt: {encoded[0]}, tls.key: {encoded[1]}}}
---
{group}
kind: IngressRoute
metadata: {{name: site}}
spec: {{routes: [{{match: Host(`web.test`), {site}}}], tls: {{secretName: pair, options: {{name: old}}}}}}
---
{group}
kind: TLSOption
metadata: {{name: old}}
spec: {{maxVersion: VersionTLS12}}
---
{group}
kind: MiddlewareTCP
metadata: {{name: few}}
spec: {{inFlightConn: {{amount: 1}}}}
---
{group}
kind: IngressRouteTCP
metadata: {{name: echo}}
spec:
  routes:
    - {{match: HostSNI(`echo.test`), middlewares: [{{name: few}}], services: [{{name: echo, port: 7}}]}}
  tls: {{secretName: pair}}
""")
    text = f"""
entryPoints: {{secure: {{address: "{address}"}}}}
providers:
  kubernetesManifests:
    paths: ["{tmp_path}"]
    endpoints:
      default/site: ["127.0.0.1:{versions[0].http_port}"]
      default/echo: ["127.0.0.1:{versions[1].tcp_port}"]
"""
    ca = authority().pair.certificate
    with running_streamlb(text):
        where = ["--cacert", ca, "--resolve", f"web.test:{port}:127.0.0.1", f"https://web.test:{port}/"]
        assert curl(*where).stdout == "v1\n"
        assert curl("--tlsv1.3", *where).returncode == 35
        context = ssl.create_default_context(cafile=str(ca))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            with context.wrap_socket(raw, server_hostname="echo.test") as client:
                client.sendall(b"hello\n")
                assert client.recv(100)
                with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
                    with context.wrap_socket(other, server_hostname="echo.test") as second:
                        assert second.recv(100) == b""
