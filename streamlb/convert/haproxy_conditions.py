"""HAProxy's ACLs and conditions as rules.

What lives here: `acl` lines, anonymous ACLs in braces, `if`, `unless`, `or`, `!`; what is known of a connection already
(`ssl_fc`) is decided at once.
What must not: who gets what matches (`haproxy.py`). Specified by chapter 7 of HAProxy's Configuration Manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlb.convert.rules import NoRule, Rule, all_of, any_of, literal, matcher, none_of, pattern

if TYPE_CHECKING:
    from streamlb.convert.haproxy_text import Line, Section

PREDEFINED = {
    "TRUE": ["always_true"],
    "FALSE": ["always_false"],
    "HTTP": ["always_true"],
    "METH_GET": ["method", "GET", "HEAD"],
    "METH_HEAD": ["method", "HEAD"],
    "METH_POST": ["method", "POST"],
    "METH_PUT": ["method", "PUT"],
    "METH_DELETE": ["method", "DELETE"],
    "METH_OPTIONS": ["method", "OPTIONS"],
    "METH_PATCH": ["method", "PATCH"],
    "LOCALHOST": ["src", "127.0.0.1/8", "::1"],
}
ALIASES = {"req.hdr": "hdr", "req.fhdr": "hdr", "fhdr": "hdr", "req_ssl_sni": "req.ssl_sni", "urlp": "url_param"}
FETCH = re.compile(r"([a-z_.0-9]+?)(?:_(beg|end|reg|sub|dir|dom|str))?(?:\(([^)]*)\))?")
MATCHES = {"beg", "end", "reg", "sub", "dir", "dom", "str", "found"}
HELLO = {"req_ssl_hello_type", "req.ssl_hello_type", "req.ssl_ver", "req_ssl_ver", "req.len", "req_len"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a condition comes to: a rule, or certain already."""

    rule: Rule | None = None
    certain: bool = True

    @property
    def never(self) -> bool:
        return self.rule is None and not self.certain

    @property
    def always(self) -> bool:
        return self.rule is None and self.certain


