"""nginx's language: words, blocks, includes, and what is no such thing."""

from __future__ import annotations

import pytest

from streamlb.convert.draft import ConvertError
from streamlb.convert.nginx_text import Directive, parse


def shape(directive: Directive) -> object:
    inside = None if directive.inside is None else [shape(each) for each in directive.inside]
    return (directive.name, directive.args, inside) if inside is not None else (directive.name, directive.args)


def test_words_and_blocks() -> None:
    text = """a b "c d" 'e;f' ${x}y; # comment { ;
    block ~ ^/x\\.y$ { inner; deeper { x 1; } }"""
    root = parse(text)
    assert [shape(each) for each in root.inside or []] == [
        ("a", ["b", "c d", "e;f", "${x}y"]),
        ("block", ["~", "^/x\\.y$"], [("inner", []), ("deeper", [], [("x", ["1"])])]),
    ]
    assert [each.place for each in root.walk()] == ["", "line 1", "line 2", "line 2", "line 2", "line 2"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a {\n b\n}", 3),
        ("a;\n}", 2),
        ("{ a; }", 1),
        ("a {\n b;", 2),
        ("a 'b", 1),
        ("a;\nlisten;", 2),
        ("a", 1),
    ],
)
def test_what_cannot_be_read(text: str, line: int) -> None:
    with pytest.raises(ConvertError) as error:
        parse(text)
    assert error.value.line == line


def test_what_nginx_prints_is_several_files() -> None:
    text = """# configuration file /etc/nginx/nginx.conf:
http { include conf.d/*.conf; include missing; }

# configuration file /etc/nginx/conf.d/b.conf:
b;
# configuration file /etc/nginx/conf.d/a.conf:

a;
"""
    [http] = parse(text).inside or []
    assert [(each.name, each.place, each.used) for each in http.inside or []] == [
        ("include", "/etc/nginx/nginx.conf:1", True),
        ("a", "/etc/nginx/conf.d/a.conf:2", False),
        ("b", "/etc/nginx/conf.d/b.conf:1", False),
        ("include", "/etc/nginx/nginx.conf:1", False),
    ]


def test_a_file_that_includes_itself() -> None:
    with pytest.raises(ConvertError, match="includes itself"):
        parse("# configuration file /a.conf:\ninclude a.conf;\n")


def test_what_is_inherited_is_that_of_the_innermost() -> None:
    root = parse("x 1; http { x 2; server { inner { x 3; x 4; } empty { } } }")
    [http] = root.all("http")
    [server] = http.all("server")
    assert [each.args for each in server.all("inner")[0].inherited("x")] == [["3"], ["4"]]
    assert [each.args for each in server.all("empty")[0].inherited("x")] == [["2"]]


def test_a_directive_in_one_line() -> None:
    [directive] = parse('a "b c" "" {\n x; }').inside or []
    assert directive.text == 'a "b c" "" {'
