"""Trees to dataclasses: keys, types and words, and everything reported at once."""

from __future__ import annotations

import pytest

from streamlb.config import traefik
from streamlb.config.model import Config
from streamlb.config.observation import Log
from streamlb.config.static import EntryPoint
from tests.unit.config.asking import WEB, config_of, lines_of

ONE = WEB + "http:\n  services:\n    app: {loadBalancer: {servers: [{url: 'http://a'}]}}\n"


def test_defaults() -> None:
    config = config_of(WEB)
    assert config == Config(entry_points={"web": EntryPoint(address=":80")})
    assert config.workers == 1
    assert config.log == Log()


def test_keys_are_matched_ignoring_case() -> None:
    config = config_of("entrypoints: {Web: {ADDRESS: ':80', transport: {lifecycle: {gracetimeout: 1m}}}}\n")
    assert config.entry_points["Web"].transport.life_cycle.grace_time_out == 60.0


def test_words_are_matched_ignoring_case() -> None:
    config = config_of(WEB + "log: {level: debug, format: JSON}\nworkers: AUTO\n")
    assert (config.log.level, config.log.format, config.workers) == ("DEBUG", "json", "auto")


def test_nothing_written_is_nothing_given() -> None:
    config = config_of(WEB + "http:\ntcp: {routers: , services: ~}\nlog:\n")
    assert config == config_of(WEB)


def test_numbers_are_text_where_text_is_wanted() -> None:
    config = config_of(
        WEB + "http:\n  routers: {0x10: {rule: Path(`/`), service: 8080}}\n"
        "  services: {8080: {loadBalancer: {servers: [{url: 'http://a'}]}}}\n"
    )
    assert config.http.routers["0x10"].service == "8080"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("htpp: {}\n", "2:1 htpp | unknown key `htpp` | did you mean `http`?"),
        ("worker: 2\n", "2:1 worker | unknown key `worker` | did you mean `workers`?"),
        (
            "log: {zebra: 1}\n",
            "2:7 log.zebra | unknown key `zebra` | known here: `level`, `format`, `filePath`, `noColor`",
        ),
        ("api: {}\n", "2:1 api | Traefik's `api` is not supported by streamlb yet | "),
        ("HOSTRESOLVER: {}\n", "2:1 HOSTRESOLVER | Traefik's `hostResolver` is not supported by streamlb yet | "),
        (
            "log: {level: INFO, LEVEL: DEBUG}\n",
            "2:20 log.level | `LEVEL` is the same key as `level` in line 2 | remove one of the two",
        ),
        (
            "workers: 0\n",
            "2:10 workers | expected a whole number from 1 to 256, or `auto`, got the number 0 | ",
        ),
        (
            "workers: atuo\n",
            '2:10 workers | expected a whole number from 1 to 256, or `auto`, got the text "atuo" | '
            "did you mean `auto`?",
        ),
        ("workers: 1.0\n", "2:10 workers | expected a whole number from 1 to 256, or `auto`, got the number 1.0 | "),
        ("workers: true\n", "2:10 workers | expected a whole number from 1 to 256, or `auto`, got `true` | "),
        ("workers: ~\n", "2:1 workers | expected a whole number from 1 to 256, or `auto`, got nothing | "),
        ("workers: [1]\n", "2:1 workers | expected a whole number from 1 to 256, or `auto`, got a list | "),
        ("log: INFO\n", '2:6 log | expected a mapping (`key: value` lines), got the text "INFO" | '),
        (
            "log: level:INFO\n",
            '2:6 log | expected a mapping (`key: value` lines), got the text "level:INFO" | '
            "put a space behind the colon: `level: INFO`",
        ),
        (
            "http: {routers: [{name: x}]}\n",
            "2:8 http.routers | expected a mapping (`key: value` lines), got a list | "
            "the names are keys here: `name:` and the rest below it",
        ),
        ("http: {routers: {r: }}\n", "2:18 http.routers.r | `r` is empty | "),
        (
            "tcpServersTransport: {dialTimeout: soon}\n",
            "2:36 tcpServersTransport.dialTimeout | "
            "expected a duration such as `300ms`, `3s` or `1m30s`, got `soon` | ",
        ),
        (
            "tcpServersTransport: {dialTimeout: -1}\n",
            "2:36 tcpServersTransport.dialTimeout | a duration cannot be negative | ",
        ),
        (
            "tcpServersTransport: {dialTimeout: [1]}\n",
            "2:23 tcpServersTransport.dialTimeout | "
            "expected a duration such as `300ms`, `3s` or `1m30s`, got a list | ",
        ),
        (
            "tcpServersTransport: {dialTimeout: true}\n",
            "2:36 tcpServersTransport.dialTimeout | "
            "expected a duration such as `300ms`, `3s` or `1m30s`, got `true` | ",
        ),
    ],
)
def test_misfits(text: str, line: str) -> None:
    assert lines_of(WEB + text) == [line]


