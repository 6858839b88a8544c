"""Requests whose heads are unusual, legal ones and illegal ones, and what comes of them.

Recorded with nginx 1.22 and HAProxy 2.6, each told no more than where to send requests.
"""

from __future__ import annotations

from tests.support.differential.cases import (
    ANY_METHOD,
    BAD_HOST,
    EXACT_LINE,
    LF_ENDS,
    NEEDS_HOST,
    NO_CONTROLS,
    NO_FIELD,
    NO_URL,
    ONE_SPELLING,
    Case,
)

HOST = b"Host: a"


def get(
    target: bytes = b"/x",
    *lines: bytes,
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    host: bytes = HOST,
) -> bytes:
    hosts = [host] if host else []
    return b"\r\n".join([method + b" " + target + b" " + version, *hosts, *lines, b"", b""])


TARGETS = {
    "a plain target": Case(get(), "GET /x => 200"),
    "dot segments": Case(
        get(b"/a/../b"), "GET /b => 200", nginx="GET /a/../b => 200", haproxy="GET /a/../b => 200", why=ONE_SPELLING
    ),
    "dot segments above the root": Case(
        get(b"/../../b"), "GET /b => 200", nginx="=> 400, closed", haproxy="GET /../../b => 200", why=ONE_SPELLING
    ),
    "a double slash": Case(
        get(b"/a//b"), "GET /a/b => 200", nginx="GET /a//b => 200", haproxy="GET /a//b => 200", why=ONE_SPELLING
    ),
    "a double slash first": Case(
        get(b"//evil/b"),
        "GET /evil/b => 200",
        nginx="GET //evil/b => 200",
        haproxy="GET //evil/b => 200",
        why=ONE_SPELLING,
    ),
    "escaped dots": Case(
        get(b"/a/%2e%2E/b"),
        "GET /b => 200",
        nginx="GET /a/%2e%2E/b => 200",
        haproxy="GET /a/%2e%2E/b => 200",
        why=ONE_SPELLING,
    ),
    "an escaped slash": Case(
        get(b"/a%2fb"), "GET /a%2Fb => 200", nginx="GET /a%2fb => 200", haproxy="GET /a%2fb => 200", why=ONE_SPELLING
    ),
    "an escaped letter": Case(
        get(b"/%61"), "GET /a => 200", nginx="GET /%61 => 200", haproxy="GET /%61 => 200", why=ONE_SPELLING
    ),
    "a broken escape": Case(
        get(b"/%zz"),
        "=> 400, closed",
        haproxy="GET /%zz => 200",
        why="the path cannot be decoded, so a rule and a server could not agree on it",
    ),
    "an escaped NUL": Case(
        get(b"/%00"),
        "GET /%00 => 200",
        nginx="=> 400, closed",
        why="legal in a path; `allowEncodedNullCharacter: false` refuses it",
    ),
    "a backslash": Case(
        get(b"/a\\b"), "GET /a%5Cb => 200", nginx="GET /a\\b => 200", haproxy="GET /a\\b => 200", why=NO_URL
    ),
    "braces and a bar": Case(
        get(b"/{a}|b"), "GET /%7Ba%7D%7Cb => 200", nginx="GET /{a}|b => 200", haproxy="GET /{a}|b => 200", why=NO_URL
    ),
    "a byte over 127 in the target": Case(
        get(b"/\xe4"), "=> 400, closed", nginx="GET /ä => 200", why="not a character of a URL; a browser escapes it"
    ),
    "a fragment": Case(
        get(b"/a#b"),
        "=> 400, closed",
        nginx="GET /a#b => 200",
        why="a fragment is never sent (RFC 9112 section 3.2), so what it means here is anybody's guess",
    ),
    "an empty query": Case(get(b"/a?"), "GET /a? => 200"),
    "a semicolon in the query": Case(
        get(b"/?a=1;b=2"),
        "GET /?a=1&b=2 => 200",
        nginx="GET /?a=1;b=2 => 200",
        haproxy="GET /?a=1;b=2 => 200",
        why="some servers read `;` as `&`, others do not; Traefik rewrites it too",
    ),
    "an absolute target": Case(
        get(b"http://a/b"),
        "GET /b => 200",
        haproxy="GET http://a/b => 200",
        why="servers get the origin form, which they all understand",
    ),
    "an absolute target of another host": Case(
        get(b"http://b.test/b"),
        "GET /b Host=b.test => 200",
        nginx="GET /b => 200",
        haproxy="=> 400, closed",
        why="the target's authority replaces Host (RFC 9112 section 3.2.2)",
    ),
    "an absolute target without a path": Case(
        get(b"http://a"),
        "GET / => 200",
        haproxy="GET http://a => 200",
        why="servers get the origin form, which they all understand",
    ),
    "an absolute target without a host": Case(
        get(b"http:///b"),
        "=> 400, closed",
        haproxy="GET http:///b => 200",
        why="required to be refused (RFC 9110 section 4.2.1)",
    ),
    "an absolute target with a user": Case(
        get(b"http://u@a/b"), "=> 400, closed", haproxy="GET http://u@a/b => 200", why=BAD_HOST
    ),
    "an absolute target of another scheme": Case(
        get(b"ftp://a/b"),
        "=> 400, closed",
        nginx="GET /b => 200",
        haproxy="GET ftp://a/b => 200",
        why="nothing but HTTP is spoken here",
    ),
    "OPTIONS *": Case(
        get(b"*", method=b"OPTIONS"), "OPTIONS * => 200", nginx="=> 400, closed", why="legal (RFC 9112 section 3.2.4)"
    ),
    "GET *": Case(
        get(b"*"), "=> 400, closed", haproxy="GET * => 200", why="`*` is for OPTIONS only (RFC 9112 section 3.2.4)"
    ),
    "a host as target": Case(get(b"a:80"), "=> 400, closed"),
    "CONNECT": Case(
        get(b"a:80", method=b"CONNECT"),
        "=> 501, closed",
        nginx="=> 400, closed",
        haproxy="CONNECT a:80 => 200",
        why="a reverse proxy opens no tunnels for clients",
    ),
    "a target without a slash": Case(get(b"x"), "=> 400, closed"),
    "a space in the target": Case(get(b"/a b"), "=> 400, closed"),
    "tabs in the request line": Case(
        b"GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n", "=> 400, closed", haproxy="GET /x => 200", why=EXACT_LINE
    ),
    "two spaces in the request line": Case(
        b"GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
        "=> 400, closed",
        nginx="GET /x => 200",
        haproxy="GET /x => 200",
        why=EXACT_LINE,
    ),
    "a target of 10 kB": Case(
        get(b"/" + b"a" * 10_000),
        "GET /aaaaaaaaa... => 200",
        nginx="=> 414, closed",
        why="the limit is 16 KiB for the line and 32 KiB for the head",
    ),
}

