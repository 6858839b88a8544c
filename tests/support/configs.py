"""Configurations that several user stories share, as YAML text.

What lives here: small builders; each story still shows the part it is about.
"""

from __future__ import annotations

import textwrap

from tests.support.ports import free_port


def entry_point(kind: str = "") -> tuple[int, str]:
    """A free port and the address of an entry point on it; `kind` is "", "/tcp" or "/udp"."""
    port = free_port("udp" if kind == "/udp" else "tcp")
    return port, f"127.0.0.1:{port}{kind}"


def http_servers(**urls: int | str) -> str:
    """`services` entries: a load balancer `name` for each port (or URL), indented for `http.services`."""
    lines = []
    for name, target in urls.items():
        url = target if isinstance(target, str) else f"http://127.0.0.1:{target}"
        lines.append(f"{name.replace('_', '-')}: {{loadBalancer: {{servers: [{{url: '{url}'}}]}}}}")
    return textwrap.indent("\n".join(lines), "    ")
