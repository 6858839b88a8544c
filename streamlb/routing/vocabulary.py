"""The matchers of the rule language: their names, how many values they take, and which values are wrong.

What lives here: checks of one matcher and its values, and advice for words that belong to other Traefik versions.
What must not: grammar (`rule.py`), the meaning of a matcher (`matchers.py`). Called by `rule.py`.
Specified by Traefik's reference page on rules and priority (v3 syntax).
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Fault(NamedTuple):
    """What is wrong with a matcher: with its value number `value`, or with its name or values as a whole (None)."""

    message: str
    suggestion: str = ""
    value: int | None = None


class Word(NamedTuple):
    """A matcher: how many values it takes, and the check of one value (its place and text to a complaint)."""

    name: str
    least: int
    most: int
    check: Callable[[int, str], Fault | None]


ANY_NUMBER = 1000
"""So many values may a matcher have that takes any number of them."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_HOST_NAME = re.compile(r"[0-9A-Za-z_.\-]+", re.ASCII)
_PORT = re.compile(r"(?P<host>[0-9A-Za-z_.\-]+|\[[0-9A-Fa-f:.]+\]):[0-9]+", re.ASCII)
_BRACES = re.compile(r"\{[A-Za-z0-9_]+(:[^{}]*)?\}")


def _host(_: int, text: str) -> Fault | None:
    if not text:
        return Fault("a host must not be empty")
    if not text.isascii():
        try:
            ascii_form = text.encode("idna").decode("ascii")
        except UnicodeError:
            return Fault("a host must be ASCII")
        return Fault("a host must be ASCII", f"write `{ascii_form}`")
    if "*" in text:
        return Fault("a wildcard host is not supported by streamlb yet")
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


def _path(_: int, text: str) -> Fault | None:
    if not text.startswith("/"):
        return Fault("a path must start with `/`", f"write `/{text}`")
    if _BRACES.search(text):
        return Fault("patterns in braces are Traefik 2 syntax, not supported by streamlb yet")
    return None


def _method(_: int, text: str) -> Fault | None:
    return None if _TOKEN.fullmatch(text) else Fault(f"`{text}` is not a method")


def _header(place: int, text: str) -> Fault | None:
    if place > 0 or _TOKEN.fullmatch(text):
        return None
    return Fault(f"`{text}` is not a header name" if text else "a header name must not be empty")


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


def _host_sni(_: int, text: str) -> Fault | None:
    if text == "*":
        return None
    return Fault("only HostSNI(`*`) works without TLS, which is not supported by streamlb yet")


HTTP = (
    Word("Host", 1, ANY_NUMBER, _host),
    Word("Path", 1, 1, _path),
    Word("PathPrefix", 1, 1, _path),
    Word("Method", 1, 1, _method),
    Word("Header", 2, 2, _header),
    Word("Query", 1, 2, _query),
    Word("ClientIP", 1, 1, _client_ip),
)
TCP = (
    Word("HostSNI", 1, 1, _host_sni),
    Word("ClientIP", 1, 1, _client_ip),
)
WORDS = {
    protocol: {word.name.lower(): word for word in words} for protocol, words in {"http": HTTP, "tcp": TCP}.items()
}

NOT_YET = {
    name.lower(): name for name in ("HostRegexp", "PathRegexp", "HeaderRegexp", "QueryRegexp", "ALPN", "HostSNIRegexp")
}
RENAMED = {
    "headers": "write Header(`name`, `value`)",
    "hostheader": "write Host(`name`)",
    "headersregexp": "",
}


def look_up(name: str, protocol: str) -> Word | Fault:
    """The matcher of that name, whatever its case, or what to say about the name."""
    lower = name.lower()
    word = WORDS[protocol].get(lower)
    if word is not None:
        return word
    for other, words in WORDS.items():
        if lower in words:
            instead = {"host": "use HostSNI", "hostsni": "use Host"}.get(lower, "")
            return Fault(f"{words[lower].name} is a matcher of {other} routers", instead)
    if lower in NOT_YET:
        return Fault(f"Traefik's {NOT_YET[lower]} is not supported by streamlb yet")
    if lower in RENAMED:
        return Fault(f"Traefik 2's {name} is not supported by streamlb", RENAMED[lower])
    return Fault(f"unknown matcher `{name}`", _did_you_mean(lower, protocol))


def _did_you_mean(lower: str, protocol: str) -> str:
    import difflib  # Here, because only mistakes need it.

    near = difflib.get_close_matches(lower, WORDS[protocol], n=1, cutoff=0.6)
    return f"did you mean `{WORDS[protocol][near[0]].name}`?" if near else ""


def check(word: Word, values: tuple[str, ...]) -> Fault | None:
    """The first thing wrong with a matcher's values."""
    if not word.least <= len(values) <= word.most:
        return Fault(f"{word.name} takes {_count(word)}, not {len(values)}", _split(word, values))
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
