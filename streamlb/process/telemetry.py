"""What all workers have counted: the memory of each, and the sums; and what the control process knows beside.

What lives here: `Telemetry`, which answers scrapes. What must not: what workers' numbers mean to somebody who watches
(`observe/series.py`), the text (`admin/metrics.py`). Owned by `process/control.py`. A worker that dies leaves its
memory to its successor; where there is none, what was counted stays counted.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import time
from typing import TYPE_CHECKING, NamedTuple

import streamlb
from streamlb.config.model import LoadBalancer, Server, Service
from streamlb.config.observation import Prometheus
from streamlb.observe.books import Wanted
from streamlb.observe.cells import BEAT, BORN, LAG, LATE, WORST_LAG, Reader, new_memory
from streamlb.observe.series import COUNTER, GAUGE, Family, families, merged, one, qualified
from streamlb.process.certificates import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.routing import Route

    from streamlb.admin.metrics import Exposition
    from streamlb.config.model import Config
    from streamlb.observe.cells import Meaning
    from streamlb.process.channel import ServerKey
    from streamlb.process.control import Control


class Facts(NamedTuple):
    """What the control process knows, at the moment of a scrape.

    loaded_at: seconds since 1970. reloads: taken over; failures: not. kept: files whose last good version is used.
    workers: number, whether it serves, starts beyond the first. down: servers that are not to be used.
    """

    config: Config
    version: int
    loaded_at: float
    reloads: int
    failures: int
    kept: int
    workers: list[tuple[int, bool, int]]
    down: frozenset[ServerKey]
    now: float


class Telemetry:
    """The memories of all workers there have ever been, the newest of each number last.

    A scrape is a thread's work: the control process has its probes to see to. One is answered at a time, and whoever
    asks meanwhile gets the same answer.
    """

    def __init__(self) -> None:
        # process
        self._readers: list[Reader] = []
        self._newest: dict[int, Reader] = {}
        self._turn = asyncio.Lock()

    def new_memory(self, worker: int) -> int:
        """The descriptor of memory that nobody else counts in: a former worker of that number may still be ending."""
        descriptor = new_memory(f"worker-{worker}")
        reader = self._newest[worker] = Reader(descriptor)
        self._readers.append(reader)
        return descriptor

    def life(self, worker: int, what: int) -> float:
        """What a worker's header says (see `streamlb.observe.cells`)."""
        return self._newest[worker].life(what) if worker in self._newest else 0.0

    def sums(self) -> dict[Meaning, list[float]]:
        """What all workers have counted together. It takes a microsecond or two for each block of each worker."""
        total: dict[Meaning, list[float]] = {}
        for reader in list(self._readers):
            for meaning, numbers in reader.read():
                sofar = total.get(meaning)
                total[meaning] = numbers if sofar is None else [a + b for a, b in zip(sofar, numbers, strict=True)]
        return total

    async def expose(self, control: Control, accept: str = "") -> Exposition:
        """The answer to a scrape. accept: which forms of text the client reads."""
        async with self._turn:
            facts = facts_of(control)
            return await asyncio.to_thread(self.exposition, facts, accept)

    def routes(self, control: Control) -> list[Route]:
        """What workers may bring to the control process."""
        route = importlib.import_module("streamlb.admin.metrics").route
        return [route(functools.partial(self.expose, control))]

    def exposition(self, facts: Facts, accept: str = "") -> Exposition:
        started = time.perf_counter()
        options = facts.config.metrics.prometheus or Prometheus()
        wanted = Wanted(facts.config, tuple(sorted(options.buckets)))
        sums = {meaning: numbers for meaning, numbers in self.sums().items() if wanted(meaning)}
        found = [*families(sums, options), *_configuration(facts), *_servers(facts), *self._workers(facts)]
        found += _certificates(facts.config)
        took = time.perf_counter() - started
        found.append(one("streamlb_metrics_gather_seconds", GAUGE, "How long it took to gather these numbers.", took))
        # Not loaded where nobody asks.
        render = importlib.import_module("streamlb.admin.metrics").render
        exposition: Exposition = render(merged(found), accept)
        return exposition

    def _workers(self, facts: Facts) -> Iterator[Family]:
        numbers = [number for number, _, _ in facts.workers]
        labels = ("worker",)

        def family(name: str, kind: str, text: str, value: Callable[[int], float]) -> Family:
            return Family(name, kind, text, labels, [((str(number),), [value(number)]) for number in numbers])

        ready = {number: float(is_ready) for number, is_ready, _ in facts.workers}
        restarts = {number: float(count) for number, _, count in facts.workers}
        yield family("streamlb_worker_up", GAUGE, "Whether this worker serves.", ready.__getitem__)
        yield family("streamlb_worker_restarts", COUNTER, "Starts beyond the first.", restarts.__getitem__)
        text = "When this worker was started, in seconds since 1970."
        yield family("streamlb_worker_start_time_seconds", GAUGE, text, lambda n: self.life(n, BORN))
        if any(self.life(number, BEAT) for number in numbers):
            text = "How late this worker's loop was at its last sign of life."
            yield family("streamlb_worker_loop_lag_seconds", GAUGE, text, lambda n: self.life(n, LAG))
            text = "How late it was at worst."
            yield family("streamlb_worker_loop_lag_worst_seconds", GAUGE, text, lambda n: self.life(n, WORST_LAG))
        text = "Series that found no room and are counted as one named `other`."
        yield family("streamlb_worker_late_series", GAUGE, text, lambda n: self.life(n, LATE))


