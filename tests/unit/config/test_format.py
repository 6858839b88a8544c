"""Formatting: the usual way to write a configuration, and never another meaning."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.config.check import load_text
from streamlb.config.format import format_source
from streamlb.config.load import decode
from streamlb.config.tree import Source
from streamlb.errors import ConfigError

CONF = Path(__file__).parents[3] / "conf"
EXAMPLES = sorted(CONF.glob("*.yaml"))
TEXTS = {path.name: path.read_text() for path in EXAMPLES}


def fmt(text: str) -> str:
    formatted = format_source(decode("lb.yaml", text.encode()))
    assert format_source(Source("lb.yaml", formatted)) == formatted, "formatted again, it changes again"
    return formatted


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_formatted(path: Path) -> None:
    assert fmt(path.read_text()) == path.read_text()


@pytest.mark.parametrize("path", sorted(CONF.glob("kubernetes/*/*.yaml")), ids=lambda path: path.name)
def test_kubernetes_documents_are_only_laid_out(path: Path) -> None:
    before = path.read_text()
    assert re.sub(r"[ \n]", "", fmt(before)) == re.sub(r"[ \n]", "", before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("HTTP:\n  Routers: {}\n", "http:\n  routers: {}\n"),
        ('"http": {"routers": {}}', "http: {routers: {}}\n"),
        ("log: {level: debug}", "log: {level: DEBUG}\n"),
        ("log: {level: 'debug'}", "log: {level: DEBUG}\n"),
        ("log:\n    LEVEL: info   # a\n    format: json  # b", "log:\n  level: INFO   # a\n  format: json  # b\n"),
        ("log:\n\n\n\n  level: INFO\n\n\n", "log:\n\n  level: INFO\n"),
        ("\n\n# top\n\n\nlog: {}\r\n", "# top\n\nlog: {}\n"),
        ("log: {}   \n#  end   \n", "log: {}\n#  end\n"),
    ],
)
def test_spelling_and_blank_lines(before: str, after: str) -> None:
    assert fmt(before) == after


def rule(written: str) -> str:
    return f"http:\n  routers:\n    a:\n      rule: {written}\n      service: a\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Host(`a`)", '"Host(`a`)"'),
        ("'Host(`a`)'", '"Host(`a`)"'),
        ('"Host(`a`)"', '"Host(`a`)"'),
        ("Host(`a`) # why", '"Host(`a`)" # why'),
        ("Host(`a`)    # why", '"Host(`a`)"  # why'),
        ("'Host(\"a\")'", "'Host(\"a\")'"),
        ('"Host(\\"a\\")"', "'Host(\"a\")'"),
        ("PathRegexp(`\\.png$`)", "'PathRegexp(`\\.png$`)'"),
        ('"PathRegexp(`\\\\.png$`)"', "'PathRegexp(`\\.png$`)'"),
        ("'Host(\"it''s\")'", "'Host(\"it''s\")'"),
        ("&anchored Host(`a`)", "&anchored Host(`a`)"),
        ("!!str Host(`a`)", "!!str Host(`a`)"),
        (">-\n        Host(`a`)\n        || Host(`b`)", ">-\n        Host(`a`)\n        || Host(`b`)"),
        ('"Host(`a`)\n        || Host(`b`)"', '"Host(`a`)\n        || Host(`b`)"'),
        ("", ""),
        ("8080", "8080"),
    ],
)
def test_rules_are_quoted(before: str, after: str) -> None:
    assert fmt(rule(before)) == rule(after).replace("rule: \n", "rule:\n")


def test_indentation() -> None:
    before = """\
http:
    # services first
    services:
        a:
              loadBalancer:
                servers:
                -   url: "http://127.0.0.1:1"
                    weight: 1
                # - url: "http://127.0.0.1:2"
                #   weight: 2
                -
                        url: "http://127.0.0.1:3"
              # behind a
        # behind services
    # behind http
# the end
"""
    after = """\
http:
  # services first
  services:
    a:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:1"
            weight: 1
          # - url: "http://127.0.0.1:2"
          #   weight: 2
          -
            url: "http://127.0.0.1:3"
      # behind a
    # behind services
  # behind http
# the end
"""
    assert fmt(before) == after


def test_texts_and_flow_collections_move_along() -> None:
    before = """\
tls:
    certificates:
    -   certFile: |
            a
              b

            c
        keyFile: "x
            y"
    options: {a: {minVersion: versiontls12,
                  sniStrict: true   # strict
             }}
"""
    after = """\
tls:
  certificates:
    - certFile: |
          a
            b

          c
      keyFile: "x
          y"
  options: {a: {minVersion: VersionTLS12,
                sniStrict: true   # strict
           }}
"""
    assert fmt(before) == after


def test_order_at_the_root() -> None:
    before = """\
# All about this file.
http: {}

# --- listening ---
# here
entryPoints:
  web: {address: ":80"}
  # last words

nonsense: {}
log: {}
"""
    after = """\
# All about this file.
# --- listening ---
# here
entryPoints:
  web: {address: ":80"}
  # last words

log: {}

http: {}

