"""Metrics as text, as Prometheus and its like read them.

What lives here: `render`. What must not: what the numbers are (`observe/series.py`), who asks. Called by
`process/telemetry.py`. Specified by the Prometheus text format 0.0.4 and OpenMetrics 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from starlette.requests import Request


class Family(Protocol):
    """A metric and its series: labels and value; of a histogram, the count of each bucket and the sum."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def help(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def samples(self) -> Sequence[tuple[tuple[str, ...], list[float]]]: ...
    @property
    def bounds(self) -> tuple[float, ...]: ...


class Exposition(NamedTuple):
    """What an answer says, and what that is."""

    body: bytes
    content_type: str


class _Families(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.kind)
            if family.kind == "histogram":
                _add_histogram(metric, family)
            else:
                name = f"{family.name}_total" if family.kind == "counter" else family.name
                for values, [number] in family.samples:
                    metric.add_sample(name, dict(zip(family.labels, values, strict=True)), number)
            yield metric


def _add_histogram(metric: Metric, family: Family) -> None:
    bounds = [*map(floatToGoString, family.bounds), "+Inf"]
    for values, numbers in family.samples:
        labels = dict(zip(family.labels, values, strict=True))
        count = 0.0
        for bound, number in zip(bounds, numbers, strict=False):
            count += number
            metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
        metric.add_sample(f"{family.name}_count", labels, count)
        metric.add_sample(f"{family.name}_sum", labels, numbers[-1])


def route(expose: Callable[[str], Awaitable[Exposition]]) -> Route:
    """`GET /metrics`. expose: makes the answer to a request with such an `Accept`."""

    async def answer(request: Request) -> Response:
        body, content_type = await expose(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    # Whatever path has led here: the routers have chosen.
    return Route("/{path:path}", answer, methods=["GET"])


def render(families: Iterable[Family], accept: str = "") -> Exposition:
    """The families as text: OpenMetrics where that is asked for, else what every version of Prometheus reads."""
    encode, content_type = choose_encoder(accept)
    return Exposition(encode(_Families(families)), content_type)
