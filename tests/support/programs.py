"""The product and its surroundings as child processes: what a user starts, started the way he does.

What lives here: `running_streamlb`, `running_whoami`, `curl`. Every child is dead at the end of its block,
whatever happened, and what it printed is shown by pytest when the test fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
STREAMLB = [sys.executable, "-m", "streamlb"]
START_TIMEOUT = 20.0


class Program:
    """A child process whose output (both streams) goes to a file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        name: str = "",
        descriptors: Sequence[int] = (),
    ) -> None:
        self.name = name or Path(str(command[0])).name
        self._output = folder / f"{self.name}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
                pass_fds=descriptors,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """What it printed so far."""
        return self._output.read_text(errors="replace")

    def wait_for(self, text: str, timeout: float = START_TIMEOUT) -> str:
        """Wait until `text` is printed; return the first line with it."""

        def found() -> str:
            ended = self.process.poll() is not None
            for line in self.log().splitlines():
                if text in line:
                    return line
            assert not ended, f"{self.name} ended with {self.process.returncode}:\n{self.log()}"
            return ""

        return until(found, timeout, f"{self.name} prints {text!r}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 15.0) -> int:
        """The exit code (negative: the signal that ended it)."""
        return self.process.wait(timeout)

    def stop(self, number: int = SIGTERM, timeout: float = 15.0) -> int:
        self.signal(number)
        return self.wait(timeout)

    def kill(self) -> None:
        """End it and its children for certain, then show what it printed."""
        family = [*children(self.pid), self.pid] if self.process.poll() is None else []
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
        self.process.wait(5)
        print(f"--- {self.name} (exit {self.process.returncode}) ---\n{self.log()}", file=sys.stderr)


class Proxy(Program):
    """A running `streamlb run`, with a socket and a state of its own."""

    def __init__(self, command: Sequence[str | Path], folder: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.socket = folder / "ctl.sock"
        own = {"STREAMLB_SOCKET": str(self.socket), "STATE_DIRECTORY": str(folder / "state")}
        super().__init__(command, folder, env={**own, **(env or {})}, name="streamlb")

    def ctl(self, *args: str, code: int = 0) -> str:
        """What `streamlb ARGS` says of this one on stdout (with another code: on stderr); it must end with `code`."""
        done = subprocess.run(
            [*STREAMLB, *args, "--socket", str(self.socket)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        assert done.returncode == code, f"streamlb {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    def ask(self, *args: str) -> Any:
        """What `streamlb ARGS --json` says."""
        return json.loads(self.ctl(*args, "--json"))

    def workers(self) -> list[int]:
        """The process ids of its worker processes."""
        return children(self.pid)


class Whoami(Program):
    """A running `streamlb whoami`; a port is 0 where it does not listen."""

    http_port = tcp_port = udp_port = 0


def children(pid: int) -> list[int]:
    """The process ids of the direct children of `pid`."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descriptors(pid: int) -> int:
    """How many a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    """Memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, name: str = ""
) -> Iterator[Program]:
    """Any program as a child (haproxy, redis-server ...); the caller waits until it is ready."""
    with tempfile.TemporaryDirectory(prefix="streamlb-test-") as folder:
        program = Program(command, Path(folder), env=env, name=name)
        try:
            yield program
        finally:
            program.kill()


@contextlib.contextmanager
def running_streamlb(config: str | Path, *, env: Mapping[str, str] | None = None, wait: bool = True) -> Iterator[Proxy]:
    """`streamlb run` on a file or on YAML text, ready to serve (unless `wait` is False)."""
    with tempfile.TemporaryDirectory(prefix="streamlb-test-") as folder:
        path = config
        if isinstance(config, str):
            path = Path(folder) / "lb.yaml"
            path.write_text(config)
        proxy = Proxy([*STREAMLB, "run", path], Path(folder), env=env)
        try:
            if wait:
                proxy.wait_for("ready in")
            yield proxy
        finally:
            proxy.kill()


@contextlib.contextmanager
def running_whoami(
    name: str = "v1",
    *,
    text: str | None = None,
    http: bool = True,
    tcp: bool = False,
    udp: bool = False,
    listen: Sequence[str] = (),
) -> Iterator[Whoami]:
    """`streamlb whoami` on free ports, or on the addresses in `listen`."""
    wanted = list(listen) or [f"127.0.0.1:0{suffix}" for suffix, on in (("", http), ("/tcp", tcp), ("/udp", udp)) if on]
    command = [*STREAMLB, "whoami", "--name", name]
    for address in wanted:
        command += ["--listen", address]
    if text is not None:
        command += ["--text", text]
    with tempfile.TemporaryDirectory(prefix="streamlb-test-") as folder:
        whoami = Whoami(command, Path(folder), name=f"whoami-{name}")
        try:
            whoami.wait_for("ready")
            for kind, port in re.findall(r"listening on (http|tcp|udp) \S+:(\d+)", whoami.log()):
                setattr(whoami, f"{kind}_port", int(port))
            yield whoami
        finally:
            whoami.kill()


def curl(*args: str | Path, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
    """The real curl, silent but for errors; the test is skipped where curl is missing."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (apt-get install curl)")
    command = ["curl", "-sS", "--max-time", str(timeout), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout + 5, check=False)


def need(program: str, package: str = "") -> str:
    """The path of a program a test cannot do without; the test is skipped where it is missing."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed (apt-get install {package or program})")
    return found
