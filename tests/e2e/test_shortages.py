"""When the machine has no more to give: streamlb goes on, says so once, and recovers."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.http import http_get, recording
from tests.support.ports import free_port
from tests.support.programs import STREAMLB, children, descriptors, need, running
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.programs import Program

FEW = 120


def config(port: int, origin: int) -> str:
    return f"""
entryPoints: {{web: {{address: "127.0.0.1:{port}"}}}}
log: {{format: common}}
workerTimeout: 2s
http:
  routers: {{all: {{rule: "PathPrefix(`/`)", service: app}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{origin}"}}]}}}}}}
"""


def busy_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def limited(limit: str, text: str, folder: Path) -> Iterator[Program]:
    """`streamlb run` under a limit, as `prlimit` says it."""
    path = folder / "lb.yaml"
    path.write_text(text)
    with running([need("prlimit", "util-linux"), limit, *STREAMLB, "run", path], name="streamlb") as program:
        program.wait_for("ready in")
        yield program


def test_no_descriptors_left(tmp_path: Path) -> None:
    """Who comes then waits: nobody is closed, no loop spins, and the worker is not taken for dead."""
    port = free_port()
    with recording() as origin, limited(f"--nofile={FEW}:{FEW}", config(port, origin.port), tmp_path) as proxy:
        proxy.wait_for(f"each worker may open {FEW} files")
        [worker] = children(proxy.pid)
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2 * FEW)]
            proxy.wait_for("cannot accept connections for now: Too many open files; trying again")
            until(lambda: descriptors(worker) == FEW, 5)
            answers: list[int] = []
            waiting = threading.Thread(target=lambda: answers.append(http_get(port).status))
            waiting.start()
            before = busy_seconds(worker)
            over_at = time.monotonic() + 3  # Longer than a worker may say nothing.
            until(lambda: time.monotonic() > over_at, 5)
            assert busy_seconds(worker) - before < 1
            assert all(is_open(sock) for sock in crowd)
            assert not answers
        waiting.join(10)
        assert answers == [200]
        assert children(proxy.pid) == [worker]
        assert proxy.log().count("cannot accept") == 1
        assert "WARN" not in proxy.log().partition("trying again")[2]


def is_open(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return not poll.poll(0)
