"""Certificates whose files change, and certificates that run out.

What lives here: `Renewal`, which looks at the files that a configuration names and puts what they hold now into it.
What must not: reading a configuration (`config/`), telling workers (`control.py`). Owned by the control process.
Specified in docs/reference.md ("TLS"). A path is looked up anew each time, so that certbot's links may change their
target; a certificate is used only together with the key that fits it.
"""

from __future__ import annotations

import datetime
import logging
import os
from typing import TYPE_CHECKING, Final

from streamlb.config.tls import ServedCertificate
from streamlb.errors import StreamlbError
from streamlb.net.tls import PemError, check_authorities, check_pair
from streamlb.process.configuration import describe_certificate

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from streamlb.config.model import Config
    from streamlb.config.reading import Path
    from streamlb.config.tls import Certificate, ClientTls

    Stamp = tuple[int, int, int, int] | None

log = logging.getLogger(__name__)

INTERVAL: Final = 1.0
"""Seconds between two looks at the files."""
PATIENCE: Final = 5
"""Looks that a certificate may be without its new key before somebody is told."""
MAX_SIZE: Final = 1024 * 1024
"""Bytes of a file that may hold certificates."""
WARNINGS: Final = (30, 7, 1, 0)
"""Days before the end of a certificate at which the log says so."""
DAY: Final = 86_400.0
UNSEEN: Final = (-1, -1, -1, -1)
"""The stamp of a file that may have changed since it was read for the first time."""


def wall_clock() -> float:
    """Seconds since 1970."""
    return datetime.datetime.now(datetime.UTC).timestamp()


class Renewal:
    """What the files behind a configuration hold, kept up to date in the configuration itself.

    sources: where in the configuration there is the text of which file.
    on_change: called after the configuration has changed.
    """

    def __init__(
        self,
        config: Config,
        sources: dict[Path, str],
        on_change: Callable[[], None],
        now: Callable[[], float] = wall_clock,
    ) -> None:
        # process
        self._config = config
        self._sources = sources
        self._on_change = on_change
        self._now = now
        self._stamps: dict[str, Stamp] = dict.fromkeys(sources.values(), UNSEEN)
        self._changed: dict[str, int] = {}
        self._told: set[str] = set()
        self._warned: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look every `INTERVAL` seconds from now on, if there is anything to look at."""
        self._loop = loop
        self.warn()
        if self._stamps:
            self._timer = loop.call_later(INTERVAL, self._on_time, loop)

    def load(self, config: Config, sources: dict[Path, str]) -> None:
        """Keep this configuration up to date from now on, which has just been read from its files."""
        self._config = config
        self._sources = sources
        # What has changed since they were read is seen by the next look.
        self._stamps = dict.fromkeys(sources.values(), UNSEEN)
        self._changed.clear()
        self._told.clear()
        if self._loop is not None:
            self.stop()
            self.start(self._loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(INTERVAL, self._on_time, loop)
        self.look()
        self.warn()

    # --- files ------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Take over what has changed, as far as it fits together."""
        for path, before in self._stamps.items():
            stamp = _stamp(path)
            if stamp != before:
                self._stamps[path] = stamp
                self._changed[path] = 0
                self._told.discard(path)
        if self._changed:
            self._take_over()

    def _take_over(self) -> None:
        fresh = {path: text for path in self._changed if (text := self._read(path)) is not None}
        has_changed = self._renew(fresh)
        held = [(self._sources.get(place, ""), text) for place, text in _texts(self._config)]
        stale = {path for path, text in held if fresh.get(path, text) != text}
        for path in list(self._changed):
            if path in fresh and path not in stale:
                del self._changed[path]
            else:
                self._changed[path] += 1
        if has_changed:
            self._on_change()

    def _renew(self, fresh: dict[str, str]) -> bool:
        """Put the new texts in place of the old ones; whether there were any that can be used."""
        has_changed = False
        for place, certificate in _certificates(self._config):
            files = [self._sources.get((*place, key), "") for key in ("certFile", "keyFile")]
            old = certificate.cert_file, certificate.key_file
            new = fresh.get(files[0], old[0]), fresh.get(files[1], old[1])
            if new != old and self._is_usable(new, files):
                certificate.cert_file, certificate.key_file = new
                has_changed = True
                if isinstance(certificate, ServedCertificate):
                    certificate.names, certificate.expires_at = describe_certificate(new[0])
                    log.info("certificate for %s renewed, valid until %s", _names(certificate), _until(certificate))
        for place, authorities in _authorities(self._config):
            for index, text in enumerate(authorities):
                file = self._sources.get((*place, index), "")
                new_text = fresh.get(file, text)
                if new_text != text and self._are_authorities(new_text, file):
                    authorities[index] = new_text
                    has_changed = True
        return has_changed

    def _is_usable(self, pair: tuple[str, str], files: list[str]) -> bool:
        try:
            check_pair(*pair)
            describe_certificate(pair[0])
        except (PemError, ValueError) as error:
            self._complain(files, error.reason if isinstance(error, PemError) else "it cannot be read")
            return False
        return True

    def _are_authorities(self, text: str, file: str) -> bool:
        try:
            check_authorities(text)
        except StreamlbError as error:
            self._complain([file], str(error))
            return False
        return True

    def _complain(self, files: list[str], reason: str) -> None:
        """Say once what is wrong with the new files; a key may come a moment after its certificate."""
        paths = [path for path in dict.fromkeys(files) if self._changed.get(path, 0) >= PATIENCE]
        if paths and not self._told.issuperset(paths):
            self._told.update(paths)
            log.error("%s: %s; what was read before stays in use", " and ".join(paths), reason)

    def _read(self, path: str) -> str | None:
        try:
            with open(path, "rb") as file:
                return file.read(MAX_SIZE).decode("ascii", "replace")
        except OSError as error:
            self._complain([path], f"it cannot be read ({error.strerror or error})")
            return None

    # --- time -------------------------------------------------------------------------------------------------

    def warn(self) -> None:
        """Say which certificates end soon, at each of the `WARNINGS` once."""
        now = self._now()
        for _, certificate in _served(self._config):
            left = (certificate.expires_at - now) / DAY
            reached = [days for days in WARNINGS if left <= days]
            if not certificate.expires_at or not reached:
                continue
            if self._warned.get(certificate.cert_file) == reached[-1]:
                continue
            self._warned[certificate.cert_file] = reached[-1]
            if left <= 0:
                log.error("certificate for %s has expired", _names(certificate))
            else:
                log.warning("certificate for %s expires in %s", _names(certificate), _days(left))


