"""How many descriptors a configuration may need."""

from __future__ import annotations

import pytest

from streamlb.config.model import Config
from streamlb.config.static import EntryPoint, EntryPointTransport, UdpOptions
from streamlb.process.descriptors import EXPECTED, RESERVE, remark

WEB = EntryPoint(address=":80")
LIMITED = EntryPoint(address=":81", transport=EntryPointTransport(max_connections=50))
DNS = EntryPoint(address=":53/udp", udp=UdpOptions(max_flows=300))


@pytest.mark.parametrize(
    ("entry_points", "needed"),
    [([WEB], 2 * EXPECTED), ([LIMITED], 100), ([DNS], 300), ([WEB, LIMITED, DNS], 2 * EXPECTED + 400)],
)
def test_what_is_too_little_is_said(entry_points: list[EntryPoint], needed: int) -> None:
    config = Config(entry_points={each.address: each for each in entry_points})
    assert remark(config, needed + RESERVE) == ""
    told = remark(config, needed + RESERVE - 1)
    assert f"may need {needed + RESERVE}" in told
