"""Files that change, in the order and with the mishaps of real life; time is the test's."""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING

import pytest

from streamlb.config.model import Config
from streamlb.config.static import ServersTransport
from streamlb.config.tls import Certificate, ClientAuth, ServedCertificate, Tls, TlsOptions
from streamlb.process.certificates import describe
from streamlb.process.renewal import DAY, PATIENCE, Renewal
from tests.support.certificates import Pair, authority

if TYPE_CHECKING:
    from pathlib import Path


class Scene:
    """A configuration whose certificate is in two files, or rather links to files in another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate, self.key = folder / "live.pem", folder / "live.key"
        self.changes = 0
        self.pair = self.new("a.test")
        self.link(self.pair)
        self.served = ServedCertificate(cert_file=self.pair.text, key_file=self.pair.key.read_text())
        self.served.names, self.served.expires_at = describe(self.pair.text)
        self.config = Config(tls=Tls(certificates=[self.served]))
        self.now = 0.0
        place = ("tls", "certificates", 0)
        self.sources = {(*place, "certFile"): str(self.certificate), (*place, "keyFile"): str(self.key)}
        self.renewal = Renewal(self.config, self.sources, self._count, lambda: self.now)

    def _count(self) -> None:
        self.changes += 1

    def new(self, *names: str) -> Pair:
        return authority().certificate(*names)

    def link(self, pair: Pair, *, certificate: bool = True, key: bool = True) -> None:
        for link, target, wanted in ((self.certificate, pair.certificate, certificate), (self.key, pair.key, key)):
            if wanted:
                link.unlink(missing_ok=True)
                link.symlink_to(target)

    @property
    def shows(self) -> str:
        return self.served.cert_file


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_nothing_has_changed(scene: Scene) -> None:
    scene.renewal.look()
    scene.certificate.unlink()
    shutil.copy(scene.pair.certificate, scene.certificate)
    scene.renewal.look()
    assert scene.changes == 0


def test_a_link_to_another_file(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    new = scene.new("b.test")
    scene.link(new)
    scene.renewal.look()
    assert (scene.changes, scene.shows, scene.served.names) == (1, new.text, ["b.test"])
    assert "certificate for b.test renewed, valid until " in caplog.text
    scene.renewal.look()
    assert scene.changes == 1
    again = scene.new("c.test")
    scene.link(again)
    scene.renewal.look()
    assert (scene.changes, scene.shows) == (2, again.text)


def test_the_key_comes_later(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    new = scene.new("b.test")
    scene.link(new, key=False)
    for _ in range(3):
        scene.renewal.look()
    assert (scene.changes, scene.shows) == (0, scene.pair.text)
    assert caplog.text == ""
    scene.link(new, certificate=False)
    scene.renewal.look()
    assert (scene.changes, scene.shows, scene.served.key_file) == (1, new.text, new.key.read_text())


def test_the_key_never_comes(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.link(scene.new("b.test"), key=False)
    for _ in range(3 * PATIENCE):
        scene.renewal.look()
    assert scene.shows == scene.pair.text
    [record] = caplog.records
    message = "live.pem: this key is not the certificate's; what was read before stays in use"
    assert record.getMessage().endswith(message)


@pytest.mark.parametrize("fault", ["gone", "garbage"])
def test_a_file_that_is_of_no_use(scene: Scene, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    scene.certificate.unlink()
    if fault == "garbage":
        scene.certificate.write_bytes(b"\xff-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
    for _ in range(3 * PATIENCE):
        scene.renewal.look()
    assert (scene.changes, scene.shows, len(caplog.records)) == (0, scene.pair.text, 1)
    new = scene.new("b.test")
    scene.link(new)
    scene.renewal.look()
    assert (scene.changes, scene.shows) == (1, new.text)


def test_all_that_is_read_from_files(tmp_path: Path) -> None:
    old, new = authority("one").pair, authority("two").pair
    path, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    shutil.copy(old.certificate, path)
    shutil.copy(old.key, key)
    text, key_text = old.text, old.key.read_text()
    transport = ServersTransport(root_cas=[text], certificates=[Certificate(cert_file=text, key_file=key_text)])
    options = TlsOptions(client_auth=ClientAuth(ca_files=[text]))
    config = Config(servers_transport=transport, tls=Tls(options={"o": options}))
    changes: list[int] = []
    at = ("serversTransport", "certificates", 0)
    sources = {
        ("serversTransport", "rootCAs", 0): path,
        (*at, "certFile"): path,
        (*at, "keyFile"): key,
        ("tls", "options", "o", "clientAuth", "caFiles", 0): path,
    }
    renewal = Renewal(config, {place: str(file) for place, file in sources.items()}, lambda: changes.append(1))
    shutil.copy(new.certificate, path)
    shutil.copy(new.key, key)
    renewal.look()
    assert changes == [1]
    assert transport.root_cas == options.client_auth.ca_files == [new.text]
    assert transport.certificates[0].key_file == new.key.read_text()


def test_a_copy_of_a_file_stays_what_it_is(tmp_path: Path) -> None:
    """Two files that hold the same are two files, and what stands in the configuration itself is none."""
    old, new = authority("one").pair, authority("two").pair
    paths = [tmp_path / "a.pem", tmp_path / "b.pem"]
    for path in paths:
        shutil.copy(old.certificate, path)
    transport = ServersTransport(root_cas=[old.text] * 3)
    config = Config(servers_transport=transport)
    sources = {("serversTransport", "rootCAs", index): str(path) for index, path in enumerate(paths)}
    changes: list[int] = []
    renewal = Renewal(config, dict(sources), lambda: changes.append(1))
    renewal.look()
    for count, path in enumerate(paths, 1):
        shutil.copy(new.certificate, path)
        renewal.look()
        assert transport.root_cas == [new.text] * count + [old.text] * (3 - count)
        assert len(changes) == count


def test_what_changed_before_the_first_look(scene: Scene) -> None:
    new = scene.new("b.test")
    scene.link(new)
    later = Renewal(scene.config, scene.sources, scene._count, lambda: 0.0)
    later.look()
    assert (scene.changes, scene.shows) == (1, new.text)


def test_the_end_is_told_in_time(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    end = scene.served.expires_at
    for days in (40, 31, 29.9, 20, 6.9, 6, 0.9, 0.5, -0.1, -1):
        scene.now = end - days * DAY
        scene.renewal.warn()
    assert [record.getMessage() for record in caplog.records] == [
        "certificate for a.test expires in 30 days",
        "certificate for a.test expires in 7 days",
        "certificate for a.test expires in 22 hours",
        "certificate for a.test has expired",
    ]
