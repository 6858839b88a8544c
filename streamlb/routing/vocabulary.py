"""The matchers of the rule language: their names, how many values they take, and which values are wrong.

What lives here: checks of one matcher and its values, and advice for words that belong to other Traefik versions.
What must not: grammar (`rule.py`), the meaning of a matcher (`matchers.py`). Called by `rule.py`.
Specified by Traefik's reference page on rules and priority, and for `ruleSyntax: v2` by that of Traefik 2.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from streamlb.routing.pattern import PatternError, searcher
from streamlb.routing.template import HOST, PATH, PREFIX, QUERY, TemplateKind, to_pattern

if TYPE_CHECKING:
    from collections.abc import Callable


class Fault(NamedTuple):
    """What is wrong with a matcher: with its value number `value`, or with its name or values as a whole (None).

    column, width: the characters of the value that are wrong; width 0 is all of it.
    """

    message: str
    suggestion: str = ""
    value: int | None = None
    column: int = 0
    width: int = 0


class Word(NamedTuple):
    """A matcher: how many values it takes, and the check of one value (its place and text to a complaint).

    pairs: the values are names and values in turn.
    """

    name: str
    least: int
    most: int
    check: Callable[[int, str], Fault | None]
    pairs: bool = False


ANY_NUMBER = 1000
"""So many values may a matcher have that takes any number of them."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_HOST_NAME = re.compile(r"[0-9A-Za-z_.\-]+", re.ASCII)
_PORT = re.compile(r"(?P<host>[0-9A-Za-z_.\-]+|\[[0-9A-Fa-f:.]+\]):[0-9]+", re.ASCII)
_BRACES = re.compile(r"\{[A-Za-z0-9_]+(:[^{}]*)?\}")
_NAMED_BRACES = re.compile(r"(?<!\\[pPx])\{[A-Za-z_][A-Za-z0-9_]*(:.*)?\}")
"""`{sub:[a-z]+}`, which to RE2 would be literal text; not the braces of `\\p{Greek}`."""


_ANYTHING_ELSE = "use HostRegexp for anything else"


def _host(_: int, text: str) -> Fault | None:
    if not text:
        return Fault("a host must not be empty")
    if not text.isascii():
        try:
            ascii_form = text.encode("idna").decode("ascii")
        except UnicodeError:
            return Fault("a host must be ASCII")
        return Fault("a host must be ASCII", f"write `{ascii_form}`")
    if text == "*":
        return None
    if "*" in text.removeprefix("*."):
        return Fault("a wildcard is the whole first label, as in `*.example.com`", _ANYTHING_ELSE)
    if text.startswith("*."):
        return None if _HOST_NAME.fullmatch(text[2:]) and text[2] != "." else Fault(f"`{text}` is not a host name")
    with_port = _PORT.fullmatch(text)
    if with_port:
        return Fault("a host has no port here: any port matches", f"write `{with_port['host']}`")
    if text.startswith(".") or not (_HOST_NAME.fullmatch(text) or _is_ipv6(text)):
        return Fault(f"`{text}` is not a host name")
    return None


def _is_ipv6(text: str) -> bool:
    if text.startswith("[") != text.endswith("]"):
        return False
    try:
        IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return "%" not in text


def _literal_path(kind: TemplateKind) -> Callable[[int, str], Fault | None]:
    """A path or the beginning of one; what Traefik 2 would have read as a template is not meant literally."""

    def check_path(_: int, text: str) -> Fault | None:
        if not text.startswith("/"):
            return Fault("a path must start with `/`", f"write `/{text}`")
        return _old_template("PathRegexp", text, kind) if _BRACES.search(text) else None

    return check_path


def _old_template(name: str, text: str, kind: TemplateKind) -> Fault:
    try:
        pattern = to_pattern(text, kind)
    except PatternError:
        pattern = ""
    instead = f"write {name}(`{pattern}`), or " if pattern and "`" not in pattern else ""
    return Fault("a pattern in braces is Traefik 2 syntax", f"{instead}give the router `ruleSyntax: v2`")


def _pattern(_: int, text: str) -> Fault | None:
    """A pattern that RE2 takes."""
    try:
        searcher(text.encode("utf-8", "surrogateescape"))
    except PatternError as error:
        return Fault(error.message, error.suggestion, column=error.column, width=error.width)
    return None


def _host_pattern(place: int, text: str) -> Fault | None:
    if not text.isascii():
        return Fault("a host must be ASCII")
    return _old_template("HostRegexp", text, HOST) if _NAMED_BRACES.search(text) else _pattern(place, text)


def _method(_: int, text: str) -> Fault | None:
    return None if _TOKEN.fullmatch(text) else Fault(f"`{text}` is not a method")


