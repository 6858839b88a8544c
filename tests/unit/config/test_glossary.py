"""The reference's tables as descriptions: every row is about an option there is."""

from __future__ import annotations

from pathlib import Path

from streamlb.config.glossary import classes_of, read
from streamlb.config.kinds import fields_of
from streamlb.config.model import Config, LoadBalancer, Router, Server
from streamlb.config.static import EntryPoint, EntryPointTransport, LifeCycle, ServersTransport
from streamlb.config.tls import ClientTls, Store, TlsOptions

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = "\n".join((DOCS / page).read_text() for page in ("reference.md", "logs.md", "metrics.md"))

PAGE = """\
### `entryPoints.NAME`

| option | default | |
|---|---|---|
| `address` | required | where to [listen](#x) |
| `transport.lifeCycle.graceTimeOut` | `10s` | a \\| b |
| `transport.nonsense` | | |

| other | table |
|---|---|
| `address` | not about options |

## Services

| kind | option | default | |
|---|---|---|---|
| `loadBalancer` | `servers[].url` | | its URL |
| | `servers[].weight` | `1` | |

## TLS

| option | default | |
|---|---|---|
| `tls.options.NAME.minVersion`, `.maxVersion` | x | versions |
| `tls.stores.default.defaultCertificate` | | shown |
"""


def test_rows_by_class_and_key() -> None:
    rows = read(PAGE).rows
    assert rows[(EntryPoint, "address")] == "Where to listen."
    assert rows[(LifeCycle, "graceTimeOut")] == "A | b. Default: `10s`."
    assert rows[(Server, "url")] == "Its URL."
    assert rows[(Server, "weight")] == "Default: `1`."
    assert rows[(TlsOptions, "maxVersion")] == "Versions. Default: x."
    assert rows[(Store, "defaultCertificate")] == "Shown."


def test_what_the_model_does_not_know_is_told() -> None:
    assert read(PAGE).strangers == ["transport.nonsense"]


def test_where_there_is_no_row_the_model_speaks() -> None:
    glossary = read("")
    assert glossary.describe(EntryPointTransport, "maxConnections").startswith("At once, per worker")
    assert "`max" not in glossary.describe(ServersTransport, "")
    assert "_" not in glossary.describe(Config, "log")
    assert glossary.describe(LoadBalancer, "strategy") == ""
    assert ".py" not in glossary.describe(Router, "")


def test_the_reference_speaks_of_options_there_are() -> None:
    glossary = read(REFERENCE)
    assert glossary.strangers == []
    assert glossary.describe(ClientTls, "rootCAs").startswith("Who may have signed")
    assert glossary.describe(Server, "maxConnections")


def test_every_option_is_described() -> None:
    glossary = read(REFERENCE)
    seen: set[type] = set()
    todo: list[type] = [Config]
    while todo:
        cls = todo.pop()
        if cls in seen:
            continue
        seen.add(cls)
        for key, hint in fields_of(cls).items():
            assert glossary.describe(cls, key), f"nobody says what `{key}` of {cls.__name__} does"
            todo += classes_of(hint)
