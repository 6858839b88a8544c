"""Certificates that are renewed while clients come and go, in the layouts that tools leave behind.

The story: certbot at night, a directory swapped as a whole, a key that comes later than its certificate, and an end
that nobody has seen coming.
"""

from __future__ import annotations

import contextlib
import shutil
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.e2e.test_https import https
from tests.support.certificates import Pair, authority
from tests.support.configs import entry_point
from tests.support.http import recording
from tests.support.peers import connect
from tests.support.programs import running_streamlb
from tests.support.until import until

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

NAME = "site.test"
GET = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority().pair.certificate)


def shown(port: int) -> str:
    """The certificate a new client is shown."""
    with trusting().wrap_socket(connect(port), server_hostname=NAME) as sock:
        return ssl.DER_cert_to_PEM_cert(sock.getpeercert(binary_form=True) or b"").strip()


@dataclass(slots=True)
class Crowd:
    """Clients that come and go. answers: how many were served; failures: what went wrong."""

    port: int
    answers: int = 0
    failures: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def stay(self) -> None:
        """On one connection all the time."""
        with self._noting(), trusting().wrap_socket(connect(self.port), server_hostname=NAME) as sock:
            while not self.over.wait(0.01):
                self._ask(sock)

    def come_and_go(self) -> None:
        while not self.over.wait(0.01) and not self.failures:
            with self._noting(), trusting().wrap_socket(connect(self.port), server_hostname=NAME) as sock:
                self._ask(sock)

    def _ask(self, sock: socket.socket) -> None:
        sock.sendall(GET)
        answer = sock.recv(1000)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        self.answers += 1

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (OSError, AssertionError) as error:
            self.failures.append(error)


@contextlib.contextmanager
def crowded(port: int) -> Iterator[Crowd]:
    crowd = Crowd(port)
    threads = [threading.Thread(target=work) for work in (crowd.stay, crowd.stay, crowd.come_and_go, crowd.come_and_go)]
    for thread in threads:
        thread.start()
    try:
        yield crowd
    finally:
        crowd.over.set()
        for thread in threads:
            thread.join(20)


def link(place: Path, target: Path) -> None:
    """Make `place` point to `target` in one step."""
    fresh = place.with_name(place.name + ".new")
    fresh.symlink_to(target)
    fresh.rename(place)


def test_certbot_renews_at_night_and_nobody_notices(tmp_path: Path) -> None:
    """`live/site` holds links into `archive/site`; with two workers, both show the new one."""
    live, archive = tmp_path / "live" / "site", tmp_path / "archive" / "site"
    live.mkdir(parents=True)
    archive.mkdir(parents=True)
    kept = Pair(live / "fullchain.pem", live / "privkey.pem")

    def issue(number: int) -> str:
        pair = authority().certificate(NAME)
        for file, place in ((pair.certificate, kept.certificate), (pair.key, kept.key)):
            target = archive / f"{place.stem}{number}.pem"
            shutil.copy(file, target)
            link(place, target)
        return pair.text.strip()

    port, address = entry_point()
    first = issue(1)
    with recording() as origin, running_streamlb("workers: 2\n" + https(address, origin.port, kept)) as proxy:
        assert shown(port) == first
        with crowded(port) as crowd:
            until(lambda: crowd.answers > 20, 10, "the crowd is there")
            second = issue(2)
            proxy.wait_for("certificate for site.test renewed")
            until(lambda: {shown(port) for _ in range(8)} == {second}, 10, "all workers show the new one")
            served = crowd.answers
            until(lambda: crowd.answers > served + 20, 10, "the crowd is still there")
        assert crowd.failures == []


def test_a_directory_may_be_swapped_as_a_whole(tmp_path: Path) -> None:
    """As Kubernetes does with mounted secrets: `current` is a link to a directory."""
    pairs = [authority().certificate(NAME) for _ in range(2)]
    for number, pair in enumerate(pairs):
        folder = tmp_path / f"v{number}"
        folder.mkdir()
        shutil.copy(pair.certificate, folder / "tls.crt")
        shutil.copy(pair.key, folder / "tls.key")
    current = tmp_path / "current"
    link(current, tmp_path / "v0")
    port, address = entry_point()
    kept = Pair(current / "tls.crt", current / "tls.key")
    with recording() as origin, running_streamlb(https(address, origin.port, kept)):
        assert shown(port) == pairs[0].text.strip()
        link(current, tmp_path / "v1")
        until(lambda: shown(port) == pairs[1].text.strip(), 10, "the new one is shown")


def test_a_certificate_waits_for_its_key(tmp_path: Path) -> None:
    """And a file that is no certificate changes nothing."""
    old, new = (authority().certificate(NAME) for _ in range(2))
    kept = Pair(tmp_path / "site.pem", tmp_path / "site.key")
    shutil.copy(old.certificate, kept.certificate)
    shutil.copy(old.key, kept.key)
    port, address = entry_point()
    with recording() as origin, running_streamlb(https(address, origin.port, kept)) as proxy:
        kept.certificate.write_text("half a cert")
        threading.Event().wait(1.5)
        assert shown(port) == old.text.strip()
        shutil.copy(new.certificate, kept.certificate)
        threading.Event().wait(1.5)
        assert shown(port) == old.text.strip()
        shutil.copy(new.key, kept.key)
        until(lambda: shown(port) == new.text.strip(), 10, "the pair fits and is shown")
        proxy.wait_for("certificate for site.test renewed")


def test_the_end_of_a_certificate_is_told_in_time() -> None:
    _, address = entry_point()
    pairs = [authority().certificate(name, days=days) for name, days in (("soon.test", 20), ("late.test", -1))]
    pairs.append(authority().certificate("fresh.test", days=60))
    with recording() as origin, running_streamlb(https(address, origin.port, *pairs)) as proxy:
        line = proxy.wait_for("certificate for soon.test expires in")
        assert '"WARN' in line
        assert '"ERROR"' in proxy.wait_for("certificate for late.test has expired")
        assert "fresh.test expires" not in proxy.log()
