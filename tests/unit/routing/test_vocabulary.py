"""What a matcher may be called and given, and the advice for what it may not."""

from __future__ import annotations

import pytest

from streamlb.routing.vocabulary import ANY_NUMBER, Fault, Word, check, look_up


def fault_of(name: str, *values: str, protocol: str = "http", syntax: str = "v3") -> Fault | None:
    word = look_up(name, protocol, syntax)
    return word if isinstance(word, Fault) else check(word, values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Host", ("example.com",)),
        ("Host", ("a", "b", "c_d.e-f.")),
        ("Host", ("[::1]",)),
        ("Host", ("::1",)),
        ("Host", ("10.0.0.1",)),
        ("Host", ("*",)),
        ("Host", ("*.example.com", "*.a.", "*.com")),
        ("HostRegexp", (r"^.+\.example\.com$",)),
        ("HostRegexp", (r"^[a-z]{2,3}\.\pL\p{Greek}\x{41}$",)),
        ("PathRegexp", (r"\.(jpe?g|png)$",)),
        ("PathRegexp", (r"(?i)^/é{2}",)),
        ("HeaderRegexp", ("X-Key", "")),
        ("QueryRegexp", ("k",)),
        ("QueryRegexp", ("k", "^[0-9]+$")),
        ("Path", ("/",)),
        ("Path", ("/{",)),
        ("PathPrefix", ("/é b",)),
        ("Method", ("get",)),
        ("Method", ("X-OWN",)),
        ("Header", ("X-Key", "")),
        ("Header", ("X-Key", "a=b, ü")),
        ("Query", ("k",)),
        ("Query", ("k", "a=b")),
        ("Query", ("k", "")),
        ("ClientIP", ("10.0.0.1",)),
        ("ClientIP", ("10.0.0.1/8",)),
        ("ClientIP", ("2001:db8::/32",)),
        ("ClientIP", ("::",)),
        ("ClientIP", ("::ffff:10.0.0.1",)),
    ],
)
def test_good(name: str, values: tuple[str, ...]) -> None:
    assert fault_of(name, *values) is None


@pytest.mark.parametrize(
    ("name", "values", "place", "message"),
    [
        ("Host", ("",), 0, "a host must not be empty"),
        ("Host", ("a", "b c"), 1, "`b c` is not a host name"),
        ("Host", (".",), 0, "`.` is not a host name"),
        ("Host", ("http://a",), 0, "`http://a` is not a host name"),
        ("Host", ("[::1",), 0, "`[::1` is not a host name"),
        ("Host", ("::1%eth0",), 0, "`::1%eth0` is not a host name"),
        ("Host", ("*.",), 0, "`*.` is not a host name"),
        ("Host", ("*..a",), 0, "`*..a` is not a host name"),
        ("Host", ("*.::1",), 0, "`*.::1` is not a host name"),
        ("Host", ("a.*.com",), 0, "a wildcard is the whole first label, as in `*.example.com`"),
        ("Host", ("*a.com",), 0, "a wildcard is the whole first label, as in `*.example.com`"),
        ("Host", ("*.*",), 0, "a wildcard is the whole first label, as in `*.example.com`"),
        ("HostRegexp", ("ü",), 0, "a host must be ASCII"),
        ("HostRegexp", ("a(b",), 0, "a `(` of the pattern is never closed"),
        ("HostRegexp", ("{sub:[a-z]+}.a.com",), 0, "a pattern in braces is Traefik 2 syntax"),
        ("HeaderRegexp", ("X Y", "x"), 0, "`X Y` is not a header name"),
        ("HeaderRegexp", ("X", "["), 1, "a `[` of the pattern is never closed"),
        ("QueryRegexp", ("k=v",), 0, "a query key has no `=`"),
        ("QueryRegexp", ("k", "+"), 1, "there is nothing to repeat"),
        ("Host", ("ü" * 70,), 0, "a host must be ASCII"),
        ("Path", ("",), 0, "a path must start with `/`"),
        ("Path", ("/p/{id:[0-9]+}",), 0, "a pattern in braces is Traefik 2 syntax"),
        ("PathPrefix", ("a",), 0, "a path must start with `/`"),
        ("Method", ("",), 0, "`` is not a method"),
        ("Method", ("GE T",), 0, "`GE T` is not a method"),
        ("Header", ("", "x"), 0, "a header name must not be empty"),
        ("Header", ("X Y", "x"), 0, "`X Y` is not a header name"),
        ("Query", ("", "x"), 0, "a query key must not be empty"),
        ("ClientIP", ("",), 0, "`` is not an address or a range like 10.0.0.0/8"),
        ("ClientIP", ("10",), 0, "`10` is not an address or a range like 10.0.0.0/8"),
        ("ClientIP", ("10.0.0.0/255.0.0.0",), 0, "`10.0.0.0/255.0.0.0` is not an address or a range like 10.0.0.0/8"),
        ("ClientIP", ("fe80::1%eth0",), 0, "`fe80::1%eth0` is not an address or a range like 10.0.0.0/8"),
        ("Query", ("a", "b", "c"), None, "Query takes 1 or 2 values, not 3"),
        ("Header", ("a",), None, "Header takes 2 values, not 1"),
        ("Path", (), None, "Path takes 1 value, not 0"),
        ("Host", ("a",) * (ANY_NUMBER + 1), None, "Host takes 1 to 1000 values, not 1001"),
    ],
)
def test_bad(name: str, values: tuple[str, ...], place: int | None, message: str) -> None:
    fault = fault_of(name, *values)
    assert fault is not None
    assert (fault.value, fault.message) == (place, message)