def test_misfits_inside_lists_and_required_keys() -> None:
    text = (
        ONE + "    w: {weighted: {services: [{name: app, weight: heavy}, {weight: 1}, 5]}}\n"
        "    m: {mirroring: {mirrors: [{name: app, percent: 101}]}}\n"
        "  routers:\n"
        "    r: {rule: [a], service: true, entryPoints: web}\n"
        "    q: {rule: Path(`/`)}\n"
    )
    weight = "expected a whole number from 0 to 1000000"
    percent = "expected a whole number from 0 to 100"
    assert lines_of(text) == [
        f'5:51 http.services.w.weighted.services[0].weight | {weight}, got the text "heavy" | ',
        "5:59 http.services.w.weighted.services[1].name | `name` is missing | ",
        "5:72 http.services.w.weighted.services[2] | expected a mapping (`key: value` lines), got the number 5 | ",
        "6:9 http.services.m.mirroring.service | `service` is missing | ",
        f"6:52 http.services.m.mirroring.mirrors[0].percent | {percent}, got the number 101 | ",
        "8:9 http.routers.r.rule | expected text, got a list | ",
        '8:29 http.routers.r.service | expected text, got `true` | if you mean the word, quote it: "true"',
        '8:48 http.routers.r.entryPoints | expected a list (`- item` lines), got the text "web" | write `[web]`',
        "9:5 http.routers.q.service | `service` is missing | ",
    ]


def test_a_misspelt_key_is_not_reported_as_missing_too() -> None:
    text = WEB + "http: {routers: {r: {rule: Path(`/`), sevice: app}}}\n"
    assert lines_of(text) == ["2:39 http.routers.r.sevice | unknown key `sevice` | did you mean `service`?"]


def test_a_misspelt_key_beside_the_right_one_hides_nothing() -> None:
    text = "htpp: {}\nentryPoints: {web: {address: 80}}\nhttp: {routers: {r: {rule: x, service: gone}}}\n"
    assert [line.split(" |")[0] for line in lines_of(text)] == [
        "1:1 htpp",
        "2:30 entryPoints.web.address",
        "3:40 http.routers.r.service",
    ]


def test_what_traefik_writes_for_what_streamlb_does_anyway_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "http.services.*.loadBalancer"
    monkeypatch.setitem(traefik.UNSUPPORTED, place, {"colour": "colour"})
    monkeypatch.setitem(traefik.HARMLESS, place, {"colour": frozenset({"grey"})})
    text = ONE.replace("loadBalancer: {", "loadBalancer: {colour: grey, ")
    assert lines_of(text) == []
    [line] = lines_of(text.replace("grey", "red"))
    assert "Traefik's `colour` is not supported by streamlb yet" in line


def test_aliased_values_are_checked_once() -> None:
    text = WEB + "http: {services: {a: &s {loadBalancer: {servers: [{url: x}]}}, b: *s}}\n"
    assert len(lines_of(text)) == 2
    assert lines_of(text)[0].startswith("2:57 http.services.a.")
