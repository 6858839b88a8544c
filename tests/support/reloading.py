"""A configuration that is changed while it is served.

What lives here: `Live`, a configuration as a tree that tests edit, written as JSON, which is YAML; reloaded by SIGHUP.
What must not: asserting; what came of a reload is returned.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.programs import Proxy, running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DYNAMIC = ("http", "tcp", "udp", "tls")
DYNAMIC_FILE = "dynamic.yaml"
ENDS = ("version", "the configuration is as before", "the new configuration is not served")


class Live:
    """A running streamlb and the tree of its configuration. `tree` may be changed at will; `reload` makes it so."""

    def __init__(self, tree: dict[str, Any], path: Path) -> None:
        self.tree = tree
        self.path = path
        self.proxy: Proxy
        self.write()

    def write(self) -> None:
        """Replace the files that change, as editors do. Of the dynamic part nobody hears before the next reload."""
        dynamic = {key: self.tree[key] for key in DYNAMIC if key in self.tree}
        static = {key: value for key, value in self.tree.items() if key not in DYNAMIC}
        static["providers"] = {"file": {"filename": DYNAMIC_FILE, "watch": False}}
        for path, tree in ((self.path.with_name(DYNAMIC_FILE), dynamic), (self.path, static)):
            text = json.dumps(tree or {"http": {}}, indent=1)
            if not path.exists() or path.read_text() != text:
                new = path.with_suffix(".new")
                new.write_text(text)
                new.rename(path)

    def reload(self, *, ok: bool = True) -> list[str]:
        """Write, say SIGHUP, wait until it is over; what the log says meanwhile."""
        self.write()
        before = len(self.proxy.log().splitlines())
        self.proxy.signal(signal.SIGHUP)
        lines = until(lambda: self._said(before), 20, "the reload is over")
        assert any("not served" in line for line in lines) is not ok, "\n".join(lines)
        return lines

    def _said(self, before: int) -> list[str]:
        lines = self.proxy.log().splitlines()[before:]
        ends = [line for line in lines if any(f"SIGHUP: {end}" in line for end in ENDS)]
        return lines if ends else []

    @property
    def http(self) -> dict[str, Any]:
        return self.tree["http"]  # type: ignore[no-any-return]

    def servers(self, service: str, *ports: int, protocol: str = "http", **options: Any) -> None:
        """Make `service` a load balancer of these servers."""
        key, prefix = ("url", "http://") if protocol == "http" else ("address", "")
        servers = [{key: f"{prefix}127.0.0.1:{port}"} for port in ports]
        services = self.tree.setdefault(protocol, {}).setdefault("services", {})
        services[service] = {"loadBalancer": {"servers": servers, **options}}

    def router(self, name: str, service: str, rule: str = "", *, protocol: str = "http", **options: Any) -> None:
        rule = rule or {"http": "PathPrefix(`/`)", "tcp": "HostSNI(`*`)"}.get(protocol, "")
        rules = {"rule": rule} if rule else {}
        routers = self.tree.setdefault(protocol, {}).setdefault("routers", {})
        routers[name] = {**rules, "service": service, **options}

    def entry_point(self, name: str, port: int, kind: str = "tcp", **options: Any) -> None:
        suffix = "/udp" if kind == "udp" else ""
        self.tree["entryPoints"][name] = {"address": f"127.0.0.1:{port}{suffix}", **options}


def plain(port: int, *origins: int, workers: int = 1) -> dict[str, Any]:
    """An HTTP entry point `web`, a router `all` that takes everything, a service `app`."""
    servers = [{"url": f"http://127.0.0.1:{origin}"} for origin in origins]
    return {
        "entryPoints": {"web": {"address": f"127.0.0.1:{port}", "transport": {"lifeCycle": {"graceTimeOut": "5s"}}}},
        "workers": workers,
        "log": {"format": "common"},
        "http": {
            "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "app"}},
            "services": {"app": {"loadBalancer": {"servers": servers}}},
        },
    }


@contextlib.contextmanager
def live(tree: dict[str, Any], *, env: Mapping[str, str] | None = None) -> Iterator[Live]:
    """`streamlb run` on this tree."""
    with tempfile.TemporaryDirectory(prefix="streamlb-test-") as folder:
        made = Live(tree, Path(folder) / "lb.yaml")
        with running_streamlb(made.path, env=env) as made.proxy:
            yield made
