"""What is shown of the sums: Traefik's names and labels, and ours."""

from __future__ import annotations

from streamlb.config.observation import Prometheus
from streamlb.observe.cells import Meaning
from streamlb.observe.families import COUNTS
from streamlb.observe.series import _COUNTS, Family, families

BOUNDS = (0.1, 0.3, 1.2, 5.0)


def http(
    numbers: list[float], *, router: str = "r", method: str = "GET", tls: tuple[str, str] = ("", "")
) -> dict[Meaning, list[float]]:
    labels = ("web", router, "root", "leaf@kubernetescrd", "http://a", method, "200", "http", *tls)
    return {Meaning("http", labels, BOUNDS): numbers}


def shown(sums: dict[Meaning, list[float]], options: Prometheus | None = None) -> dict[str, Family]:
    return {family.name: family for family in families(sums, options or Prometheus())}


def test_one_block_is_in_all_families() -> None:
    sums = http([1.0, 2.0, 0.0, 0.0, 1.0, 3.5, 10.0, 20.0], tls=("1.3", "TLS_AES_128_GCM_SHA256"))
    found = shown(sums, Prometheus(add_routers_labels=True))
    said = ("200", "GET", "http")
    assert found["traefik_entrypoint_requests"].samples == [((*said, "web"), [4.0])]
    assert found["traefik_router_requests"].samples == [((*said, "r@file", "root@file"), [4.0])]
    assert found["traefik_service_requests"].samples == [((*said, "leaf@kubernetescrd"), [4.0])]
    secure = found["traefik_service_requests_tls"]
    assert secure.samples == [(("1.3", "TLS_AES_128_GCM_SHA256", "leaf@kubernetescrd"), [4.0])]
    durations = found["traefik_entrypoint_request_duration_seconds"]
    assert durations.samples == [((*said, "web"), [1.0, 2.0, 0.0, 0.0, 1.0, 3.5])]
    assert found["traefik_entrypoint_requests_bytes"].samples[0][1] == [10.0]
    assert found["traefik_entrypoint_responses_bytes"].samples[0][1] == [20.0]
    assert found["streamlb_server_requests"].samples == [(("leaf@kubernetescrd", "http://a", "200"), [4.0])]


def test_families_can_be_left_out() -> None:
    sums = http([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert "traefik_router_requests" not in shown(sums)
    none = Prometheus(add_entry_points_labels=False, add_services_labels=False)
    assert not [name for name in shown(sums, none) if name.startswith(("traefik_entry", "traefik_service"))]


def test_what_was_counted_in_other_buckets_is_not_added() -> None:
    sums = http([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert "traefik_entrypoint_requests" not in shown(sums, Prometheus(buckets=[1.0]))


def test_raw_connections() -> None:
    numbers = [5.0, 3.0, 100.0, 200.0, 9.0, 0.0, 0.0, *[0.0] * 6, 3.0]
    found = shown({Meaning("tcp", ("raw", "t", "s", "s", "a:1")): numbers})
    assert found["streamlb_tcp_connections_open"].samples[0][1] == [2.0]
    assert found["streamlb_tcp_received_bytes"].samples[0][1] == [100.0]
    assert found["streamlb_tcp_connection_duration_seconds"].samples[0][1] == [*[0.0] * 6, 3.0, 9.0]


def test_every_count_has_a_name_and_internal_ones_are_not_told() -> None:
    assert set(_COUNTS) <= set(COUNTS)
    found = shown(
        {
            Meaning("count", ("http_retried", "s")): [2.0],
            Meaning("count", ("http_dialled", "prometheus@internal", "unix:/x")): [2.0],
        }
    )
    assert found["traefik_service_retries"].samples == [(("s@file",), [2.0])]
    assert "streamlb_server_connects" not in found