@dataclass(slots=True)
class Conditions:
    """The ACLs of a section. is_tls: whether its clients speak TLS to us. protocol: http or tcp."""

    section: Section
    protocol: str
    is_tls: bool
    used: list[Line] = field(default_factory=list)

    def read(self, words: list[str]) -> Answer:
        """What stands behind a keyword: `if ...`, `unless ...`, or nothing. Raises NoRule."""
        if not words:
            return Answer()
        if words[0] not in ("if", "unless"):
            raise NoRule(f"`{words[0]}`")
        answer = self._any(_split(words[1:]))
        return _negated(answer) if words[0] == "unless" else answer

    def _any(self, alternatives: list[list[list[str]]]) -> Answer:
        found = [self._all(terms) for terms in alternatives]
        if any(each.always for each in found):
            return Answer()
        rules = [each.rule for each in found if each.rule is not None]
        return Answer(any_of(rules)) if rules else Answer(certain=False)

    def _all(self, terms: list[list[str]]) -> Answer:
        found = [self._term(term) for term in terms]
        if any(each.never for each in found):
            return Answer(certain=False)
        rules = [each.rule for each in found if each.rule is not None]
        return Answer(all_of(rules)) if rules else Answer()

    def _term(self, term: list[str]) -> Answer:
        if term[0] == "!":
            return _negated(self._term(term[1:]))
        if term[0] == "{":
            return self._test(term[1:-1])
        lines = [line for line in self.section.all("acl") if line.word(1) == term[0]]
        if lines:
            found = [self._test(line.words[2:]) for line in lines]
            self.used += lines
            if any(each.always for each in found):
                return Answer()
            rules = [each.rule for each in found if each.rule is not None]
            return Answer(any_of(rules)) if rules else Answer(certain=False)
        if term[0] in PREDEFINED:
            return self._test(PREDEFINED[term[0]])
        raise NoRule(f"there is no ACL `{term[0]}`")

    # --- one test --------------------------------------------------------------------------------------------

    def _test(self, words: list[str]) -> Answer:
        if not words:
            raise NoRule("an empty condition")
        name, *rest = words
        method, ignore_case = "", False
        while rest and rest[0].startswith("-"):
            flag = rest.pop(0)
            if flag == "--":
                break
            if flag == "-i":
                ignore_case = True
            elif flag == "-m" and rest and rest[0] in MATCHES:
                method = rest.pop(0)
            else:
                raise NoRule(f"`{flag}`")
        found = FETCH.fullmatch(name)
        if not found:
            raise NoRule(f"`{name}`")
        fetch, suffix, argument = found[1], found[2] or "", (found[3] or "").split(",")[0]
        return self._fetched(ALIASES.get(fetch, fetch), method or suffix, argument, rest, ignore_case)

    def _fetched(self, fetch: str, method: str, argument: str, values: list[str], ignore_case: bool) -> Answer:
        if fetch in ("always_true", "always_false"):
            return Answer(certain=fetch == "always_true")
        if fetch == "ssl_fc":
            return Answer(certain=self.is_tls != (values == ["0"]))
        if fetch in HELLO and self.protocol == "tcp":
            return Answer()
        if fetch == "src":
            return Answer(any_of([matcher("ClientIP", value) for value in values]))
        if self.protocol == "tcp":
            return Answer(self._of_handshake(fetch, method, values))
        return Answer(self._of_request(fetch, method, argument, values, ignore_case))

    def _of_handshake(self, fetch: str, method: str, values: list[str]) -> Rule:
        if fetch not in ("req.ssl_sni", "ssl_fc_sni"):
            raise NoRule(f"`{fetch}` cannot be asked of a TCP connection")
        if method in ("", "str"):
            return any_of([matcher("HostSNI", value.lower()) for value in values])
        return any_of([pattern("HostSNIRegexp", _expression(method, value.lower())) for value in values])

    def _of_request(self, fetch: str, method: str, argument: str, values: list[str], ignore_case: bool) -> Rule:
        if fetch == "method":
            return any_of([matcher("Method", value.upper()) for value in values])
        if fetch == "path":
            return self._path(method, values, ignore_case)
        if (fetch == "hdr" and argument.lower() == "host") or fetch == "ssl_fc_sni":
            if method in ("", "str"):
                return matcher("Host", *(value.lower() for value in values))
            return any_of([pattern("HostRegexp", _expression(method, value.lower())) for value in values])
        if fetch in ("hdr", "url_param") and argument:
            exact, inexact = ("Header", "HeaderRegexp") if fetch == "hdr" else ("Query", "QueryRegexp")
            if method == "found":
                return pattern(inexact, "", argument)
            if method in ("", "str") and not ignore_case:
                return any_of([matcher(exact, argument, value) for value in values])
            found = [_expression(method, value) for value in values]
            return any_of([pattern(inexact, each, argument, ignore_case=ignore_case) for each in found])
        raise NoRule(f"`{fetch}` has no matcher")

    def _path(self, method: str, values: list[str], ignore_case: bool) -> Rule:
        if not ignore_case and method in ("", "str", "beg"):
            name = "PathPrefix" if method == "beg" else "Path"
            return any_of([matcher(name, value) for value in values])
        found = [_expression(method, value) for value in values]
        return any_of([pattern("PathRegexp", each, ignore_case=ignore_case) for each in found])


def _expression(method: str, value: str) -> str:
    """A value as a regular expression, by the way it is matched."""
    if method == "reg":
        return re.sub(r"\(\?<(\w+)>", r"(?P<\1>", value)
    plain = literal(value)
    if method == "dir":
        return f"(?:^|/){literal(value.strip('/'))}(?:/|$)"
    if method == "dom":
        return f"(?:^|\\.){literal(value.strip('.'))}(?:\\.|$)"
    return {"beg": f"^{plain}", "end": f"{plain}$", "sub": plain}.get(method, f"^{plain}$")


def _negated(answer: Answer) -> Answer:
    return Answer(none_of(answer.rule)) if answer.rule is not None else Answer(certain=not answer.certain)


def _split(words: list[str]) -> list[list[list[str]]]:
    """A condition as alternatives of terms; a term is `!`s and a name, or what stands in braces."""
    alternatives: list[list[list[str]]] = [[]]
    term: list[str] = []
    is_open = False
    for word in words:
        if is_open:
            term.append(word)
            if word == "}":
                alternatives[-1].append(term)
                term, is_open = [], False
            continue
        if word in ("or", "||"):
            alternatives.append([])
            continue
        while word.startswith("!"):
            term.append("!")
            word = word[1:]
        if not word:
            continue
        term.append(word)
        if word == "{":
            is_open = True
        else:
            alternatives[-1].append(term)
            term = []
    if is_open or term or not all(alternatives):
        raise NoRule("the condition ends in the middle")
    return alternatives
