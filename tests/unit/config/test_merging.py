"""Several files that are one configuration: what goes together, and what two files cannot both say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config import merging
from streamlb.config.load import parse
from streamlb.config.sources import Sources
from streamlb.config.tree import Mapping, Scalar, Sequence, Source
from streamlb.errors import ConfigError
from tests.unit.config.files import MAIN, Files, app

if TYPE_CHECKING:
    from pathlib import Path

    from streamlb.config.tree import Node
    from streamlb.errors import Problem


def tree(text: str, name: str = "x.yaml") -> Node:
    return parse(Source(name, text), [])[0]


def plain(node: Node | None) -> object:
    """A tree without its places."""
    if isinstance(node, Mapping):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


def merged(*texts: str) -> tuple[object, list[str]]:
    problems: list[Problem] = []
    roots = [tree(text, f"{letter}.yaml") for letter, text in zip("abcdef", texts, strict=False)]
    node = merging.merge(roots, problems)
    return plain(node), [f"{each.position} {each.path} | {each.reason}" for each in problems]


def test_one_file_is_itself() -> None:
    assert merged("a: 1\n") == ({"a": 1}, [])


def test_static_and_dynamic_parts_anywhere() -> None:
    found, problems = merged(
        "entryPoints: {web: {address: ':80'}}\nlog: {level: DEBUG}\n",
        "http: {routers: {a: {}}}\nlog: {format: json}\n",
        "HTTP: {Routers: {b: {}}, services: {c: {}}}\nworkers: 2\n",
    )
    assert problems == []
    assert found == {
        "entryPoints": {"web": {"address": ":80"}},
        "log": {"level": "DEBUG", "format": "json"},
        "http": {"routers": {"a": {}, "b": {}}, "services": {"c": {}}},
        "workers": 2,
    }


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("http: {routers: {a: {}}}\n", "http.routers.a"),
        ("tcp: {services: {a: {}}}\n", "tcp.services.a"),
        ("entryPoints: {a: {}}\n", "entryPoints.a"),
        ("tls: {options: {a: {}}}\n", "tls.options.a"),
        ("tls: {stores: {default: {}}}\n", "tls.stores.default"),
        ("http: {serversTransports: {a: {}}}\n", "http.serversTransports.a"),
    ],
)
def test_an_object_twice_names_both_places(text: str, path: str) -> None:
    _, problems = merged(text, "\n" + text)
    name = path.rpartition(".")[2]
    [problem] = problems
    assert problem.startswith("b.yaml:2:")
    assert problem.endswith(f" {path} | `{name}` is given twice; the first is in line 1 of a.yaml")


def test_a_value_may_be_said_twice_if_it_is_the_same() -> None:
    assert merged("log: {level: DEBUG}\n", "log: {level: DEBUG}\n")[1] == []
    assert merged("log: {level: DEBUG}\n", "log: {level: INFO}\n")[1] == [
        "b.yaml:1:14 log.level | this is said twice with different values; the first is in line 1 of a.yaml"
    ]
    assert merged("workers: 1\n", "workers: '1'\n")[1] != []
    assert merged("metrics: {prometheus: {buckets: [1, 2]}}\n", "metrics: {prometheus: {buckets: [1, 2]}}\n")[1] == []
    assert merged("metrics: {prometheus: {buckets: [1, 2]}}\n", "metrics: {prometheus: {buckets: [1]}}\n")[1] != []
    codes = "accessLog: {filters: {statusCodes: %s}}\n"
    assert merged(codes % "['500']", codes % "['500']")[1] == []
    assert merged(codes % "'500'", codes % "['500']")[1] != []


def test_lists_of_which_each_file_has_a_part() -> None:
    found, problems = merged(
        "tls: {certificates: [{certFile: a}]}\nproviders: {kubernetesManifests: {paths: [x]}}\n",
        "tls: {certificates: [{certFile: b}]}\nproviders: {kubernetesManifests: {paths: [y]}}\n",
    )
    assert problems == []
    assert found == {
        "tls": {"certificates": [{"certFile": "a"}, {"certFile": "b"}]},
        "providers": {"kubernetesManifests": {"paths": ["x", "y"]}},
    }


def test_names_with_plain_values() -> None:
    text = "providers: {kubernetesManifests: {endpoints: {%s: [%s]}}}\n"
    assert merged(text % ("a", "h:1"), text % ("b", "h:2"))[1] == []
    assert merged(text % ("a", "h:1"), text % ("a", "h:1"))[1] == []
    assert merged(text % ("a", "h:1"), text % ("a", "h:2"))[1] != []


def test_what_says_nothing_takes_nothing_away() -> None:
    assert merged("http: {routers: {a: {}}}\n", "http:\n", "http: {routers: }\n")[0] == {"http": {"routers": {"a": {}}}}


def test_unknown_keys_are_all_reported(tmp_path: Path) -> None:
    files = Files(
        tmp_path, {"a.yaml": MAIN + "htpt: {}\n", "b.yaml": "htpt: {}\n", "c.yaml": "pilot: {}\nhttp: {x: 1}\n"}
    )
    assert [line.partition(" | ")[0] for line in files.problems()] == [
        "a.yaml:2:1 htpt",
        "b.yaml:1:1 htpt",
        "c.yaml:1:1 pilot",
        "c.yaml:2:8 http.x",
    ]


def test_a_misfit_is_reported_where_it_stands(tmp_path: Path) -> None:
    files = Files(tmp_path, {"a.yaml": MAIN + app("a"), "b.yaml": "http: 5\n"})
    assert files.problems() == ["b.yaml:1:7 http | expected a mapping (`key: value` lines), got the number 5 | "]


def test_the_same_key_twice_in_one_of_several_files() -> None:
    assert merged("http: {}\n", "http: {}\nHTTP: {}\n")[1] == [
        "b.yaml:2:1 http | `HTTP` is the same key as `http` in line 1"
    ]


def test_positions_name_the_right_file(tmp_path: Path) -> None:
    files = Files(tmp_path, {"a.yaml": MAIN, "b.yaml": app("a"), "c/d.yaml": app("b") + "    c: {}\n"})
    assert [line.split()[0] for line in files.problems()] == ["c/d.yaml:6:5"]


def test_other_places_in_messages_name_their_file(tmp_path: Path) -> None:
    udp = "udp: {routers: {%s: {service: s}}}\n"
    files = Files(
        tmp_path,
        {
            "a.yaml": "entryPoints: {d: {address: ':53/udp'}}\n",
            "b.yaml": "entryPoints: {e: {address: ':53/udp'}}\n",
            "c.yaml": "udp: {services: {s: {loadBalancer: {servers: [{address: '127.0.0.1:1'}]}}}}\n"
            + udp.replace("udp: ", "#"),
            "e.yaml": udp % "x",
            "f.yaml": udp % "y",
        },
    )
    found = "\n".join(files.problems())
    assert "used by entry point `d` in line 1 of a.yaml" in found
    assert "already has `x` in line 1 of e.yaml" in found


def test_static_keys_do_not_go_into_a_provider_s_file(tmp_path: Path) -> None:
    provider = "providers: {file: {directory: more}}\n"
    files = Files(tmp_path, {"lb.yaml": MAIN + provider, "more/a.yaml": "Log: {}\nworkers: 2\n" + app("a")}, "lb.yaml")
    reason = "cannot be in a file of `providers.file`, which holds `http`, `tcp`, `udp` and `tls` only"
    assert files.problems() == [
        f"more/a.yaml:1:1 Log | `Log` {reason} | move it to the main file",
        f"more/a.yaml:2:1 workers | `workers` {reason} | move it to the main file",
    ]


KEYS = (
    "entryPoints",
    "http",
    "HTTP",
    "routers",
    "services",
    "tls",
    "certificates",
    "options",
    "web",
    "address",
    "a",
    "log",
    "level",
    "accessLog",
    "filters",
    "statusCodes",
    "workers",
    "providers",
    "file",
    "kubernetesManifests",
    "paths",
    "endpoints",
)

texts = st.recursive(
    st.sampled_from(["1", "a", "", "~", "[]", "{}", "[a, {b: c}]", "10s", "'x'", "{certFile: a}"]),
    lambda inner: st.dictionaries(
        st.sampled_from(KEYS),
        inner,
        max_size=4,
    ).map(lambda found: "{" + ", ".join(f"{key}: {value}" for key, value in found.items()) + "}"),
    max_leaves=12,
)


@given(st.lists(texts, min_size=1, max_size=4))
def test_nothing_raises_but_a_configuration_error(parts: list[str]) -> None:
    held = {f"/nowhere/{number}.yaml": part.encode() for number, part in enumerate(parts)}
    with contextlib.suppress(ConfigError):
        Sources(list(held), read=held.__getitem__).read()
