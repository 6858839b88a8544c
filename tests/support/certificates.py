"""Certificates made by the real openssl, and an origin that speaks TLS with them.

What lives here: `authority`, which makes a CA once per run and signs what a test asks for, and `SecureRecorder`.
What must not: anything of streamlb; the contexts of the origin are Python's own.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.http import TIMEOUT, Recorder
from tests.support.programs import need

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.support.http import Answer, Script


@dataclass(slots=True)
class Pair:
    """A certificate and its key, in files."""

    certificate: Path
    key: Path

    @property
    def text(self) -> str:
        return self.certificate.read_text()


class Authority:
    """A CA of the tests' own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        self.pair = self._self_signed("ca", "basicConstraints=critical,CA:TRUE")

    def certificate(self, *names: str, days: int = 30, kind: str = "ec") -> Pair:
        """A certificate for host names or addresses, signed by this authority; `days` -1: expired yesterday."""
        pair = self._pair()
        request = pair.key.with_suffix(".csr")
        _openssl(*_request(pair, kind), "-out", request, "-addext", _names(names))
        signer = ["-CA", self.pair.certificate, "-CAkey", self.pair.key, "-days", str(days)]
        _openssl("x509", "-req", "-in", request, "-out", pair.certificate, "-copy_extensions", "copy", *signer)
        return pair

    def self_signed(self, *names: str) -> Pair:
        """A certificate that nobody vouches for."""
        return self._self_signed("own", _names(names))

    def _self_signed(self, name: str, extension: str) -> Pair:
        pair = self._pair(name)
        _openssl(*_request(pair), "-x509", "-out", pair.certificate, "-addext", extension)
        return pair

    def _pair(self, name: str = "leaf") -> Pair:
        self._count += 1
        stem = f"{name}-{self._count}"
        return Pair(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")


def _openssl(*command: str | Path) -> None:
    subprocess.run([need("openssl"), *command], check=True, capture_output=True, timeout=20)


def _request(pair: Pair, kind: str = "ec") -> list[str | Path]:
    key = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    return ["req", "-newkey", *key, "-nodes", "-subj", f"/CN=streamlb test {pair.key.stem}", "-keyout", pair.key]


def _names(names: tuple[str, ...]) -> str:
    listed = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
    return f"subjectAltName={listed}"


_folders: list[tempfile.TemporaryDirectory[str]] = []


def authority(name: str = "one") -> Authority:
    """The CA called `name`."""
    return _authority(name)


@functools.cache
def _authority(name: str) -> Authority:
    """Its files live as long as the test run."""
    folder = tempfile.TemporaryDirectory(prefix=f"streamlb-ca-{name}-")
    _folders.append(folder)
    return Authority(Path(folder.name))


@functools.cache
def local_pair() -> Pair:
    """A good certificate for this machine, as `localhost` and 127.0.0.1."""
    return authority().certificate("localhost", "127.0.0.1")


@dataclass(slots=True)
class SecureRecorder(Recorder):
    """A `Recorder` that speaks TLS. failures: the handshakes that came to nothing. handshakes: what was agreed on."""

    context: ssl.SSLContext | None = None
    polite: bool = False
    failures: list[OSError] = field(default_factory=list)
    handshakes: list[tuple[str, str | None]] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    def _serve(self, sock: socket.socket, connection: int) -> None:
        sock.settimeout(TIMEOUT)
        assert self.context is not None
        try:
            secure = self.context.wrap_socket(sock, server_side=True)
        except OSError as error:
            with self._lock:
                self._open.discard(sock)
                self.failures.append(error)
            sock.close()
            return
        with self._lock:
            self._open.discard(sock)
            self._open.add(secure)
            self.handshakes.append((secure.version() or "", secure.selected_alpn_protocol()))
        Recorder._serve(self, secure, connection)

    def _play(self, sock: socket.socket, script: Script) -> bool:
        stays = Recorder._play(self, sock, script)
        if not stays and self.polite:
            assert isinstance(sock, ssl.SSLSocket)
            with contextlib.suppress(OSError):
                sock.unwrap()
        return stays


@contextlib.contextmanager
def secure_recording(
    pair: Pair | None = None,
    *answers: Answer,
    clients: Authority | None = None,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> Iterator[SecureRecorder]:
    """A running `SecureRecorder`. clients: asks for certificates that this authority has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = maximum
    context.set_alpn_protocols(["h2", "http/1.1"])
    pair = pair or local_pair()
    context.load_cert_chain(pair.certificate, pair.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.pair.certificate)
    recorder = SecureRecorder(answers=list(answers), context=context)

    def note_name(_sock: object, name: str | None, _context: ssl.SSLContext) -> None:
        recorder.names.append(name)

    context.sni_callback = note_name  # type: ignore[assignment]
    with recorder:
        yield recorder
