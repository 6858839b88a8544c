"""What a matcher may be called and given, and the advice for what it may not."""

from __future__ import annotations

import pytest

from streamlb.routing.vocabulary import ANY_NUMBER, Fault, Word, check, look_up


def fault_of(name: str, *values: str, protocol: str = "http") -> Fault | None:
    word = look_up(name, protocol)
    return word if isinstance(word, Fault) else check(word, values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Host", ("example.com",)),
        ("Host", ("a", "b", "c_d.e-f.")),
        ("Host", ("[::1]",)),
        ("Host", ("::1",)),
        ("Host", ("10.0.0.1",)),
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
        ("Host", ("*.a.com",), 0, "a wildcard host is not supported by streamlb yet"),
        ("Host", ("*",), 0, "a wildcard host is not supported by streamlb yet"),
        ("Host", ("ü" * 70,), 0, "a host must be ASCII"),
        ("Path", ("",), 0, "a path must start with `/`"),
        ("Path", ("/p/{id:[0-9]+}",), 0, "patterns in braces are Traefik 2 syntax, not supported by streamlb yet"),
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
        ("Headers", (), "write Header(`name`, `value`)"),
        ("HostHeader", (), "write Host(`name`)"),
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
    "name", ["HostRegexp", "PathRegexp", "HeaderRegexp", "QueryRegexp", "ALPN", "HostSNIRegexp", "HeadersRegexp"]
)
def test_what_traefik_has_is_not_called_unknown(name: str) -> None:
    for protocol in ("http", "tcp"):
        fault = look_up(name.upper(), protocol)
        assert isinstance(fault, Fault)
        assert "not supported by streamlb" in fault.message


def test_tcp() -> None:
    assert isinstance(look_up("clientip", "tcp"), Word)
    assert fault_of("HostSNI", "*", protocol="tcp") is None
    refused = fault_of("HostSNI", "a.com", protocol="tcp")
    assert refused is not None
    assert "without TLS" in refused.message
    assert fault_of("Host", "a", protocol="tcp") == Fault("Host is a matcher of http routers", "use HostSNI")
    assert fault_of("Path", "/", protocol="tcp") == Fault("Path is a matcher of http routers")
