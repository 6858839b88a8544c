"""What an operator has changed: what names mean, what a configuration is with the changes, when they yield."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config.resolution import resolved
from streamlb.config.steering import Intervention, Map, Place, is_deserted, lapsed, places_of, steered
from streamlb.errors import RefusedError
from tests.unit.config.asking import config_of

if TYPE_CHECKING:
    from streamlb.config.model import Config

TEXT = """
entryPoints: {web: {address: ":80"}, raw: {address: ":81"}}
http:
  services:
    canary: {weighted: {services: [{name: v1, weight: 3}, {name: v2}]}}
    v1: {loadBalancer: {servers: [{url: "http://10.0.0.1:80", weight: 2}, {url: "http://10.0.0.2:80/"}]}}
    v2: {loadBalancer: {servers: [{url: "http://10.0.0.1:80"}]}}
    spread: {highestRandomWeight: {services: [{name: v1}, {name: v2, weight: 5}]}}
    copied: {mirroring: {service: v1, mirrors: [{name: v2, percent: 10}]}}
    named: {loadBalancer: {servers: [{url: "http://app.internal:8080", resolve: all}]}}
tcp:
  services:
    canary: {weighted: {services: [{name: db}, {name: old}]}}
    db: {loadBalancer: {servers: [{address: "db.internal:5432", resolve: all}]}}
    old: {loadBalancer: {servers: [{address: "10.0.0.1:5432"}]}}
