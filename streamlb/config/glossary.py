"""What each option does, in the words of the reference.

What lives here: the tables of docs/reference.md read into descriptions by class and key of the model.
What must not: reading the file (whoever calls hands in its text), the schema (`schema.py`).
Called by the command line (`streamlb schema`). Where the reference has no row, the model's docstrings speak.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from streamlb.config.kinds import fields_of, is_shape, keys_by_lower, kind_of
from streamlb.config.model import (
    Config,
    Cookie,
    Failover,
    HealthCheck,
    LoadBalancer,
    Mirroring,
    PassiveHealthCheck,
    Router,
    Section,
    Service,
    TcpMiddleware,
    Weighted,
)
from streamlb.config.naming import to_camel
from streamlb.config.observation import Observability, Otlp, RouterObservability, Tracing
from streamlb.config.static import EntryPoint, EntryPointHttp, ServersTransport, TcpServersTransport
from streamlb.config.tls import Tls

HEADINGS: dict[str, tuple[type, ...]] = {
    "entryPoints.NAME": (EntryPoint,),
    "Routers": (Router,),
    "Services": (Service,),
    "Overrides": (Weighted,),
    "Timeouts": (Router,),
    "sticky.cookie": (Cookie,),
    "Health": (HealthCheck, PassiveHealthCheck),
    "Transports": (ServersTransport,),
    "TCP": (TcpServersTransport, LoadBalancer),
    "TCP middlewares": (TcpMiddleware,),
}
"""Where the paths of a section's tables begin; of other sections at the root."""

ELSEWHERE = (EntryPoint, Router)
"""Where paths begin that lead nowhere from there."""

HEADERS = ("option", "kind", "middleware")
"""What the first column of a table with options is called."""

OVERVIEW = {
    (Config, "entryPoints"): "Where to listen, by name.",
    (Config, "metrics"): "Counters for Prometheus.",
    (Config, "core"): "How rules are read.",
    (Config, "providers"): "Where more of the configuration comes from.",
    (Config, "http"): "Routers and services for HTTP requests.",
    (Config, "tcp"): "Routers and services for TCP connections.",
    (Config, "udp"): "Routers and services for UDP datagrams.",
    (Config, "tls"): "Certificates, and what handshakes with clients must be like.",
    (Config, "ctl"): "The socket of `streamlb ctl`, and the file that keeps what was changed with it.",
    (EntryPoint, "transport"): "Connections of the entry point: how many, how long, and how they end.",
    (EntryPoint, "udp"): "Flows of a UDP entry point.",
    (ServersTransport, "forwardingTimeouts"): "Patience with servers.",
    (EntryPointHttp, "redirections"): "Send every request of the entry point elsewhere.",
    (Section, "routers"): "Which service gets what comes in, by name.",
    (Section, "services"): "Servers, and ways to share them out, by name. A service is of one kind.",
    (Service, "loadBalancer"): "Servers.",
    (Service, "weighted"): "Other services, each with its share: canary releases.",
    (Service, "highestRandomWeight"): "Other services; the same client always gets the same one.",
    (Service, "failover"): "A service, and another one for when it fails.",
    (Service, "mirroring"): "A service that answers, and others that get copies.",
    (Failover, "errors"): "Which answers of the service are failures.",
    (Mirroring, "mirrors"): "Who gets copies.",
    (Tracing, "otlp"): "Where spans are sent.",
    (Otlp, "http"): "The collector, over OTLP/HTTP.",
    (Observability, "metrics"): "Whether what comes in here is counted.",
    (RouterObservability, "metrics"): "Whether its requests, connections or flows are counted under its name.",
    (Tls, "stores"): "The one store there is: `default`.",
    (LoadBalancer, "sticky"): "A cookie that keeps a client with its server.",
    (LoadBalancer, "servers"): "Those who are balanced.",
    (Weighted, "sticky"): "A cookie that keeps a client with its child.",
    (Weighted, "services"): "The children, each with its weight.",
    (TcpMiddleware, "inFlightConn"): "How many connections a client may have at once.",
}
"""Keys with keys of their own, which the tables have no rows for."""

ROW = re.compile(r"^\|(.*)\|\s*$")
CELL = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
MAX_FIELD = 600  # characters of a description


@dataclass(slots=True)
class Glossary:
    """What keys do: `rows` by class and key. strangers: paths of option tables that the model does not know."""

    rows: dict[tuple[type, str], str] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)

    def describe(self, cls: type, key: str) -> str:
        """What a key of a class does, or what the class is (key ""); empty when nobody says."""
        if not key:
            return _about(cls)
        for each in cls.__mro__:
            said = self.rows.get((each, key)) or OVERVIEW.get((each, key)) or _own_words(each).get(key, "")
            if said:
                return said
        return " ".join(_about(inner) for inner in classes_of(fields_of(cls)[key])[:1])