METHODS = {
    "a method in lower case": Case(get(method=b"get"), "get /x => 200", nginx="=> 400, closed", why=ANY_METHOD),
    "a method of one's own": Case(get(method=b"BREW"), "BREW /x => 200"),
    "a method of odd characters": Case(
        get(method=b"M!#$%&'*+.^_`|~-"), "M!#$%&'*+.^_`|~- /x => 200", nginx="=> 400, closed", why=ANY_METHOD
    ),
    "a method that is no token": Case(get(method=b"G(T"), "=> 400, closed"),
    "HEAD": Case(get(method=b"HEAD"), "HEAD /x => 200"),
    "TRACE": Case(
        get(method=b"TRACE"),
        "TRACE /x => 200",
        nginx="=> 405, closed",
        why="whether to answer it is the server's decision",
    ),
    "GET with a body": Case(get(b"/x", b"Content-Length: 5") + b"hello", "GET /x body=hello => 200"),
}

VERSIONS = {
    "HTTP/1.0": Case(get(version=b"HTTP/1.0"), "GET /x => 200, closed"),
    "HTTP/1.0 with keep-alive": Case(get(b"/x", b"Connection: keep-alive", version=b"HTTP/1.0"), "GET /x => 200"),
    "HTTP/1.0 without Host": Case(
        get(version=b"HTTP/1.0", host=b""),
        "GET /x Host=SERVER => 200, closed",
        nginx="GET /x Host= => 200, closed",
        haproxy="GET /x Host= => 200, closed",
        why=NEEDS_HOST,
    ),
    "HTTP/1.2": Case(
        get(version=b"HTTP/1.2"),
        "=> 505, closed",
        nginx="GET /x => 200",
        haproxy="GET /x => 200",
        why="there is no such version",
    ),
    "HTTP/2.0": Case(
        get(version=b"HTTP/2.0"),
        "=> 505, closed",
        haproxy="GET /x => 200",
        why="there is no such version on this kind of connection",
    ),
    "HTTP/0.9": Case(
        b"GET /x\r\n\r\n",
        "=> 400, closed",
        nginx="GET /x Host= => nothing, closed",
        why="nothing that cannot be told from garbage is answered",
    ),
    "a version in lower case": Case(get(version=b"http/1.1"), "=> 400, closed"),
}