@pytest.mark.parametrize(
    ("name", "values", "suggestion"),
    [
        ("Host", ("a.com:80",), "write `a.com`"),
        ("Host", ("[::1]:80",), "write `[::1]`"),
        ("Host", ("münchen.de",), "write `xn--mnchen-3ya.de`"),
        ("Path", ("a",), "write `/a`"),
        ("Query", ("k=v",), "write Query(`k`, `v`)"),
        ("Method", ("GET", "POST"), "write Method(`GET`) || Method(`POST`)"),
        ("PathPrefix", ("/a", "/b"), "write PathPrefix(`/a`) || PathPrefix(`/b`)"),
        ("Headers", (), "write Header(`name`, `value`), or give the router `ruleSyntax: v2`"),
        ("HostHeader", (), "write Host(`name`), or give the router `ruleSyntax: v2`"),
        ("Path", ("/p/{id:[0-9]+}",), "write PathRegexp(`^/p/(?:[0-9]+)$`), or give the router `ruleSyntax: v2`"),
        ("PathPrefix", ("/{id}/",), "write PathRegexp(`^/[^/]+/`), or give the router `ruleSyntax: v2`"),
        ("PathPrefix", ("/{id}/{",), "give the router `ruleSyntax: v2`"),
        ("Host", ("*a",), "use HostRegexp for anything else"),
        ("PathRegexp", ("^/(?!api)",), "use `!`"),
        ("HostSNI", (), "use Host"),
        ("hist", (), "did you mean `Host`?"),
        ("qery", (), "did you mean `Query`?"),
    ],
)
def test_advice(name: str, values: tuple[str, ...], suggestion: str) -> None:
    fault = fault_of(name, *values)
    assert fault is not None
    assert fault.suggestion == suggestion


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Host", ("a", "*.b")),
        ("HostHeader", ("a",)),
        ("HostRegexp", ("{sub:[a-z]+}.a.com", "{any}")),
        ("Path", ("/p/{id:[0-9]{2}}", "/")),
        ("PathPrefix", ("/{a}/{b:x|y}/",)),
        ("Method", ("get", "PUT")),
        ("Headers", ("A", "1", "B", "")),
        ("HeadersRegexp", ("A", "^1", "B", "")),
        ("Query", ("k=v", "j=", "i={n:[0-9]+}")),
        ("ClientIP", ("10.0.0.1", "::/0")),
    ],
)
def test_good_in_version_2(name: str, values: tuple[str, ...]) -> None:
    assert fault_of(name, *values, syntax="v2") is None