def scraped(config: Config, path: Callable[[], str]) -> Service | None:
    """The service that answers scrapes, if any are to be answered. path: of a socket of this process."""
    if config.metrics.prometheus is None:
        return None
    return Service(load_balancer=LoadBalancer(servers=[Server(url=f"unix:{path()}")]))


def facts_of(control: Control) -> Facts:
    slots = control.fleet.slots
    outcome = control.outcome
    return Facts(
        control.config,
        control.version,
        control.loaded_at,
        control.reloads,
        control.failures,
        len(outcome.kept) if outcome is not None else 0,
        [(slot.number, slot.ready, max(slot.starts - 1, 0)) for slot in slots],
        frozenset(control.prober.down()),
        time.time(),  # noqa: TID251  # It is the time of day that is told.
    )


def _configuration(facts: Facts) -> Iterator[Family]:
    text = "Config reloads."
    yield one("traefik_config_reloads", COUNTER, text, facts.reloads + 1)
    yield one("traefik_config_last_reload_success", GAUGE, "Last config reload success.", facts.loaded_at)
    text = "Changes of the configuration that were not taken over, or not as a whole."
    yield one("streamlb_config_failures", COUNTER, text, facts.failures)
    yield one("streamlb_config_version", GAUGE, "The number of the configuration that is served.", facts.version)
    text = "Seconds since the files were read and accepted as a whole for the last time."
    yield one("streamlb_config_age_seconds", GAUGE, text, max(facts.now - facts.loaded_at, 0.0))
    text = "Files that were refused, whose last good version is served."
    yield one("streamlb_config_files_kept", GAUGE, text, facts.kept)
    version = ((streamlb.__version__,), [1.0])
    yield Family("streamlb_build_info", GAUGE, "Which streamlb this is.", ("version",), [version])


def _servers(facts: Facts) -> Iterator[Family]:
    text = "Service server is up, described by gauge value of 0 or 1."
    for protocol, name, labels in (
        ("http", "traefik_service_server_up", ("service", "url")),
        ("tcp", "streamlb_tcp_server_up", ("service", "address")),
        ("udp", "streamlb_udp_server_up", ("service", "address")),
    ):
        samples = [
            ((qualified(service), server.name), [0.0 if (protocol, service, server.name) in facts.down else 1.0])
            for service, configured in facts.config.section(protocol).services.items()
            if configured.load_balancer is not None and not service.endswith("@internal")
            for server in configured.load_balancer.servers
        ]
        if samples:
            yield Family(name, GAUGE, text, labels, list(dict(samples).items()))


def _certificates(config: Config) -> Iterator[Family]:
    found = {}
    for certificate in config.tls.certificates:
        try:
            found[identity(certificate.cert_file)] = [certificate.expires_at]
        except ValueError:
            continue
    if found:
        text = "Certificate expiration timestamp."
        yield Family("traefik_tls_certs_not_after", GAUGE, text, ("cn", "sans", "serial"), list(found.items()))