FIELDS = {
    "an empty line first": Case(b"\r\n" + get(), "GET /x => 200"),
    "bare line feeds": Case(
        get().replace(b"\r\n", b"\n"), "=> 400, closed", nginx="GET /x => 200", haproxy="GET /x => 200", why=LF_ENDS
    ),
    "a bare CR in a value": Case(get(b"/x", b"X-A: b\rc"), "=> 400, closed"),
    "NUL in a value": Case(get(b"/x", b"X-A: b\x00c"), "=> 400, closed", haproxy="GET /x => 200", why=NO_CONTROLS),
    "a control character in a value": Case(
        get(b"/x", b"X-A: b\x01c"), "=> 400, closed", nginx="GET /x => 200", haproxy="GET /x => 200", why=NO_CONTROLS
    ),
    "a folded field": Case(
        get(b"/x", b"X-A: b\r\n c"),
        "=> 400, closed",
        haproxy="GET /x => 200",
        why="obsolete, and read in two ways by servers (RFC 9112 section 5.2)",
    ),
    "a space before the colon": Case(get(b"/x", b"X-A : b"), "=> 400, closed"),
    "an empty name": Case(get(b"/x", b": b"), "=> 400, closed"),
    "a name that is no token": Case(get(b"/x", b"X(A): b"), "=> 400, closed", nginx="GET /x => 200", why=NO_FIELD),
    "a space before the first field": Case(b"GET /x HTTP/1.1\r\n X-A: b\r\nHost: a\r\n\r\n", "=> 400, closed"),
    "a line without a colon": Case(get(b"/x", b"X-A"), "=> 400, closed", nginx="GET /x => 200", why=NO_FIELD),
    "a byte over 127 in a value": Case(get(b"/x", b"X-A: \xe4"), "GET /x => 200"),
    "an empty value": Case(get(b"/x", b"X-A:"), "GET /x => 200"),
    "blanks around a value": Case(get(b"/x", b"X-A: \t b\tc \t"), "GET /x => 200"),
    "101 fields": Case(
        get(b"/x", *[b"X-%d: 1" % n for n in range(100)]),
        "=> 431, closed",
        nginx="GET /x => 200",
        haproxy="=> 400, closed",
        why="the limit is 100 fields; 431 says what is wrong",
    ),
    "a field of 20 kB": Case(
        get(b"/x", b"X-B: " + b"b" * 20_000),
        "GET /x => 200",
        nginx="=> 400, closed",
        haproxy="=> 400, closed",
        why="the limit is 32 KiB for the whole head",
    ),
    "a head of 40 kB": Case(
        get(b"/x", *[b"X-B: " + b"b" * 1000] * 40),
        "=> 431, closed",
        nginx="=> 400, closed",
        haproxy="=> 400, closed",
        why="the limit is 32 KiB; 431 says what is wrong",
    ),
}

HOSTS = {
    "no Host": Case(
        get(host=b""), "=> 400, closed", haproxy="GET /x Host= => 200", why="required (RFC 9112 section 3.2)"
    ),
    "two Hosts": Case(
        get(b"/x", b"Host: a"),
        "=> 400, closed",
        haproxy="GET /x => 200",
        why="required to be refused (RFC 9112 section 3.2): two readers may take one each",
    ),
    "an empty Host": Case(
        get(host=b"Host:"),
        "GET /x Host=SERVER => 200",
        nginx="=> 400, closed",
        haproxy="GET /x Host= => 200",
        why=NEEDS_HOST,
    ),
    "a Host with a path": Case(
        get(host=b"Host: a/b"), "=> 400, closed", haproxy="GET /x Host=a/b => 200", why=BAD_HOST
    ),
    "a Host with a user": Case(
        get(host=b"Host: u@a"),
        "=> 400, closed",
        nginx="GET /x Host=u@a => 200",
        haproxy="GET /x Host=u@a => 200",
        why=BAD_HOST,
    ),
    "a Host with a broken port": Case(
        get(host=b"Host: a:b"),
        "=> 400, closed",
        nginx="GET /x Host=a:b => 200",
        haproxy="GET /x Host=a:b => 200",
        why=BAD_HOST,
    ),
    "a Host in upper case with a dot": Case(get(host=b"Host: A."), "GET /x Host=A. => 200"),
    "a Host that is IPv6": Case(get(host=b"Host: [::1]:80"), "GET /x Host=[::1]:80 => 200"),
}

SECTIONS = {
    "Targets": TARGETS,
    "Methods": METHODS,
    "Versions": VERSIONS,
    "Fields": FIELDS,
    "Hosts": HOSTS,
}