@pytest.mark.parametrize(
    ("name", "values", "place", "marked", "message"),
    [
        ("Path", ("a",), 0, "", "a path must start with `/`"),
        ("Path", ("/", "/{"), 1, "{", "a `{` is never closed"),
        ("Path", ("/a}",), 0, "}", "a `}` was never opened"),
        ("Path", ("/{}",), 0, "{}", "expected `{name}` or `{name:pattern}`"),
        ("Path", ("/{a:}",), 0, "{a:}", "expected `{name}` or `{name:pattern}`"),
        ("Path", ("/{a:x{2,1}}",), 0, "{2,1}", "a repetition is out of order, or over 1000"),
        ("Path", ("/{a:x)(y}",), 0, "x)(y", "a `)` of the pattern was never opened"),
        ("HostRegexp", ("{a}.ü",), 0, "", "a host must be ASCII"),
        ("Headers", ("A", "1", "B B", "2"), 2, "", "`B B` is not a header name"),
        ("Headers", ("A", "1", "B"), None, "", "Headers takes names and values in turn; the last name has no value"),
        ("HeadersRegexp", ("A", "("), 1, "", "a `(` of the pattern is never closed"),
        ("Query", ("k",), 0, "", "Traefik 2's Query takes `key=value`"),
        ("Query", ("=v",), 0, "", "a query key must not be empty"),
        ("Query", ("k={}",), 0, "{}", "expected `{name}` or `{name:pattern}`"),
        ("PathRegexp", ("/",), None, "", "PathRegexp is a matcher of `ruleSyntax: v3`"),
        ("Header", ("a", "b"), None, "", "Header is a matcher of `ruleSyntax: v3`"),
    ],
)
def test_bad_in_version_2(name: str, values: tuple[str, ...], place: int | None, marked: str, message: str) -> None:
    fault = fault_of(name, *values, syntax="v2")
    assert fault is not None
    assert (fault.value, fault.message) == (place, message)
    assert (values[place or 0][fault.column :][: fault.width] if values else "") == marked


def test_tcp() -> None:
    assert isinstance(look_up("clientip", "tcp"), Word)
    assert fault_of("HostSNI", "*", protocol="tcp") is None
    assert fault_of("HostSNI", "*.example.com", protocol="tcp") is None
    assert fault_of("HostSNIRegexp", r"^a\.", protocol="tcp") is None
    assert fault_of("ALPN", "h2", protocol="tcp") is None
    assert fault_of("Host", "a", protocol="tcp") == Fault("Host is a matcher of http routers", "use HostSNI")
    assert fault_of("Path", "/", protocol="tcp") == Fault("Path is a matcher of http routers")


@pytest.mark.parametrize(
    ("name", "value", "message", "advice"),
    [
        ("HostSNI", "10.0.0.1", "no server name for an address", "HostSNI(`*`)"),
        ("HostSNI", "[::1]", "no server name for an address", "ClientIP"),
        ("HostSNI", "a*.com", "a wildcard is the whole first label", "use HostSNIRegexp"),
        ("HostSNI", "a.com:443", "a host has no port", "`a.com`"),
        ("HostSNIRegexp", "{sub:.*}.a.com", "Traefik 2 syntax", r"HostSNIRegexp(`(?i)^(?:.*)\.a\.com$`)"),
        ("HostSNIRegexp", "(", "never closed", ""),
        ("HostSNIRegexp", "é", "ASCII", ""),
        ("ALPN", "acme-tls/1", "no router's", ""),
        ("ALPN", "", "1 to 255 bytes, as in ALPN(`h2`)", ""),
        ("ALPN", "é" * 128, "1 to 255 bytes", ""),
    ],
)
def test_what_a_handshake_cannot_say(name: str, value: str, message: str, advice: str) -> None:
    fault = fault_of(name, value, protocol="tcp")
    assert fault is not None
    assert message in fault.message
    assert advice in fault.suggestion
