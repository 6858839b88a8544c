"""Ports nobody else uses.

What lives here: `free_port`, for what cannot be told to take port 0 (a configuration file). Ports come from
below the kernel's range for outgoing connections, so that no client takes one between asking and binding.
"""

from __future__ import annotations

import itertools
import os
import socket

LOWEST, HIGHEST = 20_000, 32_000

_candidates = itertools.cycle(range(LOWEST, HIGHEST))
for _ in range(os.getpid() * 127 % (HIGHEST - LOWEST)):
    next(_candidates)


def free_port(kind: str = "tcp", host: str = "127.0.0.1") -> int:
    """A port free for `kind` ("tcp", "udp" or "both"); one is not given twice while others are free."""
    kinds = {"tcp": [socket.SOCK_STREAM], "udp": [socket.SOCK_DGRAM]}.get(kind, [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in itertools.islice(_candidates, HIGHEST - LOWEST):
        try:
            for socket_kind in kinds:
                with socket.socket(family, socket_kind) as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        return port
    raise AssertionError("no free port")
