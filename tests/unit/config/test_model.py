"""The model's own little functions: spelling, names, references."""

from __future__ import annotations

import pytest

from streamlb.config.model import Config, Service, bare, provider_of, qualify, resolve, tls_options_named
from streamlb.config.naming import to_camel
from streamlb.config.static import EntryPoint


@pytest.mark.parametrize(
    ("name", "yaml"),
    [
        ("entry_points", "entryPoints"),
        ("trusted_ips", "trustedIPs"),
        ("http", "http"),
        ("max_idle_conns_per_host", "maxIdleConnsPerHost"),
    ],
)
def test_spelling(name: str, yaml: str) -> None:
    assert to_camel(name) == yaml


def test_the_kind_of_an_entry_point() -> None:
    assert EntryPoint(address=":53/UDP").kind == "udp"
    assert EntryPoint(address=":53/tcp").kind == "tcp"
    assert EntryPoint(address=":53").kind == "tcp"


@pytest.mark.parametrize(
    ("reference", "referrer", "name"),
    [
        ("app", "web", "app"),
        ("app@file", "web", "app"),
        ("app", "web@kubernetescrd", "app@kubernetescrd"),
        ("app@file", "web@kubernetescrd", "app"),
        ("app@kubernetescrd", "web", "app@kubernetescrd"),
    ],
)
def test_qualified_names(reference: str, referrer: str, name: str) -> None:
    assert qualify(reference, referrer) == name
    service = Service()
    assert resolve(reference, referrer, {name: service}) is service
    assert resolve(reference, referrer, {}) is None


def test_parts_of_names() -> None:
    assert (bare("a@b"), bare("a"), provider_of("a@b"), provider_of("a")) == ("a", "a", "b", "file")


def test_sections() -> None:
    config = Config()
    assert config.section("udp") is config.udp


@pytest.mark.parametrize(
    ("reference", "name"), [("", "default"), ("default@file", "default"), ("a", "a"), ("a@file", "a"), ("a@b", "a@b")]
)
def test_which_tls_options_are_meant(reference: str, name: str) -> None:
    assert tls_options_named(reference) == name
