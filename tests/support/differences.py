"""The cases of the differential, and every difference between streamlb, nginx and HAProxy with its reason.

What lives here: requests, unusual but legal and illegal ones, and what comes of them. Recorded with nginx 1.22 and
HAProxy 2.6 as Debian 12 has them, each told no more than where to send requests. docs/differences.md shows the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Case:
    """One request and its outcomes, in the words of `Proxy.outcome`; an outcome left out is streamlb's.

    why: the reason for what streamlb does, wherever another proxy does something else. show: fields that count.
    """

    request: bytes
    streamlb: str
    nginx: str = ""
    haproxy: str = ""
    why: str = ""
    show: tuple[str, ...] = ()

    def expected(self, proxy: str) -> str:
        return {"nginx": self.nginx, "haproxy": self.haproxy}.get(proxy, "") or self.streamlb


# --- reasons that several differences share ------------------------------------------------------------------------

ONE_SPELLING = "a rule and a server see one spelling, so no rule is got around; see `sanitizePath`"
NO_URL = "not a character of a URL; escaped, it cannot be taken for something else"
EXACT_LINE = "one space between the parts, or a reader may cut the line elsewhere"
ANY_METHOD = "any token is a method, and methods have a case (RFC 9110 section 9.1)"
NEEDS_HOST = "a server of HTTP/1.1 must get a Host, so it gets its own"
LF_ENDS = "a line ends with CRLF for everybody, or it may end for one reader and not for the next"
NO_CONTROLS = "control characters end a value for some readers"
NO_FIELD = "what is not a field is not passed over: another reader may see one"
BAD_HOST = "not a host; what is made of it differs from reader to reader"
TWO_FRAMINGS = "two framings, or two lengths, are how requests are smuggled"
OTHER_CODINGS = "only a body in `chunked`, and nothing else, has an end that all see"
EXACT_CHUNKS = "readers that are lenient in different ways see different chunks"
HOP = "about the connection to the proxy, not about the request (RFC 9110 section 7.6.1)"

# --- requests ----------------------------------------------------------------------------------------------------

HOST = b"Host: a"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"


def get(
    target: bytes = b"/x",
    *lines: bytes,
    method: bytes = b"GET",
    version: bytes = b"HTTP/1.1",
    host: bytes = HOST,
) -> bytes:
    hosts = [host] if host else []
    return b"\r\n".join([method + b" " + target + b" " + version, *hosts, *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return get(b"/x", *lines, method=b"POST", version=version) + body


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

FRAMING = {
    "a length": Case(post(b"Content-Length: 5", body=b"hello"), "POST /x body=hello => 200"),
    "chunks": Case(post(CHUNKED, body=CHUNKS), "POST /x body=hello => 200"),
    "a length and chunks": Case(
        post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + EVIL),
        "=> 400, closed",
        haproxy="POST /x => 200, closed",
        why=TWO_FRAMINGS,
    ),
    "two lengths": Case(post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), "=> 400, closed"),
    "the same length twice": Case(
        post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"),
        "=> 400, closed",
        haproxy="POST /x body=hello => 200",
        why=TWO_FRAMINGS,
    ),
    "a list of lengths": Case(
        post(b"Content-Length: 5, 5", body=b"hello"),
        "=> 400, closed",
        haproxy="POST /x body=hello => 200",
        why=TWO_FRAMINGS,
    ),
    "a signed length": Case(post(b"Content-Length: +5", body=b"hello"), "=> 400, closed"),
    "a hexadecimal length": Case(post(b"Content-Length: 0x5", body=b"hello"), "=> 400, closed"),
    "a length with zeros in front": Case(post(b"Content-Length: 005", body=b"hello"), "POST /x body=hello => 200"),
    "a length of 2^64+5": Case(post(b"Content-Length: 18446744073709551621", body=b"hello"), "=> 400, closed"),
    "a coding of HTTP/1.0": Case(
        post(CHUNKED, body=CHUNKS, version=b"HTTP/1.0"),
        "=> 400, closed",
        haproxy="POST /x body=hello => 200, closed",
        why="HTTP/1.0 has no codings, so the framing is faulty (RFC 9112 section 6.1)",
    ),
    "an unknown coding": Case(
        post(b"Transfer-Encoding: gzip", body=CHUNKS), "=> 501, closed", haproxy="=> 400, closed", why=OTHER_CODINGS
    ),
    "two codings": Case(
        post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
        "=> 501, closed",
        haproxy="=> 422, closed",
        why=OTHER_CODINGS,
    ),
    "chunked twice": Case(
        post(CHUNKED, CHUNKED, body=CHUNKS),
        "=> 501, closed",
        nginx="=> 400, closed",
        haproxy="=> 400, closed",
        why=OTHER_CODINGS,
    ),
    "identity": Case(
        post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"),
        "=> 501, closed",
        haproxy="=> 400, closed",
        why=OTHER_CODINGS,
    ),
    "a coding in capitals": Case(post(b"Transfer-Encoding: CHUNKED", body=CHUNKS), "POST /x body=hello => 200"),
    "a chunk extension": Case(post(CHUNKED, body=b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'), "POST /x body=hello => 200"),
    "a chunk size ended by LF": Case(
        post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
        "=> 400, closed",
        nginx="POST /x body=hello => 200",
        haproxy="POST /x body=hello => 200",
        why=EXACT_CHUNKS,
    ),
    "a chunk size with 0x": Case(post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), "=> 400, closed"),
    "a chunk size with a blank": Case(
        post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
        "=> 400, closed",
        nginx="POST /x body=hello => 200",
        haproxy="POST /x body=hello => 200",
        why=EXACT_CHUNKS,
    ),
    "a chunk size with zeros in front": Case(
        post(CHUNKED, body=b"0005\r\nhello\r\n000\r\n\r\n"), "POST /x body=hello => 200"
    ),
    "a chunk size out of range": Case(post(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "=> 400, closed"),
    "other bytes behind a chunk": Case(post(CHUNKED, body=b"5\r\nhelloXX0\r\n\r\n"), "=> 400, closed"),
    "a trailer": Case(post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"), "POST /x body=hello => 200"),
    "a trailer that is a length": Case(
        post(CHUNKED, body=b"5\r\nhello\r\n0\r\nContent-Length: 40\r\n\r\n"),
        "=> 400, closed",
        nginx="POST /x body=hello => 200",
        haproxy="POST /x body=hello => 200",
        why="a server that merges trailers into the head would believe it (RFC 9110 section 6.5.1)",
    ),
}

CONNECTIONS = {
    "a field named in Connection": Case(
        get(b"/x", b"Connection: X-Mine", b"X-Mine: 1"),
        "GET /x => 200",
        nginx="GET /x X-Mine=1 => 200",
        haproxy="GET /x X-Mine=1 => 200",
        why="required to end here (RFC 9110 section 7.6.1)",
        show=("X-Mine",),
    ),
    "Host named in Connection": Case(get(b"/x", b"Connection: Host"), "GET /x => 200"),
    "X-Forwarded-For named in Connection": Case(
        get(b"/x", b"Connection: X-Forwarded-For"), "GET /x X-Forwarded-For=127.0.0.1 => 200", show=("X-Forwarded-For",)
    ),
    "a forged X-Forwarded-For": Case(
        get(b"/x", b"X-Forwarded-For: 6.6.6.6"), "GET /x X-Forwarded-For=127.0.0.1 => 200", show=("X-Forwarded-For",)
    ),
    "a forged X_Forwarded_For": Case(
        get(b"/x", b"X_Forwarded_For: 6.6.6.6"),
        "GET /x => 200",
        haproxy="GET /x X_Forwarded_For=6.6.6.6 => 200",
        why="many servers read `_` as `-`",
        show=("X_Forwarded_For",),
    ),
    "Proxy-Connection and Keep-Alive": Case(
        get(b"/x", b"Proxy-Connection: close", b"Keep-Alive: timeout=5"),
        "GET /x => 200",
        nginx="GET /x Proxy-Connection=close => 200",
        haproxy="GET /x Proxy-Connection=close Keep-Alive=timeout=5 => 200",
        why=HOP,
        show=(
            "Proxy-Connection",
            "Keep-Alive",
        ),
    ),
    "Proxy-Authorization": Case(
        get(b"/x", b"Proxy-Authorization: Basic eA=="),
        "GET /x => 200",
        nginx="GET /x Proxy-Authorization=Basic eA== => 200",
        haproxy="GET /x Proxy-Authorization=Basic eA== => 200",
        why=HOP,
        show=("Proxy-Authorization",),
    ),
    "TE: gzip, trailers": Case(
        get(b"/x", b"TE: gzip, trailers", b"Connection: TE"),
        "GET /x TE=trailers => 200",
        nginx="GET /x => 200",
        why="trailers pass, so a server may be told that they are welcome",
        show=("TE",),
    ),
    "an upgrade to h2c": Case(
        get(b"/x", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQ"),
        "GET /x => 200",
        nginx="GET /x HTTP2-Settings=AAMAAABkAAQ => 200",
        haproxy="GET /x Upgrade=h2c HTTP2-Settings=AAMAAABkAAQ => 200",
        why="never passed on: nobody would look into such a tunnel",
        show=(
            "Upgrade",
            "HTTP2-Settings",
        ),
    ),
    "an upgrade without Connection": Case(
        get(b"/x", b"Upgrade: websocket"),
        "GET /x => 200",
        haproxy="GET /x Upgrade=websocket => 200",
        why="not an upgrade (RFC 9110 section 7.8)",
        show=("Upgrade",),
    ),
    "an upgrade": Case(
        get(b"/x", b"Connection: Upgrade", b"Upgrade: websocket"),
        "GET /x Upgrade=websocket => 200",
        nginx="GET /x => 200",
        haproxy="=> 400, closed",
        why="upgrades pass, as they do with Traefik; nginx wants to be told, HAProxy wants a key",
        show=("Upgrade",),
    ),
    "Expect: 100-continue": Case(
        post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
        "POST /x body=hello Expect=100-continue => 200",
        nginx="POST /x body=hello => 200",
        why="the server decides whether it wants the body",
        show=("Expect",),
    ),
    "another expectation": Case(
        get(b"/x", b"Expect: a-pony"),
        "=> 417, closed",
        nginx="GET /x => 200",
        haproxy="GET /x Expect=a-pony => 200",
        why="nobody on the path could meet it (RFC 9110 section 10.1.1)",
        show=("Expect",),
    ),
}

SECTIONS = {
    "Targets": TARGETS,
    "Methods": METHODS,
    "Versions": VERSIONS,
    "Fields": FIELDS,
    "Hosts": HOSTS,
    "Framing": FRAMING,
    "Connections": CONNECTIONS,
}
CASES: dict[str, Case] = {name: case for section in SECTIONS.values() for name, case in section.items()}


# --- the same for people -------------------------------------------------------------------------------------------


def table(section: dict[str, Case]) -> str:
    """The differences of a section, in Markdown."""
    rows = ["| request | streamlb | nginx | HAProxy | why |", "|---|---|---|---|---|"]
    for name, case in section.items():
        if case.why:
            outcomes = [_cell(case.expected(proxy)) for proxy in ("streamlb", "nginx", "haproxy")]
            rows.append(" | ".join([f"| {name}", *outcomes, f"{case.why} |"]))
    return "\n".join(rows) + "\n"


def _cell(outcome: str) -> str:
    return f"`{outcome}`".replace("|", "\\|") if "`" not in outcome else f"`` {outcome} ``".replace("|", "\\|")
