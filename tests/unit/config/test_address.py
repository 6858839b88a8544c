"""Addresses, URLs and networks as text."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlb.config.address import (
    Address,
    AddressError,
    check_network,
    parse_entry_point,
    parse_server,
    parse_url,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":80", Address("", 80)),
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:443", Address("::1", 443)),
        ("[::]:443/tcp", Address("::", 443)),
        (":53/udp", Address("", 53, "udp")),
        (":53/UDP", Address("", 53, "udp")),
        ("localhost:1", Address("localhost", 1)),
        ("my_host.example.com:65535", Address("my_host.example.com", 65535)),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80)),
    ],
)
def test_entry_points(text: str, address: Address) -> None:
    assert parse_entry_point(text) == address


@pytest.mark.parametrize(
    ("text", "reason", "suggestion"),
    [
        ("8080", "the port is missing: an address is `host:port`", "`:8080`"),
        ("127.0.0.1", "the port is missing: an address is `host:port`", "`127.0.0.1:80`"),
        ("", "the address is empty", "`:80` or `127.0.0.1:80`"),
        (":", "the port is missing behind the `:`", ""),
        (":http", "`http` is not a port number", ""),
        (":0", "the port 0 is not between 1 and 65535", ""),
        (":65536", "the port 65536 is not between 1 and 65535", ""),
        ("22:22", "`22` is not an IPv4 address", "`:22`"),
        ("256.0.0.1:80", "`256.0.0.1` is not an IPv4 address", ""),
        ("::1:80", "an IPv6 address stands in brackets", "`[::1]:80`"),
        ("::1", "an IPv6 address stands in brackets", "`[::1]:80`"),
        ("[::1:80", "the bracket `[` is not closed", "`[::1:80]:80`"),
        ("[::1]80", "after `]` comes `:` and the port, not `80`", ""),
        ("[zz]:80", "`zz` is not an IPv6 address", ""),
        (":53/sctp", "`/sctp` is no network; it is `/tcp` (the default) or `/udp`", "`:53/udp`"),
        ("http://a:80", "an address has no `http://`", "`a:80`"),
        ("a b:80", "`a b` is not a host name", ""),
        ("-a:80", "`-a` is not a host name", ""),
        (":８０", "`８０` is not a port number", ""),
    ],
)
def test_what_is_no_entry_point(text: str, reason: str, suggestion: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_entry_point(text)
    assert (caught.value.reason, caught.value.suggestion) == (reason, suggestion)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (":80", "the host is missing: a server's address is `host:port`"),
        ("a:80/udp", "a server's address has no `/tcp` or `/udp`"),
        ("a", "the port is missing: an address is `host:port`"),
    ],
)
def test_what_is_no_server(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_server(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("http://127.0.0.1:8081", "127.0.0.1", 8081, ""),
        ("http://app", "app", 80, ""),
        ("http://app/", "app", 80, "/"),
        ("HTTP://app:1/x/y", "app", 1, "/x/y"),
        ("http://[::1]", "::1", 80, ""),
        ("http://[::1]:8080/", "::1", 8080, "/"),
    ],
)
def test_urls(text: str, host: str, port: int, path: str) -> None:
    url = parse_url(text)
    assert (url.address.host, url.address.port, url.path) == (host, port, path)


@pytest.mark.parametrize(
    ("text", "reason", "suggestion"),
    [
        ("127.0.0.1:80", "a server's URL begins with `http://` or `https://`", "`http://127.0.0.1:80`"),
        ("app", "a server's URL begins with `http://` or `https://`", ""),
        ("", "a server's URL begins with `http://` or `https://`", ""),
        ("h2c://a", "Traefik's `h2c://` servers are not supported by streamlb yet", "use `http://`"),
        ("ftp://a", "`ftp://` is no way to reach an HTTP server", "`http://a`"),
        ("http://", "the address is empty", "`:80` or `127.0.0.1:80`"),
        ("http://:80", "the host is missing", "`http://127.0.0.1:80`"),
        ("http://a:x", "`x` is not a port number", ""),
        ("http://u:p@a", "a name and password in a server's URL are not supported", ""),
        ("http://a?x=1", "a server's URL has no query and no fragment", "`http://a`"),
        ("http://a/#x", "a server's URL has no query and no fragment", "`http://a`"),
        ("http://a/ b", "a URL holds no spaces", ""),
        ("http://8080", "the port is missing: an address is `host:port`", "`http://127.0.0.1:8080`"),
    ],
)
def test_what_is_no_url(text: str, reason: str, suggestion: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_url(text)
    assert (caught.value.reason, caught.value.suggestion) == (reason, suggestion)


@given(st.text(st.sampled_from("01.:[]/ahtpud-_@#? %"), max_size=16), st.sampled_from(["", "http://"]))
def test_any_text_is_an_address_or_an_address_error(body: str, prefix: str) -> None:
    for parse in (parse_entry_point, parse_server, parse_url):
        with suppress(AddressError):
            parse(prefix + body)


@given(st.ip_addresses(), st.integers(1, 65535), st.sampled_from(["tcp", "udp"]))
def test_round_trip(host: object, port: int, network: str) -> None:
    address = Address(str(host), port, network)
    assert parse_entry_point(f"{address}/{network}") == address


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (":80", ":80", True),
        (":80", "127.0.0.1:80", True),
        ("[::]:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "10.0.0.1:80", True),
        ("0.0.0.0:80", "localhost:80", True),
        ("localhost:80", "127.0.0.1:80", True),
        ("[::1]:80", "[0:0::1]:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        (":80", ":81", False),
        (":53/udp", ":53/tcp", False),
        ("a.example:80", "b.example:80", False),
    ],
)
def test_overlaps(one: str, other: str, overlap: bool) -> None:
    first, second = parse_entry_point(one), parse_entry_point(other)
    assert first.overlaps(second) is overlap
    assert second.overlaps(first) is overlap


def test_networks() -> None:
    for good in ("10.0.0.0/8", "10.1.2.3/8", "::1", "fd00::/8", "127.0.0.1"):
        assert check_network(good) == ""
    for bad in ("", "10.0.0.0/33", "example.com", "10.0.0", "10.0.0.0/8 "):
        assert "neither an IP address nor a range" in check_network(bad)
