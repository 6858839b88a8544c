"""Child processes of the bench: started in a scratch folder, watched until ready, measured, always ended.

What lives here: `Program`, its CPU time from /proc, free ports, and which Debian package brings what is missing.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 15.0
STOP_TIMEOUT = 0.5
PACKAGES = {"wrk": "wrk", "haproxy": "haproxy", "nginx": "nginx", "openssl": "openssl"}
NGINX_STREAM = [
    Path("/usr/lib/nginx/modules/ngx_stream_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_stream_module.so"),
]


def find(name: str) -> str | None:
    """The path of a program, looked for in the places of system programs too."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def nginx_stream_module() -> Path | None:
    """nginx's module for TCP and UDP, a package of its own on Debian."""
    return next((path for path in NGINX_STREAM if path.exists()), None)


def certificate(folder: Path) -> Path:
    """A self-signed certificate (ECDSA, P-256) and its key in one file, and apart as `.crt` and `.key`."""
    both, crt, key = (folder / f"bench.{suffix}" for suffix in ("pem", "crt", "key"))
    if not both.exists():
        command = [find("openssl") or "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-days", "30"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(crt)]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
        both.write_text(crt.read_text() + key.read_text())
    return both


class Cpu(NamedTuple):
    """CPU time in seconds."""

    user: float
    system: float

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.user - earlier.user, self.system - earlier.system)

    @property
    def total(self) -> float:
        return self.user + self.system


class Program:
    """A running child; its output goes to a file in `folder`."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, cwd: Path) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=cwd
            )

    def cpu(self) -> Cpu:
        """What the program and all its children have used so far."""
        user = system = 0
        for pid in family(self.process.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                user += int(fields[11])
                system += int(fields[12])
        return Cpu(user / TICKS_PER_SECOND, system / TICKS_PER_SECOND)

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        deadline_at = time.monotonic() + START_TIMEOUT
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline_at:
                raise SystemExit(f"{self.name} did not start:\n{self._log.read_text(errors='replace')}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask politely, then firmly: a proxy that waits for its last flows ends at once with a second signal."""
        for end in (self.process.terminate, self.process.terminate, self.process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT)
                return


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found


_ports = itertools.cycle(random.sample(range(20_000, 32_000), 12_000))


def free_port() -> int:
    """A port free for TCP and UDP, below the kernel's range for outgoing connections."""
    for port in itertools.islice(_ports, 12_000):
        with contextlib.suppress(OSError):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
            return port
    raise SystemExit("no free port on 127.0.0.1")


def accepts(port: int) -> bool:
    """Whether something listens for TCP at the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def echoes(port: int) -> bool:
    """Whether a datagram sent to the port comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.1)
        probe.connect(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            probe.send(b"ready?")
            return bool(probe.recv(100))
    return False
