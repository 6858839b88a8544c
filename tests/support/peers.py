"""The real programs on either side of the proxy: HAProxy, nginx, Redis, PostgreSQL, openssl.

What lives here: each as a context manager that yields when it listens, and skips the test where it is not installed.
What must not: anything of streamlb. What the tests themselves send by hand is in `http.py` and `tcp.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.support.programs import need, running
from tests.support.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.certificates import Pair
    from tests.support.programs import Program

HOST = "127.0.0.1"
POSTGRES = Path("/usr/lib/postgresql")
NOBODY = 65534


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((HOST, port)) == 0


def connect(port: int, source: str = "", timeout: float = 10.0) -> socket.socket:
    """A connection to a local port, from another local address if wanted."""
    return socket.create_connection((HOST, port), timeout, (source, 0) if source else None)


def everything(sock: socket.socket) -> bytes:
    """All that comes until the other side ends, in whichever way."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(1 << 20):
            received += piece
    return bytes(received)


@contextlib.contextmanager
def running_haproxy(port: int, text: str, mode: str = "tcp") -> Iterator[Program]:
    """HAProxy with these sections, until `port` listens."""
    haproxy = need("haproxy")
    defaults = f"defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
    with tempfile.TemporaryDirectory(prefix="streamlb-haproxy-") as folder:
        path = Path(folder) / "haproxy.cfg"
        path.write_text(defaults + text)
        with running([haproxy, "-db", "-f", path], name="haproxy") as program:
            until(lambda: listens(port), 10, "haproxy listens")
            yield program


@contextlib.contextmanager
def running_nginx(port: int, block: str) -> Iterator[Program]:
    """nginx with this server block within `http`, until `port` listens."""
    nginx = need("nginx")
    with tempfile.TemporaryDirectory(prefix="streamlb-nginx-") as folder:
        places = "".join(
            f"{name}_temp_path {folder}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path = Path(folder) / "nginx.conf"
        path.write_text(
            f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off; {places}\n{block} }}\n"
        )
        with running([nginx, "-e", f"{folder}/error.log", "-c", path], name="nginx") as program:
            until(lambda: listens(port), 10, "nginx listens")
            yield program


@contextlib.contextmanager
def running_redis() -> Iterator[int]:
    """A Redis without a file; yields its port."""
    redis = need("redis-server")
    port = free_port()
    command = [redis, "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]
    with running(command) as program:
        program.wait_for("Ready to accept connections")
        yield port


def redis_cli(port: int, *words: str, stdin: str | bytes = "") -> str:
    """What redis-cli prints."""
    command = [need("redis-cli", "redis-tools"), "-h", HOST, "-p", str(port), *words]
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.decode()


@contextlib.contextmanager
def running_s_server(pair: Pair, *options: str | Path) -> Iterator[tuple[Program, int]]:
    """`openssl s_server`, which serves one connection at a time and says each line backwards with `-rev`."""
    port = free_port()
    command = [need("openssl"), "s_server", "-accept", f"{HOST}:{port}", "-cert", pair.certificate, "-key", pair.key]
    with running([*command, *(options or ("-rev",))], name=f"s_server-{port}") as program:
        program.wait_for("ACCEPT")
        yield program, port


def s_client(
    port: int, *options: str | Path, say: str = "", wait_for: str = "", timeout: float = 10.0
) -> subprocess.CompletedProcess[str]:
    """`openssl s_client`: connects, says a line, and hangs up when `wait_for` has come (else at once)."""
    command = [need("openssl"), "s_client", "-connect", f"{HOST}:{port}", *map(str, options)]
    if not wait_for:
        return subprocess.run(command, input=say, capture_output=True, text=True, timeout=timeout, check=False)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        assert process.stdin is not None

        def printed() -> str:
            return os.pread(output.fileno(), 1 << 20, 0).decode(errors="replace")

        try:
            process.stdin.write(say.encode())
            process.stdin.flush()
            until(lambda: wait_for in printed() or process.poll() is not None, timeout, f"s_client prints {wait_for!r}")
        finally:
            process.kill()
            process.stdin.close()
            process.wait(5)
        return subprocess.CompletedProcess(command, process.returncode, printed(), "")


def _postgres_folder() -> Path:
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    if not found or shutil.which("psql") is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent


@contextlib.contextmanager
def running_postgres(pair: Pair | None = None) -> Iterator[int]:
    """A PostgreSQL of its own, with TLS if it gets a certificate; yields its port. It refuses to run as root."""
    programs = _postgres_folder()
    port = free_port()
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="streamlb-postgres-") as name:
        folder = Path(name)
        options = [f"-cport={port}", f"-clisten_addresses={HOST}", f"-cunix_socket_directories={folder}", "-cfsync=off"]
        if pair is not None:
            shutil.copy(pair.certificate, folder / "server.pem")
            shutil.copy(pair.key, folder / "server.key")
            options += ["-cssl=on", f"-cssl_cert_file={folder}/server.pem", f"-cssl_key_file={folder}/server.key"]
            (folder / "server.key").chmod(0o600)
        if user:
            for path in (folder, *folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
        data = folder / "data"
        initdb: list[str | Path] = [programs / "initdb", "-D", data, "-U", "test", "--auth=trust", "--no-sync"]
        subprocess.run([*initdb, "-E", "UTF8", "--no-locale"], check=True, capture_output=True, timeout=60, **user)
        log = folder / "postgres.log"
        with log.open("wb") as output:
            command = [programs / "postgres", "-D", data, *options]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, **user)
        try:
            until(lambda: "ready to accept" in log.read_text(), 20, f"PostgreSQL starts: {log.read_text()}")
            yield port
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
            print(f"--- postgres ---\n{log.read_text()}")


def psql(port: int, statement: str, *settings: str, host: str = HOST) -> subprocess.CompletedProcess[str]:
    """The real psql; settings are those of its connection string (`sslmode=require`)."""
    where = " ".join([f"host={host} port={port} user=test dbname=postgres connect_timeout=10", *settings])
    command: Sequence[str] = [need("psql", "postgresql-client"), where, "-XAtqc", statement]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
