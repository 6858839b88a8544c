"""The JSON Schema: it takes what `check` takes and refuses most of what `check` refuses for its shape."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from streamlb.config import glossary
from streamlb.config.check import load_text
from streamlb.config.schema import DRAFT, schema
from streamlb.errors import ConfigError

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "conf").glob("*.yaml"))

BASE = """\
entryPoints:
  web: {address: ":80"}
  echo: {address: ":90"}
  dns: {address: ":53/udp"}
http:
  routers:
    a: {rule: "PathPrefix(`/`)", service: a, entryPoints: [web]}
  services:
    a: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}
tcp:
  routers:
    b: {rule: "HostSNI(`*`)", service: b, entryPoints: [echo]}
  services:
    b: {loadBalancer: {servers: [{address: "127.0.0.1:1"}]}}
udp:
  routers:
    c: {service: c}
  services:
    c: {loadBalancer: {servers: [{address: "127.0.0.1:1"}]}}
"""


@cache
def validator() -> Any:
    made = schema(glossary.read((ROOT / "docs" / "reference.md").read_text()).describe)
    assert made["$schema"] == DRAFT
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(json.loads(json.dumps(made)))


def mistakes(text: str) -> list[str]:
    return [error.message for error in validator().iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_fits(path: Path) -> None:
    assert mistakes(path.read_text()) == []


@pytest.mark.parametrize("page", ["README.md", "docs/reference.md", "docs/operations.md"])
def test_what_the_pages_show_fits(page: str) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        assert mistakes(block) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("http:\n", "htpp:\n"),
        ('web: {address: ":80"}', "web: {}"),
        ('web: {address: ":80"}', "web:"),
        ('web: {address: ":80"}', 'web: {address: ":80", adress: ":81"}'),
        ('{address: ":80"}', '{address: ":80", transport: {maxConnections: many}}'),
        ('{address: ":80"}', '{address: ":80", transport: {maxConnections: -1}}'),
        ('{address: ":80"}', '{address: ":80", transport: {lifeCycle: {graceTimeOut: soon}}}'),
        ('{address: ":80"}', '{address: ":80", transport: {lifeCycle: {graceTimeOut: -1s}}}'),
        ('{address: ":80"}', '{address: ":80", transport: {lifeCycle: {graceTimeOut: 1 s}}}'),
        ('{address: ":80"}', '{address: ":80", http: {sanitizePath: "yes"}}'),
        ('{address: ":80"}', '{address: ":80", http: {underscoreHeadersStrategy: keeep}}'),
        ('{address: ":80"}', '{address: ":80", forwardedHeaders: {trustedIPs: "10.0.0.1"}}'),
        ('{address: ":53/udp"}', '{address: ":53/udp", udp: {maxFlows: 0}}'),
        ('rule: "PathPrefix(`/`)", ', ""),
        ("service: a,", ""),
        ("{service: c}", '{service: c, rule: "HostSNI(`*`)"}'),
        ('{url: "http://127.0.0.1:1"}', '{address: "127.0.0.1:1"}'),
        ('{url: "http://127.0.0.1:1"}', "{}"),
        ('{url: "http://127.0.0.1:1"}', '{url: "http://127.0.0.1:1", weight: 1.5}'),
        ('{url: "http://127.0.0.1:1"}', '{url: "http://127.0.0.1:1", tls: true}'),
        ('b: {loadBalancer: {servers: [{address: "127.0.0.1:1"}]}}', "b: {loadBalancer: {sticky: {cookie: {}}}}"),
        ('b: {loadBalancer: {servers: [{address: "127.0.0.1:1"}]}}', "b: {}"),
        ('b: {loadBalancer: {servers: [{address: "127.0.0.1:1"}]}}', "b: {loadBalancer: {}, weighted: {}}"),
        ('a: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}', "a: {loadBalancer: {strategy: rr}}"),
        ('a: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}', "a: {loadBalancer: {onAllDown: 500}}"),
        ('a: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}', "a: {mirroring: {mirrors: []}}"),
        ("  services:\n    c:", "  servers:\n    c:"),
    ],
)
def test_what_the_check_refuses_for_its_shape_is_refused(old: str, new: str) -> None:
    assert mistakes(BASE) == []
    assert load_text(BASE).config.http.routers
    text = BASE.replace(old, new, 1)
    assert text != BASE
    with pytest.raises(ConfigError):
        load_text(text)
    assert mistakes(text)


@pytest.mark.parametrize(
    "value",
    ["300ms", "1m30s", "1.5h", ".5s", "10", "+3s", "1h0m0.5s", 0, 3, 2.5],
)
def test_durations(value: object) -> None:
    text = BASE.replace('{address: ":80"}', f'{{address: ":80", transport: {{keepAliveMaxTime: {value}}}}}')
    assert load_text(text)
    assert mistakes(text) == []


def test_what_is_put_in_may_be_of_any_kind() -> None:
    assert mistakes(BASE.replace('{address: ":80"}', '{address: ":80", transport: {maxConnections: "${MAX}"}}')) == []


def test_nothing_where_nothing_may_be() -> None:
    text = BASE + "log:\nproviders:\n"
    assert load_text(text)
    assert mistakes(text) == []
    assert mistakes(BASE.replace("entryPoints: [web]", "entryPoints:")) == []


def test_one_or_many() -> None:
    check = "healthCheck: {path: /, status: %s}"
    for status in ("200", '"200-299"', "[200, 204]"):
        text = BASE.replace("{loadBalancer: {servers: [{url", "{loadBalancer: {" + check % status + ", servers: [{url")
        assert load_text(text)
        assert mistakes(text) == []


def test_an_editor_shows_what_a_key_does_and_its_default() -> None:
    definitions = validator().schema["definitions"]
    strategy = definitions["http.LoadBalancer"]["properties"]["strategy"]
    assert strategy["enum"] == ["wrr", "p2c", "leastconn", "hrw", "leasttime"]
    assert strategy["default"] == "wrr"
    assert "`leastconn`" in strategy["description"]
    assert definitions["LifeCycle"]["properties"]["graceTimeOut"]["default"] == "10s"
    assert "sticky" not in definitions["tcp.LoadBalancer"]["properties"]


def test_it_says_that_case_does_not_matter() -> None:
    assert "case" in validator().schema["description"]