"""
ADDRESSES = {"app.internal": ["10.1.0.1", "10.1.0.2"], "db.internal": ["10.2.0.1", "fd00::1"]}


def intervention(child: str, value: Any, replaced: Any = "ready", *, service: str = "v1", **more: Any) -> Intervention:
    given = {"protocol": "http", "of": ""} | more
    return Intervention(
        id=1, service=service, child=child, value=value, replaced=replaced, by="alice", at="2026-01-01T00:00:00Z",
        **given,
    )  # fmt: skip


def servers(config: Config, service: str, protocol: str = "http") -> dict[str, tuple[int, bool]]:
    balancer = config.section(protocol).services[service].load_balancer
    assert balancer
    return {each.name: (each.weight, each.in_maintenance) for each in balancer.servers}


def children(config: Config, service: str) -> dict[str, int]:
    found = config.http.services[service]
    kind = found.weighted or found.highest_random_weight
    assert kind
    return {each.name: each.weight for each in kind.services}


# --- what a name means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["v1", "v1@file", "http:v1", "http:v1@file"])
def test_a_service_is_called_in_several_ways(name: str) -> None:
    assert Map(config_of(TEXT)).services(name) == [("http", "v1")]


def test_a_name_without_its_provider_will_do_where_there_is_one_such() -> None:
    config = config_of(TEXT)
    config.http.services["default-wrr@kubernetescrd"] = config.http.services["canary"]
    assert Map(config).services("default-wrr") == [("http", "default-wrr@kubernetescrd")]


def test_the_child_tells_which_of_two_services_is_meant() -> None:
    here = Map(config_of(TEXT))
    assert here.services("canary") == [("http", "canary"), ("tcp", "canary")]
    assert here.weighted("canary", "v2") == Place("http", "canary", "v2", 1, False)
    assert here.weighted("canary", "old@file") == Place("tcp", "canary", "old", 1, False)
    assert here.weighted("tcp:canary", "db") == Place("tcp", "canary", "db", 1, False)
    assert here.weighted("spread", "v2").weight == 5
    assert here.weighted("v1", "10.0.0.1:80") == Place("http", "v1", "http://10.0.0.1:80", 2, True)


@pytest.mark.parametrize(
    ("service", "child", "reason", "hint"),
    [
        ("canry", "v1", "there is no service canry", "did you mean `canary`?"),
        ("canary", "v9", "service canary has no child v9", "there are db, old, v1, v2"),
        ("v1", "10.0.0.9:80", "service v1 has no child 10.0.0.9:80", "did you mean `http://10.0.0.1:80`?"),
        ("v1", "10.0.0", "service v1 has no child 10.0.0", "there are http://10.0.0.1:80, http://10.0.0.2:80/"),
        ("copied", "v2", "http service copied has no children with weights", ""),
        ("udp:canary", "v1", "there is no service udp:canary", ""),
    ],
)
def test_what_is_unknown_is_refused_with_a_guess(service: str, child: str, reason: str, hint: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Map(config_of(TEXT)).weighted(service, child)
    assert caught.value.reason == reason
    assert caught.value.suggestion.startswith(hint)


def test_what_means_two_things_is_refused_with_both() -> None:
    config = config_of(TEXT.replace("name: old}", "name: db, weight: 2}"))
    config.http.services["db"] = config.http.services["v1"]
    config.http.services["canary"].weighted.services[0].name = "db"  # type: ignore[union-attr]
    with pytest.raises(RefusedError, match="say which: http:canary db, tcp:canary db"):
        Map(config).weighted("canary", "db")


@pytest.mark.parametrize("name", ["http://10.0.0.2:80/", "http://10.0.0.2:80", "10.0.0.2:80"])
def test_a_server_is_called_in_several_ways(name: str) -> None:
    assert Map(config_of(TEXT)).servers(name) == [Place("http", "v1", "http://10.0.0.2:80/", 1, True)]


def test_a_server_is_found_in_every_service_that_has_it() -> None:
    here = Map(config_of(TEXT))
    assert [each.service for each in here.servers("http://10.0.0.1:80")] == ["v1", "v2"]
    assert [each.service for each in here.servers("10.0.0.1:80", "v2")] == ["v2"]
    assert [each[:2] for each in here.servers("10.0.0.1:5432")] == [("tcp", "old")]


@pytest.mark.parametrize(
    ("server", "service", "reason", "hint"),
    [
        ("10.0.0.7:80", "", "there is no server 10.0.0.7:80", "did you mean"),
        ("10.0.0.1:80", "canary", "service canary has no servers of its own", ""),
        ("10.0.0.1", "v2", "there is no server 10.0.0.1 in service v2", "there is http://10.0.0.1:80"),
        ("10.0.0.1:80", "v9", "there is no service v9", "there are canary, copied,"),
    ],
)
def test_an_unknown_server_is_refused_with_a_guess(server: str, service: str, reason: str, hint: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Map(config_of(TEXT)).servers(server, service)
    assert caught.value.reason == reason
    assert caught.value.suggestion.startswith(hint)


def test_a_name_stands_for_all_its_addresses_and_each_may_be_meant_alone() -> None:
    here = Map(resolved(config_of(TEXT), ADDRESSES))
    [whole] = here.servers("app.internal:8080")
    assert (whole.child, whole.of) == ("http://app.internal:8080", "")
    [one] = here.servers("http://app.internal:8080 (10.1.0.2)")
    assert (one.child, one.of) == ("http://app.internal:8080 (10.1.0.2)", "http://app.internal:8080")
    [whole] = here.servers("db.internal:5432")
    assert (whole.child, whole.of) == ("db.internal:5432", "")
    [one] = here.servers("[fd00::1]:5432")
    assert (one.child, one.of) == ("[fd00::1]:5432", "db.internal:5432")


# --- applying ----------------------------------------------------------------------------------------------------


def test_nothing_to_apply_is_the_very_same_configuration() -> None:
    config = config_of(TEXT)
    assert steered(config, []) is config
    assert steered(config, [intervention("x", 1, 2, service="gone")]) == config


def test_weights_of_children_and_servers() -> None:
    config = config_of(TEXT)
    changed = steered(
        config,
        [
            intervention("v2", 7, 1, service="canary"),
            intervention("v1", 9, 1, service="spread"),
            intervention("http://10.0.0.1:80", 0, 2),
        ],
    )
    assert children(changed, "canary") == {"v1": 3, "v2": 7}
    assert children(changed, "spread") == {"v1": 9, "v2": 5}
    assert servers(changed, "v1") == {"http://10.0.0.1:80": (0, False), "http://10.0.0.2:80/": (1, False)}
    assert children(config, "canary") == {"v1": 3, "v2": 1}
    assert changed.http.services["v2"] is config.http.services["v2"]
    assert changed.tcp is config.tcp


def test_states_of_servers() -> None:
    config = config_of(TEXT)
    drained = steered(config, [intervention("http://10.0.0.1:80", "drain")])
    assert servers(drained, "v1")["http://10.0.0.1:80"] == (0, False)
    assert servers(drained, "v2")["http://10.0.0.1:80"] == (1, False)
    gone = steered(config, [intervention("http://10.0.0.1:80", "maintenance")])
    assert servers(gone, "v1")["http://10.0.0.1:80"] == (2, True)
    both = [intervention("http://10.0.0.1:80", "drain"), intervention("http://10.0.0.1:80", 9, 2)]
    assert servers(steered(config, both), "v1")["http://10.0.0.1:80"] == (0, False)


def test_a_name_s_addresses_are_changed_together_or_alone() -> None:
    config = resolved(config_of(TEXT), ADDRESSES)
    whole = intervention("http://app.internal:8080", "maintenance", service="named")
    assert [gone for _, gone in servers(steered(config, [whole]), "named").values()] == [True, True]
    of = "db.internal:5432"
    one = intervention("10.2.0.1:5432", 0, 1, service="db", protocol="tcp", of=of)
    assert servers(steered(config, [one]), "db", "tcp") == {"10.2.0.1:5432": (0, False), "[fd00::1]:5432": (1, False)}


# --- yielding ----------------------------------------------------------------------------------------------------


def test_a_change_yields_when_the_configuration_says_something_else() -> None:
    changes = [
        intervention("v2", 7, 1, service="canary"),
        intervention("http://10.0.0.1:80", "drain"),
        intervention("10.2.0.1:5432", 0, 1, service="db", protocol="tcp", of="db.internal:5432"),
    ]
    assert lapsed(config_of(TEXT), changes) == []
    otherwise = config_of(TEXT.replace("{name: v2}]}}\n    v1", "{name: v2, weight: 4}]}}\n    v1"))
    assert lapsed(otherwise, changes) == [(changes[0], "the configuration says 4 now, no longer 1")]
    without = config_of(TEXT.replace("db.internal:5432", "db2.internal:5432"))
    assert lapsed(without, changes) == [(changes[2], "the configuration does not have it any more")]


def test_a_state_does_not_yield_to_another_weight() -> None:
    heavier = config_of(TEXT.replace("weight: 2", "weight: 20"))
    assert lapsed(heavier, [intervention("http://10.0.0.1:80", "maintenance")]) == []
    assert lapsed(heavier, [intervention("http://10.0.0.1:80", 5, 2)])


def test_there_is_one_change_of_a_kind_for_each_place() -> None:
    one = intervention("a", 3, 1)
    assert one.key == replace(one, value=4, id=2).key
    assert one.key != intervention("a", "drain").key
    assert one.text == "weight of a in http service v1: 1 -> 3"
    assert intervention("a", "drain").text == "state of a in http service v1: drain"


def test_everything_with_a_weight_has_a_place() -> None:
    places = {(each.protocol, each.service, each.child): each.weight for each in places_of(config_of(TEXT))}
    assert places["http", "canary", "v1"] == 3
    assert places["tcp", "db", "db.internal:5432"] == 1
    assert not [key for key in places if key[1] == "copied"]


def test_a_service_that_has_nobody_left_is_known() -> None:
    config = config_of(TEXT)
    assert not is_deserted(None)
    assert not is_deserted(config.http.services["copied"])
    for state in ("drain", "maintenance"):
        alone = steered(config, [intervention("http://10.0.0.1:80", state, service="v2")])
        assert is_deserted(alone.http.services["v2"])
        one_of_two = steered(config, [intervention("http://10.0.0.1:80", state)])
        assert not is_deserted(one_of_two.http.services["v1"])
    nobody = [intervention(name, 0, 1, service="canary") for name in ("v1", "v2")]
    assert is_deserted(steered(config, nobody).http.services["canary"])
