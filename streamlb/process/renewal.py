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
    from streamlb.config.tls import Certificate

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


def wall_clock() -> float:
    """Seconds since 1970."""
    return datetime.datetime.now(datetime.UTC).timestamp()


class Renewal:
    """What the files behind a configuration hold, kept up to date in the configuration itself.

    files: by path, the text that the configuration holds of it. on_change: called after the configuration has changed.
    """

    def __init__(
        self,
        config: Config,
        files: dict[str, str],
        on_change: Callable[[], None],
        now: Callable[[], float] = wall_clock,
    ) -> None:
        # process
        self._config = config
        self._texts = dict(files)
        self._on_change = on_change
        self._now = now
        self._stamps = {path: _stamp(path) for path in files}
        self._changed: dict[str, int] = {}
        self._told: set[str] = set()
        self._warned: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look every `INTERVAL` seconds from now on, if there is anything to look at."""
        self.warn()
        if self._texts:
            self._timer = loop.call_later(INTERVAL, self._on_time, loop)

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
        fresh: dict[str, str] = {}
        for path in self._changed:
            text = self._read(path)
            if text is not None:
                fresh[self._texts[path]] = text
        has_changed = self._renew(fresh)
        held = {text for certificate in _certificates(self._config) for text in _pair(certificate)}
        held |= {text for authorities in _authorities(self._config) for text in authorities}
        for path in list(self._changed):
            text = fresh.get(self._texts[path])
            if text is not None and (text == self._texts[path] or self._texts[path] not in held):
                self._texts[path] = text
                del self._changed[path]
            else:
                self._changed[path] += 1
        if has_changed:
            self._on_change()

    def _renew(self, fresh: dict[str, str]) -> bool:
        """Put the new texts in place of the old ones; whether there were any that can be used."""
        has_changed = False
        for certificate in _certificates(self._config):
            old = _pair(certificate)
            new = fresh.get(old[0], old[0]), fresh.get(old[1], old[1])
            if new != old and self._is_usable(old, new):
                certificate.cert_file, certificate.key_file = new
                has_changed = True
                if isinstance(certificate, ServedCertificate):
                    certificate.names, certificate.expires_at = describe_certificate(new[0])
                    until = datetime.datetime.fromtimestamp(certificate.expires_at, datetime.UTC)
                    log.info(
                        "certificate for %s renewed, valid until %s", _names(certificate), f"{until:%Y-%m-%d %H:%M} UTC"
                    )
        for authorities in _authorities(self._config):
            for index, text in enumerate(authorities):
                new_text = fresh.get(text, text)
                if new_text != text and self._are_authorities(text, new_text):
                    authorities[index] = new_text
                    has_changed = True
        return has_changed

    def _is_usable(self, old: tuple[str, str], new: tuple[str, str]) -> bool:
        try:
            check_pair(*new)
            describe_certificate(new[0])
        except (PemError, ValueError) as error:
            reason = error.reason if isinstance(error, PemError) else "it cannot be read"
            self._complain(old, reason)
            return False
        return True

    def _are_authorities(self, old: str, new: str) -> bool:
        try:
            check_authorities(new)
        except StreamlbError as error:
            self._complain((old,), str(error))
            return False
        return True

    def _complain(self, old: tuple[str, ...], reason: str) -> None:
        """Say once what is wrong with the new files; a key may come a moment after its certificate."""
        paths = [path for path, looks in self._changed.items() if self._texts[path] in old and looks >= PATIENCE]
        if paths and not self._told.issuperset(paths):
            self._told.update(paths)
            log.error("%s: %s; what was read before stays in use", " and ".join(paths), reason)

    def _read(self, path: str) -> str | None:
        try:
            with open(path, "rb") as file:
                text = file.read(MAX_SIZE).decode("ascii", "replace")
        except OSError as error:
            self._complain((self._texts[path],), f"it cannot be read ({error.strerror or error})")
            return None
        return text

    # --- time -------------------------------------------------------------------------------------------------

    def warn(self) -> None:
        """Say which certificates end soon, at each of the `WARNINGS` once."""
        now = self._now()
        for certificate in _served(self._config):
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


def _pair(certificate: Certificate) -> tuple[str, str]:
    return certificate.cert_file, certificate.key_file


def _served(config: Config) -> Iterator[ServedCertificate]:
    yield from config.tls.certificates
    for store in config.tls.stores.values():
        if store.default_certificate is not None:
            yield store.default_certificate


def _certificates(config: Config) -> Iterator[Certificate]:
    """Every certificate with its key."""
    yield from _served(config)
    for transport in (config.servers_transport, *config.http.servers_transports.values()):
        yield from transport.certificates
    for other in (config.tcp_servers_transport, *config.tcp.servers_transports.values()):
        if other.tls is not None:
            yield from other.tls.certificates


def _authorities(config: Config) -> Iterator[list[str]]:
    """Every list of authorities."""
    for options in config.tls.options.values():
        yield options.client_auth.ca_files
    for transport in (config.servers_transport, *config.http.servers_transports.values()):
        yield transport.root_cas
    for other in (config.tcp_servers_transport, *config.tcp.servers_transports.values()):
        if other.tls is not None:
            yield other.tls.root_cas