nonsense: {}
"""
    assert fmt(before) == after


def test_the_order_of_what_has_names_is_left_alone() -> None:
    text = "http:\n  services:\n    b: {}\n    a: {}\n  routers: {}\n"
    assert fmt(text) == text


def test_anchors_stay_in_front_of_their_aliases() -> None:
    text = "http: &all\n  services: {}\nentryPoints: *all\n"
    assert fmt(text) == text


def test_merge_keys_and_anchors_are_kept() -> None:
    before = "http:\n services:\n  a: &a\n   loadbalancer: {SERVERS: [{url: 'http://a'}]}\n  b:\n   <<: *a\n"
    after = "http:\n  services:\n    a: &a\n      loadBalancer: {servers: [{url: 'http://a'}]}\n    b:\n      <<: *a\n"
    assert fmt(before) == after


def test_an_alias_that_is_two_things_is_spelt_as_neither() -> None:
    text = "log: &x {Level: info}\naccessLog: *x\n"
    assert "info" in fmt(text) or "INFO" in fmt(text)


def test_names_are_the_users() -> None:
    text = 'entryPoints:\n  Web: {address: ":80"}\nhttp:\n  services:\n    LoadBalancer: {}\n'
    assert fmt(text) == text


def test_what_comes_in_from_elsewhere_stays() -> None:
    text = 'entryPoints:\n  web: {address: "${ADDRESS:-:80}"}\nworkers: ${WORKERS}\n'
    assert fmt(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "is not closed"),
        ("a: 1\na: 2\n", "given twice"),
        ("? http\n: {}\n", "a question mark"),
        ("{a: b}: c\n", "single word"),
        ("http: *nowhere\n", "no anchor"),
        ("\tlog: {}\n", "tab"),
    ],
)
def test_what_cannot_be_read_is_left_alone(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as error:
        fmt(text)
    assert reason in str([problem.reason + problem.suggestion for problem in error.value.problems])


def test_both_spellings_of_a_key_are_left_for_the_check_to_complain() -> None:
    text = "log: {level: INFO, Level: DEBUG}\n"
    assert fmt(text) == text


def test_a_thousand_levels_of_aliases_are_no_matter() -> None:
    text = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 15))
    assert fmt(text) == text


@pytest.mark.parametrize(
    "text", ["", "# only\n", "---\nlog: {}\n", "--- # x\nlog: {}\n...\n", "%YAML 1.2\n---\nlog: {}\n"]
)
def test_around_documents(text: str) -> None:
    assert fmt(text).strip() == text.strip()


# --- mangled in every way that means the same ---------------------------------------------------------------------


def mangle(text: str, chance: random.Random) -> str:
    """The same configuration, written by somebody in a hurry."""
    step = chance.choice([1, 2, 3, 4, 7])
    lines = []
    for line in text.split("\n"):
        body = line.lstrip(" ")
        spaces = (len(line) - len(body)) // 2 * step
        while body.startswith("- ") and not line.lstrip().startswith("#"):
            lines.append(" " * spaces + "-")
            spaces += step
            body = body[2:]
        key = re.match(r"[a-zA-Z]+(?=:)", body)
        if key and chance.random() < 0.5 and key[0] in KNOWN:
            body = chance.choice([str.upper, str.lower, str.capitalize])(key[0]) + body[key.end() :]
        lines.append(" " * spaces + body + (" " * chance.randrange(3) if body else ""))
        if chance.random() < 0.05:
            lines += [""] * chance.randrange(4)
    return "\n".join(lines) + "\n" * chance.randrange(3)


KNOWN = {"entryPoints", "address", "http", "tcp", "udp", "routers", "services", "rule", "service", "servers"}
KNOWN |= {
    "loadBalancer",
    "weighted",
    "url",
    "weight",
    "log",
    "level",
    "transport",
    "workers",
    "cookie",
    "healthCheck",
    "interval",
}
"""Keys that are no names in the examples."""


@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if "providers:" not in text])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=5, deadline=None)
def test_whoever_wrote_it_it_means_the_same(name: str, seed: int) -> None:
    text = TEXTS[name]
    mangled = mangle(text, random.Random(seed))
    formatted = fmt(mangled)
    assert load_text(formatted).config == load_text(mangled).config
    assert comments(formatted) == comments(text)
    assert [line.split(":")[0] for line in formatted.splitlines() if line[:1].isalpha()] == [
        line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()
    ]


def comments(text: str) -> list[str]:
    return [found[0].rstrip() for found in re.finditer(r"(?:^|(?<= ))#.*", text, re.MULTILINE)]


@given(
    st.recursive(
        st.sampled_from(["1", "'a b'", '"c\\n"', "*x", "plain text", "&x y", "|\n  t", "[1,\n 2]", "{a: 1}", "", "~"]),
        lambda inner: st.builds(
            lambda items, is_list, gap: (
                "\n"
                + "\n".join(
                    re.sub(r"\n(?=.)", "\n" + " " * gap, f"{'-' if is_list else f'k{n}:'} {item}")
                    for n, item in enumerate(items)
                )
            ),
            st.lists(inner, min_size=1, max_size=3),
            st.booleans(),
            st.integers(1, 4),
        ),
        max_leaves=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_yaml_is_formatted_for_good_or_left_alone(text: str) -> None:
    try:
        formatted = format_source(decode("x.yaml", text.encode()))
    except ConfigError:
        return
    assert format_source(decode("x.yaml", formatted.encode())) == formatted
