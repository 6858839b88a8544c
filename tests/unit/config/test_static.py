"""The static part of the model: spelling, and Traefik's defaults."""

from __future__ import annotations

import pytest

from streamlb.config.naming import to_camel
from streamlb.config.static import EntryPoint, ServersTransport


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("address", "address"),
        ("entry_points", "entryPoints"),
        ("trusted_ips", "trustedIPs"),
        ("root_cas", "rootCAs"),
        ("disable_http2", "disableHTTP2"),
    ],
)
def test_yaml_is_written_in_camel_case(name: str, written: str) -> None:
    assert to_camel(name) == written


@pytest.mark.parametrize(
    ("address", "kind"), [(":80", "tcp"), (":80/tcp", "tcp"), (":53/udp", "udp"), (":53/UDP", "udp")]
)
def test_the_kind_of_an_entry_point_is_in_its_address(address: str, kind: str) -> None:
    assert EntryPoint(address=address).kind == kind


def test_defaults() -> None:
    entry_point = EntryPoint(address=":80")
    assert entry_point.transport.life_cycle.grace_time_out == 10.0
    assert entry_point.udp.timeout == 3.0
    assert not entry_point.forwarded_headers.insecure
    transport = ServersTransport()
    assert (transport.max_idle_conns_per_host, transport.forwarding_timeouts.dial_timeout) == (200, 30.0)
