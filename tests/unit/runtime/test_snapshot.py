"""The one reference: whoever reads it sees one whole world."""

from __future__ import annotations

from streamlb.config.model import Config
from streamlb.config.static import EntryPoint
from streamlb.runtime.snapshot import EntryPointTable, Runtime, World


def test_a_reload_is_one_assignment() -> None:
    table = EntryPointTable("web", EntryPoint(address=":80"))
    assert (table.http, table.tcp, table.udp) == (None, None, None)
    old = Runtime(1, Config(), {"web": table}, {})
    world = World(old)
    held = world.runtime
    world.runtime = Runtime(2, Config(), {}, {})
    assert (held.version, held.entry_points) == (1, {"web": table})
    assert (world.runtime.version, world.runtime.entry_points) == (2, {})