def _days(left: float) -> str:
    if left < 1:
        return f"{left * 24:.0f} hours"
    return f"{left:.0f} days" if left >= 1.5 else "1 day"


def _names(certificate: ServedCertificate) -> str:
    return ", ".join(certificate.names[:3]) or "no name"


def _until(certificate: ServedCertificate) -> str:
    return f"{datetime.datetime.fromtimestamp(certificate.expires_at, datetime.UTC):%Y-%m-%d %H:%M} UTC"


def _stamp(path: str) -> Stamp:
    """What tells a file from the one that was there before; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _served(config: Config) -> Iterator[tuple[Path, ServedCertificate]]:
    for index, certificate in enumerate(config.tls.certificates):
        yield ("tls", "certificates", index), certificate
    for name, store in config.tls.stores.items():
        if store.default_certificate is not None:
            yield ("tls", "stores", name, "defaultCertificate"), store.default_certificate


def _transports(config: Config) -> Iterator[tuple[Path, ClientTls]]:
    yield ("serversTransport",), config.servers_transport
    for name, transport in config.http.servers_transports.items():
        yield ("http", "serversTransports", name), transport
    if config.tcp_servers_transport.tls is not None:
        yield ("tcpServersTransport", "tls"), config.tcp_servers_transport.tls
    for name, other in config.tcp.servers_transports.items():
        if other.tls is not None:
            yield ("tcp", "serversTransports", name, "tls"), other.tls


def _certificates(config: Config) -> Iterator[tuple[Path, Certificate]]:
    """Every certificate with its key, and where it is."""
    yield from _served(config)
    for place, transport in _transports(config):
        for index, certificate in enumerate(transport.certificates):
            yield (*place, "certificates", index), certificate


def _authorities(config: Config) -> Iterator[tuple[Path, list[str]]]:
    """Every list of authorities, and where it is."""
    for name, options in config.tls.options.items():
        yield ("tls", "options", name, "clientAuth", "caFiles"), options.client_auth.ca_files
    for place, transport in _transports(config):
        yield (*place, "rootCAs"), transport.root_cas


def _texts(config: Config) -> Iterator[tuple[Path, str]]:
    """Everything that may be the text of a file, and where it is."""
    for place, certificate in _certificates(config):
        yield (*place, "certFile"), certificate.cert_file
        yield (*place, "keyFile"), certificate.key_file
    for place, authorities in _authorities(config):
        for index, text in enumerate(authorities):
            yield (*place, index), text
