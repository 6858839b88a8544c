"""What a peer has not taken yet, as the kernel knows it.

What lives here: `count_untaken`. What must not: what is held in our own buffers. Called by `proxy/downstream.py`.
Specified by tcp(7), SIOCOUTQ: a socket says it is writable only when a third of its buffer is free, which a slow peer
takes minutes for; this tells at once whether it takes anything at all.
"""

from __future__ import annotations

import fcntl
import struct
import termios


def count_untaken(descriptor: int) -> int:
    """Bytes in a TCP socket's send queue, not acknowledged by the peer; 0 where nobody can tell."""
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    (count,) = struct.unpack("i", answer)
    return int(count)