def read(text: str) -> Glossary:
    """The option tables of the reference, those with one of `HEADERS`."""
    glossary = Glossary()
    heading, header, kind = "", [""], ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip().strip("`")
        row = ROW.match(line)
        if not row:
            header = [""]
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in CELL.split(row[1])]
        if header == [""]:
            header, kind = cells, ""
            continue
        if set(line) <= set("|-: ") or header[0] not in HEADERS:
            continue
        if header[0] == "kind":
            kind = cells[0].strip("`") or kind
            cells = cells[1:]
        starts = HEADINGS.get(heading, (Config,))
        _take(cells, kind, starts, glossary)
    return glossary


def _take(cells: list[str], kind: str, starts: tuple[type, ...], glossary: Glossary) -> None:
    """One row: an option or several of them, its default, what it does."""
    previous = ""
    for path in CODE.findall(cells[0]):
        full = f"{kind}.{path.lstrip('.')}" if kind else path.lstrip(".")
        if previous and (path.startswith(".") or "." not in path):
            full = f"{previous.rpartition('.')[0]}.{path.lstrip('.')}".lstrip(".")
        previous = full
        found = [place for start in starts for place in _follow(start, full)]
        found = found or [place for start in ELSEWHERE for place in _follow(start, full)]
        if not found:
            glossary.strangers.append(full)
        for cls, key in found:
            for each in cls.__mro__:
                if is_shape(each) and key in fields_of(each):
                    glossary.rows.setdefault((each, key), _sentence(cells[1:]))


def _sentence(cells: list[str]) -> str:
    default, text = (LINK.sub(r"\1", cell).strip() for cell in (cells[0], cells[-1] if len(cells) > 1 else ""))
    said = f"{text[:1].upper()}{text[1:]}." if text else ""
    if default == "required" or not default:
        return said
    return f"{said} Default: {default}.".strip()[:MAX_FIELD]


def _follow(start: type, path: str) -> list[tuple[type, str]]:
    """The class and key at the end of a path such as `servers[].url`; nothing when there is no such path."""
    classes, is_named = [start], False
    *way, last = (part.removesuffix("[]").lower() for part in path.split("."))
    for name in way:
        if is_named:
            is_named = False
            continue  # Any name, or one in particular.
        hints = [fields_of(cls)[keys_by_lower(cls)[name]] for cls in classes if name in keys_by_lower(cls)]
        is_named = any(kind_of(hint).base is dict for hint in hints)
        classes = [inner for hint in hints for inner in classes_of(hint)]
    return [(cls, keys_by_lower(cls)[last]) for cls in classes if last in keys_by_lower(cls)]


def classes_of(hint: Any) -> list[type]:
    """The classes of the model that a type holds, next to itself."""
    kind = kind_of(hint)
    return [kind.base] if is_shape(kind.base) else [cls for arg in kind.args for cls in classes_of(arg)]


# --- the model's own words ---------------------------------------------------------------------------------------


def _about(cls: type) -> str:
    """A class in a sentence or two, without what it says of its fields."""
    text = inspect.getdoc(cls) or ""
    if text.startswith(f"{cls.__name__}("):
        return ""  # What dataclasses write themselves.
    first = text.partition("\n\n")[0].replace("\n", " ")
    cut = _field_pattern(cls).search(first)
    return _for_users(first[: cut.start()].strip().removesuffix(";") if cut else first)


def _for_users(text: str) -> str:
    """Names as YAML writes them, and nothing about the code."""
    spelt = re.sub(r"`(\w*_\w*)`", lambda match: f"`{to_camel(match[1])}`", text)
    return " ".join(each for each in re.split(r"(?<=\.) (?=[A-Z`])", spelt) if ".py" not in each)


@cache
def _own_words(cls: type) -> dict[str, str]:
    """What a docstring says behind `field: ` and `field, field: `."""
    text = (inspect.getdoc(cls) or "").replace("\n", " ")
    found: dict[str, str] = {}
    marks = list(_field_pattern(cls).finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=False):
        said = text[mark.end() : end].strip()
        for name in re.findall(r"\w+", mark[1]):
            found[to_camel(name)] = _for_users(f"{said[:1].upper()}{said[1:]}")
    return found


@cache
def _field_pattern(cls: type) -> re.Pattern[str]:
    names = "|".join(sorted((re.escape(name) for name in _field_names(cls)), key=len, reverse=True)) or "$^"
    return re.compile(rf"(?:^|(?<=[.;] )|(?<=  )|(?<=\) ))`?((?:{names})`?(?:, `?(?:{names})`?)*): ")


def _field_names(cls: type) -> list[str]:
    return list(getattr(cls, "__dataclass_fields__", {}))
