"""What is shown of a configuration: every value, where it came from, and no secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from streamlb.config import provenance
from streamlb.config.assembly import Judges
from streamlb.config.check import load_text
from streamlb.config.internal import complete
from streamlb.config.provenance import show, to_plain, to_yaml
from streamlb.process.configuration import load
from tests.unit.config.files import MAIN, Files, app
from tests.unit.test_conf import CONF, EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from streamlb.config.assembly import Loaded


def origins_of(loaded: Loaded, folder: Path, **options: bool) -> dict[str, str]:
    """`path=value` of every leaf to its origin."""
    found: dict[str, str] = {}

    def walk(at: Any, path: str) -> None:
        if isinstance(at, dict) and at.keys() == {"value", "origin"}:
            found[f"{path}={at['value']}"] = at["origin"].replace(f"{folder}/", "")
        elif isinstance(at, dict):
            for key, value in at.items():
                walk(value, f"{path}.{key}" if path else key)
        else:
            for index, value in enumerate(at):
                walk(value, f"{path}[{index}]")

    walk(to_plain(show(complete(loaded.config), loaded, **options), origins=True), "")
    return found


def test_where_values_came_from(tmp_path: Path) -> None:
    main = "entryPoints:\n  web:\n    address: '127.0.0.1:${PORT}'\nping: {}\nworkers: ${N:-2}\n"
    found = origins_of(Files(tmp_path, {"lb.yaml": main, "a.yaml": app("a")}).read(), tmp_path)
    assert found["entryPoints.web.address=127.0.0.1:8001"] == "lb.yaml:3 ($PORT)"
    assert found["workers=2"] == "lb.yaml:5 (default of $N)"
    assert found["ping={}"] == "lb.yaml:4"
    assert found["http.routers.a.rule=Host(`a`)"] == "a.yaml:3"
    assert found["http.services.a.loadBalancer.servers[0].url=http://127.0.0.1:1"] == "a.yaml:5"
    assert found["entryPoints.traefik.address=127.0.0.1:8080"] == "streamlb"
    assert "default" not in found.values()


def test_defaults(tmp_path: Path) -> None:
    loaded = Files(tmp_path, {"lb.yaml": MAIN, "a.yaml": app("a")}).read()
    found = origins_of(loaded, tmp_path, defaults=True)
    assert found["entryPoints.web.transport.lifeCycle.graceTimeOut=10s"] == "default"
    assert found["workers=1"] == "default"
    assert found["http.services.a.loadBalancer.strategy=wrr"] == "default"
    assert found["entryPoints.web.address=:8000"] == "lb.yaml:1"


SECRETS = """\
tracing: {otlp: {http: {endpoint: "http://user:hidden1@collector:4318/v1/traces"}}}
http:
  routers:
    a: {rule: "Host(`${file:token}`)", service: '${file:name}'}
  services:
    private:
      loadBalancer:
        servers: [{url: "http://127.0.0.1:1"}]
        healthCheck:
          path: /
          headers: {Authorization: hidden2, Cookie: hidden3, X-Api-Token: hidden4, X-Seen: seen}
tls:
  certificates:
    - {certFile: c.pem, keyFile: k.pem}
    - {certFile: "-----BEGIN C hidden5", keyFile: "-----BEGIN K hidden6"}
tcp:
  services:
    redis:
      loadBalancer:
        servers: [{address: "127.0.0.1:1"}]
        healthCheck: {send: "AUTH hidden7\\r\\nPING\\r\\n"}
"""


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    files = {
        "token": "hidden0.example",
        "name": "private",
        "c.pem": "-----BEGIN hidden8",
        "k.pem": "-----BEGIN hidden9",
    }
    loaded = Files(tmp_path, {"0.yaml": MAIN, "a.yaml": SECRETS, **files}, judges=Judges()).read()
    for text in (
        to_yaml(show(loaded.config, loaded, defaults=True), origins=True),
        json.dumps(to_plain(show(loaded.config, loaded, defaults=True))),
    ):
        assert "hidden" not in text
        for kept in ("Host(`${file:token}`)", "${file:name}", "X-Seen", "seen", "c.pem", "k.pem", "(PEM text)"):
            assert kept in text


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_shown_can_be_served(name: str) -> None:
    """But for names that only Kubernetes' translation gives."""
    loaded = load(CONF / name)
    text = to_yaml(show(loaded.config, loaded), origins=True)
    assert to_yaml(show(loaded.config, loaded, defaults=True)).count("\n") > 2 * text.count("\n")
    if "kubernetes" in name or "files" in name or "certFile" in text:
        return
    again = load_text(text).config
    assert again == loaded.config


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("web", "web"),
        ("10s", "10s"),
        ("1m30s", "1m30s"),
        ("on", '"on"'),
        ("1", '"1"'),
        ("true", '"true"'),
        ("", '""'),
        (":80", '":80"'),
        ("a b", '"a b"'),
        ("é", '"é"'),
        (1, "1"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        (0.5, "0.5"),
    ],
)
def test_values_as_yaml(value: Any, text: str) -> None:
    assert to_yaml(provenance.Leaf(value, "x")) == f"{text}\n"
