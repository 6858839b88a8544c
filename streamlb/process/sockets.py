"""The listening sockets of all worker slots.

What lives here: `bind_all`. What must not: options of a single socket (`net/address.py`).
Called by `process/control.py` before any worker starts, so that whatever is wrong with an address is known at once.
SO_REUSEPORT (socket(7)) gives each worker a queue of its own; the kernel spreads connections over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlb.net.address import bind, parse_address

if TYPE_CHECKING:
    import socket

    from streamlb.config.model import Config


def bind_all(config: Config, workers: int) -> list[dict[str, socket.socket]]:
    """For each worker a socket per entry point. Raises StartError, with nothing left bound."""
    slots: list[dict[str, socket.socket]] = [{} for _ in range(workers)]
    try:
        for name, entry_point in config.entry_points.items():
            address = parse_address(entry_point.address)
            # With SO_REUSEPORT we would share the port unnoticed with another streamlb of the same user: this socket
            # does not share, so it finds out. With one worker it is the one that stays.
            alone = bind(address, name=name)
            if workers == 1:
                slots[0][name] = alone
                continue
            chosen = address._replace(port=alone.getsockname()[1])
            alone.close()
            for slot in slots:
                slot[name] = bind(chosen, name=name, reuse_port=True)
    except BaseException:
        for slot in slots:
            for sock in slot.values():
                sock.close()
        raise
    return slots
