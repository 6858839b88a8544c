"""What a client's connection makes of its peer's address; its dialogues are in tests/wire."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from streamlb.proxy.downstream import Downstream
from streamlb.proxy.heads import Habits


@pytest.mark.parametrize(
    ("host", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:0:c000:207", "::ffff:0:c000:207"),  # Translated, not mapped: without its head it is no address.
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_peer_is_an_address(host: str, peer: str) -> None:
    entry = Mock(is_secure=False)
    entry.clock.after.return_value = 1.0
    entry.habits = Habits()
    connection = Downstream(entry)
    connection.connection_made(Mock(**{"get_extra_info.return_value": (host, 4711, 0, 0)}))
    assert connection.peer == peer
    entry.trusted.covers.assert_called_once_with(peer)
