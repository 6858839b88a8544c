"""Who a flow's datagrams come from, as the walk is told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from streamlb.proxy.udp_flow import UdpClient, UdpFlow

if TYPE_CHECKING:
    from collections.abc import Hashable


@pytest.mark.parametrize(
    ("key", "client"),
    [
        (("192.0.2.7", 5353), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5353, 0, 0), "192.0.2.7"),
        (("2001:db8::7", 5353, 0, 0), "2001:db8::7"),
        ((("192.0.2.7", 5353), b"\x7f\x00\x00\x01"), "192.0.2.7"),
        ((("fe80::1%eth0", 5353, 0, 2), b""), "fe80::1"),
    ],
)
def test_the_client_of_a_flow(key: Hashable, client: str) -> None:
    asked = UdpClient(key)
    assert asked.client == ip_address(client)
    assert asked.values(b"host") == []
    want = UdpFlow(key, key, client).want
    assert want.request is not None
    assert want.request.client == ip_address(client)
