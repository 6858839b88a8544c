"""What is told by default: nothing but the log."""

from __future__ import annotations

from streamlb.config.model import Config
from streamlb.config.observation import AccessLog, Observability, Prometheus, RouterObservability


def test_nothing_is_told_that_was_not_asked_for() -> None:
    config = Config()
    assert config.access_log is None
    assert config.metrics.prometheus is None
    assert config.tracing is None
    assert config.ping is None


def test_defaults_are_traefiks() -> None:
    assert Prometheus().buckets == [0.1, 0.3, 1.2, 5.0]
    assert Prometheus().add_services_labels
    assert not Prometheus().add_routers_labels
    fields = AccessLog().fields
    assert (fields.default_mode, fields.headers.default_mode, fields.query_parameters.default_mode) == (
        "keep",
        "drop",
        "keep",
    )


def test_a_router_says_what_its_entry_point_does_not_have_to() -> None:
    base = Observability(access_logs=False, metrics=True, tracing=False)
    assert RouterObservability().over(base) == base
    said = RouterObservability(access_logs=True, metrics=False)
    assert said.over(base) == Observability(access_logs=True, metrics=False, tracing=False)