def _header(place: int, text: str) -> Fault | None:
    if place > 0 or _TOKEN.fullmatch(text):
        return None
    return Fault(f"`{text}` is not a header name" if text else "a header name must not be empty")


def _header_pattern(place: int, text: str) -> Fault | None:
    return _header(0, text) if place == 0 else _pattern(place, text)


def _query_pattern(place: int, text: str) -> Fault | None:
    return _query(0, text) if place == 0 else _pattern(place, text)


def _query(place: int, text: str) -> Fault | None:
    if place > 0:
        return None
    if not text:
        return Fault("a query key must not be empty")
    key, equals, value = text.partition("=")
    if equals:
        return Fault("a query key has no `=`", f"write Query(`{key}`, `{value}`)")
    return None


def _client_ip(_: int, text: str) -> Fault | None:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return Fault(f"`{text}` is not an address or a range like 10.0.0.0/8")
    # A bare number is an address to `ipaddress`, and a dotted netmask is a range to it; not to Traefik.
    if not re.fullmatch(r"[0-9A-Fa-f:]*[.:][0-9A-Fa-f:.]*(/[0-9]+)?", text):
        return Fault(f"`{text}` is not an address or a range like 10.0.0.0/8")
    return None


def _host_sni(place: int, text: str) -> Fault | None:
    """A host as clients name it in a handshake, where addresses are never named (RFC 6066 section 3)."""
    fault = _host(place, text)
    if fault is not None:
        return fault._replace(suggestion=fault.suggestion.replace("HostRegexp", "HostSNIRegexp"))
    if _is_address(text):
        return Fault("clients send no server name for an address", "use HostSNI(`*`), and ClientIP for who asks")
    return None


def _is_address(text: str) -> bool:
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _alpn(_: int, text: str) -> Fault | None:
    if text == "acme-tls/1":
        return Fault("`acme-tls/1` is for certificate authorities alone, and no router's")
    if not 0 < len(text.encode("utf-8", "surrogateescape")) < 256:
        return Fault("the name of a protocol has 1 to 255 bytes, as in ALPN(`h2`)")
    return None


def _sni_pattern(place: int, text: str) -> Fault | None:
    if not text.isascii():
        return Fault("a host must be ASCII")
    return _old_template("HostSNIRegexp", text, HOST) if _NAMED_BRACES.search(text) else _pattern(place, text)


# --- Traefik 2 ---------------------------------------------------------------------------------------------------


def _template(kind: TemplateKind) -> Callable[[int, str], Fault | None]:
    """A literal text in which `{name}` and `{name:pattern}` stand for patterns."""

    def check_template(_: int, text: str) -> Fault | None:
        if kind in (PATH, PREFIX) and not text.startswith("/"):
            return Fault("a path must start with `/`", f"write `/{text}`")
        if kind is HOST and not text.isascii():
            return Fault("a host must be ASCII")
        try:
            searcher(to_pattern(text, kind).encode("utf-8", "surrogateescape"))
        except PatternError as error:
            return Fault(error.message, error.suggestion, column=error.column, width=error.width)
        return None

    return check_template


def _header_pair(place: int, text: str) -> Fault | None:
    return _header(place % 2, text)


def _header_pattern_pair(place: int, text: str) -> Fault | None:
    return _header_pattern(place % 2, text)


def _query_pair(_: int, text: str) -> Fault | None:
    key, equals, value = text.partition("=")
    if not key:
        return Fault("a query key must not be empty")
    if not equals:
        return Fault("Traefik 2's Query takes `key=value`", f"write Query(`{key}=`) for any value")
    fault = _template(QUERY)(0, value)
    return fault._replace(column=fault.column + len(key) + 1) if fault and fault.width else fault


# --- all of them -------------------------------------------------------------------------------------------------

