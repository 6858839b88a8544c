"""The rule language: what parses to what, every mistake with its column, and text -> tree -> text."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.routing.rule import MAX_DEPTH, MAX_LENGTH, And, Matcher, Not, Or, Rule, RuleError, octets, parse, render
from tests.unit.routing.rules import RULES, TCP_RULES

A, B, C = (Matcher("Path", (f"/{letter}",)) for letter in "abc")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Path(`/a`)", A),
        ('Path("/a")', A),
        ("path(`/a`)", A),
        ("PATH(`/a`)", A),
        ("  Path ( `/a` ) \n", A),
        ("(Path(`/a`))", A),
        ("((Path(`/a`)))", A),
        ("!Path(`/a`)", Not(A)),
        ("! ( Path(`/a`) )", Not(A)),
        ("!!Path(`/a`)", Not(Not(A))),
        ("Path(`/a`) && Path(`/b`)", And((A, B))),
        ("Path(`/a`)&&Path(`/b`)&&Path(`/c`)", And((A, B, C))),
        ("Path(`/a`) || Path(`/b`) || Path(`/c`)", Or((A, B, C))),
        ("Path(`/a`) || Path(`/b`) && Path(`/c`)", Or((A, And((B, C))))),
        ("Path(`/a`) && Path(`/b`) || Path(`/c`)", Or((And((A, B)), C))),
        ("(Path(`/a`) || Path(`/b`)) && Path(`/c`)", And((Or((A, B)), C))),
        ("!(Path(`/a`) || Path(`/b`)) && Path(`/c`)", And((Not(Or((A, B))), C))),
        ("Path(`/a`) &&\n  Path(`/b`)", And((A, B))),
        ("Path(`/a`)\n&& Path(`/b`)", And((A, B))),
        ("Host(`a.com`,`b.com`)", Matcher("Host", ("a.com", "b.com"))),
        ('Header(`X`, "a\\tb")', Matcher("Header", ("X", "a\tb"))),
        ("Query(`k`)", Matcher("Query", ("k",))),
        ("pathprefix(`/`)", Matcher("PathPrefix", ("/",))),
        ("clientip(`::1`)", Matcher("ClientIP", ("::1",))),
    ],
)
def test_tree(text: str, rule: Rule) -> None:
    assert parse(text) == rule


def test_tcp() -> None:
    assert parse("HostSNI(`*`)", "tcp") == Matcher("HostSNI", ("*",))
    assert parse("!clientip(`10.0.0.0/8`)", "tcp") == Not(Matcher("ClientIP", ("10.0.0.0/8",)))


def test_columns_are_kept() -> None:
    rule = parse("Path(`/a`) && Path(`/b`)")
    assert isinstance(rule, And)
    assert [operand.column for operand in rule.operands if isinstance(operand, Matcher)] == [0, 14]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\a\b\f\n\r\t\v\\\""', b'\a\b\f\n\r\t\v\\"'),
        (r'"\x41\101B\U00000043"', b"AABC"),
        (r'"é中\U0001F600"', "é中😀".encode()),
        (r'"\xff\377"', b"\xff\xff"),
        (r'"\xc3\xa9"', "é".encode()),
        (r"`\n`", rb"\n"),
        ("`a\r\nb`", b"a\nb"),
        ('`"`', b'"'),
        ('"`"', b"`"),
        ('"a b, c) || "', b"a b, c) || "),
    ],
)
def test_values(text: str, value: bytes) -> None:
    rule = parse(f"Header(`X`, {text})")
    assert isinstance(rule, Matcher)
    assert octets(rule.values[1]) == value
    assert parse(render(rule)) == rule


@pytest.mark.parametrize(
    ("text", "column", "message", "suggestion"),
    [
        ("", 0, "the rule is empty", "write for example Host(`example.com`)"),
        ("  ", 0, "the rule is empty", "write for example Host(`example.com`)"),
        ("Hots(`a`)", 0, "unknown matcher `Hots`", "did you mean `Host`?"),
        ("Path(`/`) && Pathprefx(`/a`)", 13, "unknown matcher `Pathprefx`", "did you mean `PathPrefix`?"),
        ("Zzz(`a`)", 0, "unknown matcher `Zzz`", ""),
        ("Host", 0, "`Host` lacks its values", "write Host(`...`)"),
        ("Host=`a`", 0, "`Host` lacks its values", "write Host(`...`)"),
        ("Host()", 0, "Host takes 1 to 1000 values, not 0", ""),
        ("Host(", 4, "the `(` of Host is never closed", ""),
        ("Host (", 5, "the `(` of Host is never closed", ""),
        ("Host(`a`", 4, "the `(` of Host is never closed", ""),
        ("Host(`a`,", 4, "the `(` of Host is never closed", ""),
        ("Host(`a", 5, "this backtick is never closed", ""),
        ('Host("a', 5, "this double quote is never closed", ""),
        ('Host("a\n")', 5, "this double quote is never closed", ""),
        ("Host(a.com)", 5, "a value needs backticks or double quotes", "write `a.com`"),
        ("Host('a.com')", 5, "a value needs backticks or double quotes", "write `a.com`"),
        ("Host(`a` `b`)", 9, "unexpected ```: expected `,` or `)`", ""),
        ("Host(`a`,)", 9, "unexpected `)`: expected a value in backticks", ""),
        ("Host(`a`))", 9, "unexpected `)`: expected `&&`, `||` or the end of the rule", ""),
        ("(Host(`a`)", 0, "this `(` is never closed", ""),
        ("(Host(`a`) Host(`b`))", 11, "unexpected `Host`: expected `&&`, `||` or `)`", ""),
        ("Host(`a`) Host(`b`)", 10, "unexpected `Host`: expected `&&`, `||` or the end of the rule", ""),
        ("Host(`a`) & Path(`/`)", 10, "`&` alone is not an operator", "write `&&`"),
        ("Host(`a`) | Path(`/`)", 10, "`|` alone is not an operator", "write `||`"),
        ("Host(`a`) or Path(`/`)", 10, "unexpected `or`: expected `&&`, `||` or the end of the rule", "write `||`"),
        ("not Host(`a`)", 0, "`not` is not an operator", "write `!`"),
        ("Host(`a`) &&", 12, "expected a matcher such as Host(`example.com`), but the rule ends", ""),
        ("Host(`a`) && ", 12, "expected a matcher such as Host(`example.com`), but the rule ends", ""),
        ("!", 0, "expected a matcher such as Host(`example.com`), but the rule ends", ""),
        ("&& Host(`a`)", 0, "unexpected `&&`: expected a matcher such as Host(`example.com`)", ""),
        ("Host(`a`) && && Host(`b`)", 13, "unexpected `&&`: expected a matcher such as Host(`example.com`)", ""),
        ("()", 1, "unexpected `)`: expected a matcher such as Host(`example.com`)", ""),
        ("`a`", 0, "unexpected ```: expected a matcher such as Host(`example.com`)", ""),
        (r'Host("\q")', 6, "unknown escape in a value", "use backticks, where a backslash is just that"),
        (r'Host("\400")', 6, "unknown escape in a value", "use backticks, where a backslash is just that"),
        (r'Host("\uD800")', 6, "unknown escape in a value", "use backticks, where a backslash is just that"),
        (r'Host("\U00110000")', 6, "unknown escape in a value", "use backticks, where a backslash is just that"),
        ("Host(`\ud800`)", 6, "the rule is not valid Unicode", ""),
        # Values are checked, and the column is that of the value.
        ("Host(`a`, `ü.de`)", 10, "a host must be ASCII", "write `xn--tda.de`"),
        ("Host(`a`) && Path(`b`)", 18, "a path must start with `/`", "write `/b`"),
        ("ClientIP(`10.0.0.0/33`)", 9, "`10.0.0.0/33` is not an address or a range like 10.0.0.0/8", ""),
        ("Header(`X`)", 0, "Header takes 2 values, not 1", ""),
    ],
)
def test_mistake(text: str, column: int, message: str, suggestion: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(text)
    assert (caught.value.column, caught.value.message, caught.value.suggestion) == (column, message, suggestion)
    assert str(caught.value) == message
    assert caught.value.width >= 1


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Path(`/`) && Hots(`a`)", "Hots"),
        ("Host(`a`, `b c` , `d`)", "`b c`"),
        ('Path( "b" )', '"b"'),
        ("Host(a.com)", "a.com"),
        ("Host(`a`) and Host(`b`)", "and"),
        ("Method(`GET`, `PUT`)", "Method"),
        ("&& Host(`a`)", "&&"),
    ],
)
def test_the_wrong_characters_are_marked(text: str, wrong: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(text)
    assert text[caught.value.column :][: caught.value.width] == wrong


@pytest.mark.parametrize("opening", ["!", "(", "!(", "(!"])
def test_depth_is_bounded(opening: str) -> None:
    levels = MAX_DEPTH // len(opening)
    closing = ")" * opening.count("(")
    rule = parse(opening * levels + "Path(`/`)" + closing * levels)
    assert parse(render(rule)) == rule
    with pytest.raises(RuleError, match="nested deeper"):
        parse(opening * (levels + 1) + "Path(`/`)" + closing * (levels + 1))
    with pytest.raises(RuleError, match="nested deeper"):
        parse(opening * 20_000)


def test_depth_is_not_length() -> None:
    text = " && ".join(["!(Path(`/a`))"] * (MAX_DEPTH + 1))
    assert parse(text) == And((Not(A),) * (MAX_DEPTH + 1))


def test_no_more_parentheses_than_needed() -> None:
    text = "Path(`/a`) && Path(`/b`) || !Path(`/c`) || (Path(`/a`) || Path(`/b`)) && !(Path(`/b`) && Path(`/c`))"
    assert render(parse(text)) == text
    assert render(parse("((Path(`/a`)) && (Path(`/b`)))")) == "Path(`/a`) && Path(`/b`)"


def test_length_is_bounded() -> None:
    long = " || ".join(["Path(`/a`)"] * (MAX_LENGTH // 14))
    rule = parse(long)
    assert isinstance(rule, Or)
    assert render(rule) == long
    with pytest.raises(RuleError, match="longer than"):
        parse(" " * (MAX_LENGTH + 1))


@given(rule=RULES)
def test_tree_to_text_to_tree(rule: Rule) -> None:
    assert parse(render(rule)) == rule


@given(rule=TCP_RULES)
def test_tcp_tree_to_text_to_tree(rule: Rule) -> None:
    assert parse(render(rule), "tcp") == rule


@given(rule=RULES, data=st.data())
def test_text_to_tree_to_text(rule: Rule, data: st.DataObject) -> None:
    text = render(rule)
    assert render(parse(text)) == text
    loose = text.replace(" && ", "&&").replace(" || ", data.draw(st.sampled_from(["||", "\n|| ", " ||\t"])))
    if not any(quote in text for quote in '"\\'):
        assert parse(loose) == rule


PIECES = st.sampled_from(
    ["Host", "Path", "(", ")", "`", '"', "&&", "||", "!", ",", " ", "\\", "/a", "x", "é", "\ud812", "\n", "&", "=", "'"]
)


def read(text: str, protocol: str = "http") -> Rule | RuleError:
    try:
        return parse(text, protocol)
    except RuleError as error:
        return error


@given(text=st.one_of(st.text(string.printable, max_size=40), st.lists(PIECES, max_size=30).map("".join)))
def test_any_text_is_a_rule_or_an_error_with_a_column(text: str) -> None:
    for protocol in ("http", "tcp"):
        result = read(text, protocol)
        if isinstance(result, RuleError):
            assert 0 <= result.column <= len(text)
            assert result.message
        else:
            assert parse(render(result), protocol) == result


@given(rule=RULES, data=st.data())
def test_a_rule_cut_short_is_an_error(rule: Rule, data: st.DataObject) -> None:
    text = render(rule)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    result = read(cut)
    if isinstance(result, RuleError):
        assert 0 <= result.column <= len(cut)
    else:
        # What stands before an operator is a rule of its own.
        assert text[len(cut) :].lstrip().startswith(("&&", "||"))