HTTP = (
    Word("Host", 1, ANY_NUMBER, _host),
    Word("HostRegexp", 1, 1, _host_pattern),
    Word("Path", 1, 1, _literal_path(PATH)),
    Word("PathPrefix", 1, 1, _literal_path(PREFIX)),
    Word("PathRegexp", 1, 1, _pattern),
    Word("Method", 1, 1, _method),
    Word("Header", 2, 2, _header),
    Word("HeaderRegexp", 2, 2, _header_pattern),
    Word("Query", 1, 2, _query),
    Word("QueryRegexp", 1, 2, _query_pattern),
    Word("ClientIP", 1, 1, _client_ip),
)
HTTP_V2 = (
    Word("Host", 1, ANY_NUMBER, _host),
    Word("HostHeader", 1, ANY_NUMBER, _host),
    Word("HostRegexp", 1, ANY_NUMBER, _template(HOST)),
    Word("Path", 1, ANY_NUMBER, _template(PATH)),
    Word("PathPrefix", 1, ANY_NUMBER, _template(PREFIX)),
    Word("Method", 1, ANY_NUMBER, _method),
    Word("Headers", 2, ANY_NUMBER, _header_pair, pairs=True),
    Word("HeadersRegexp", 2, ANY_NUMBER, _header_pattern_pair, pairs=True),
    Word("Query", 1, ANY_NUMBER, _query_pair),
    Word("ClientIP", 1, ANY_NUMBER, _client_ip),
)
TCP = (
    Word("HostSNI", 1, 1, _host_sni),
    Word("HostSNIRegexp", 1, 1, _sni_pattern),
    Word("ALPN", 1, 1, _alpn),
    Word("ClientIP", 1, 1, _client_ip),
)
TCP_V2 = (
    Word("HostSNI", 1, ANY_NUMBER, _host_sni),
    Word("HostSNIRegexp", 1, ANY_NUMBER, _template(HOST)),
    Word("ALPN", 1, ANY_NUMBER, _alpn),
    Word("ClientIP", 1, ANY_NUMBER, _client_ip),
)
WORDS = {
    place: {word.name.lower(): word for word in words}
    for place, words in {
        ("http", "v3"): HTTP,
        ("tcp", "v3"): TCP,
        ("http", "v2"): HTTP_V2,
        ("tcp", "v2"): TCP_V2,
    }.items()
}
"""By protocol and syntax."""

RENAMED = {
    "headers": "write Header(`name`, `value`)",
    "hostheader": "write Host(`name`)",
    "headersregexp": "write HeaderRegexp(`name`, `pattern`)",
    "header": "write Headers(`name`, `value`)",
    "headerregexp": "write HeadersRegexp(`name`, `pattern`)",
    "pathregexp": "write Path(`/{any:pattern}`)",
    "queryregexp": "write Query(`key={any:pattern}`)",
}
"""What to write instead where the syntax knows the matcher under another name."""


_COUNTERPARTS = {
    "host": "use HostSNI",
    "hostsni": "use Host",
    "hostregexp": "use HostSNIRegexp",
    "hostsniregexp": "use HostRegexp",
}


def look_up(name: str, protocol: str, syntax: str = "v3") -> Word | Fault:
    """The matcher of that name, whatever its case, or what to say about the name."""
    lower = name.lower()
    word = WORDS[protocol, syntax].get(lower)
    if word is not None:
        return word
    for (other, version), words in WORDS.items():
        if lower in words and version == syntax:
            instead = _COUNTERPARTS.get(lower, "")
            return Fault(f"{words[lower].name} is a matcher of {other} routers", instead)
    other_syntax = "v2" if syntax == "v3" else "v3"
    elsewhere = WORDS[protocol, other_syntax].get(lower)
    if elsewhere is not None:
        instead = f"{RENAMED.get(lower, '')}, or give the router `ruleSyntax: {other_syntax}`"
        return Fault(f"{elsewhere.name} is a matcher of `ruleSyntax: {other_syntax}`", instead)
    return Fault(f"unknown matcher `{name}`", _did_you_mean(lower, protocol, syntax))


def _did_you_mean(lower: str, protocol: str, syntax: str) -> str:
    import difflib  # Here, because only mistakes need it.

    words = WORDS[protocol, syntax]
    near = difflib.get_close_matches(lower, words, n=1, cutoff=0.6)
    return f"did you mean `{words[near[0]].name}`?" if near else ""


def check(word: Word, values: tuple[str, ...]) -> Fault | None:
    """The first thing wrong with a matcher's values."""
    if not word.least <= len(values) <= word.most:
        return Fault(f"{word.name} takes {_count(word)}, not {len(values)}", _split(word, values))
    if word.pairs and len(values) % 2:
        return Fault(f"{word.name} takes names and values in turn; the last name has no value")
    for place, text in enumerate(values):
        fault = word.check(place, text)
        if fault is not None:
            return fault._replace(value=place)
    return None


def _count(word: Word) -> str:
    if word.most == ANY_NUMBER:
        return f"1 to {ANY_NUMBER} values"
    numbers = f"{word.least}" if word.least == word.most else f"{word.least} or {word.most}"
    return f"{numbers} value{'s' if word.most > 1 else ''}"


def _split(word: Word, values: tuple[str, ...]) -> str:
    """Several values of a matcher that takes one: what older Traefiks allowed."""
    if word.most > 1 or not 1 < len(values) <= 4:
        return ""
    return "write " + " || ".join(f"{word.name}(`{text}`)" for text in values)
