"""Routers that no request can reach, because of those before them or because of their own rule.

What lives here: the search for them, sound and bounded: what it reports is certain, what it cannot prove it leaves out.
What must not: what follows from what (`terms.py`), words for the user. Called by the configuration check.
Specified by the order of routers (`router.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamlb.routing.matchers import wildcard_of
from streamlb.routing.router import in_order
from streamlb.routing.terms import Case, Term, cases_of, contradiction, covers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlb.routing.router import Router

MAX_ALL_CASES = 50_000
"""Alternatives of all rules together; the rules after them are not looked into."""
MAX_COMPARISONS = 200_000
"""Comparisons of two alternatives; then the search ends. Ten thousand ordinary routers need far fewer."""

EVERY_PATH = Term("PathPrefix", b"/")
"""What every request fulfils but `OPTIONS *`, whose target is no path."""


class Hidden(NamedTuple):
    """A router that no request can reach.

    by: the routers that take its requests, in order. contradiction: two conditions of its own that exclude each other,
    when it is for them. but_asterisk: `OPTIONS *` may reach it all the same.
    """

    name: str
    by: tuple[str, ...] = ()
    contradiction: tuple[str, str] | None = None
    but_asterisk: bool = False


def find_hidden(routers: Iterable[Router], protocol: str) -> list[Hidden]:
    """The routers of one entry point that are certain never to be reached, in the order they are tried."""
    search = _Search()
    known: list[tuple[str, list[Case] | None]] = []  # by rank
    total = 0
    for router, rule in in_order(routers, protocol):
        cases = cases_of(rule) if total < MAX_ALL_CASES else None
        total += len(cases or ())
        known.append((router.name, cases))
    search.count(case for _, cases in known for case in cases or ())
    hidden = []
    for rank, (name, cases) in enumerate(known):
        if cases is None:
            continue
        found = search.look_at(name, cases)
        if found is not None:
            hidden.append(found)
        else:
            for case in cases:
                search.add(rank, name, case)
    return hidden


class _Wide(NamedTuple):
    """A case of router `name` that may cover those after it; `for_paths` is one that asked for EVERY_PATH as well."""

    rank: int
    name: str
    case: Case
    for_paths: bool


class _Search:
    """The cases of the routers so far, each found by the one of its conditions that fewest others share."""

    def __init__(self) -> None:
        self._frequency: dict[Term, int] = {}
        self._by_term: dict[Term, list[_Wide]] = {}
        self._loose: list[_Wide] = []
        self._prefixes: set[int] = set()  # lengths of the paths and networks that are keys: what is worth a look
        self._masks: set[int] = set()
        self._left = MAX_COMPARISONS

    def count(self, cases: Iterable[Case]) -> None:
        frequency = self._frequency
        for case in cases:
            for term in case:
                frequency[term] = frequency.get(term, 0) + 1

    def add(self, rank: int, name: str, case: Case) -> None:
        for_paths = EVERY_PATH in case
        wide = _Wide(rank, name, case - {EVERY_PATH}, for_paths)
        keys = [term for term in wide.case if not term.negated and term.kind in _KEYS]
        if not keys:
            self._loose.append(wide)
            return
        key = min(keys, key=lambda term: (self._frequency[term], str(term)))
        self._by_term.setdefault(key, []).append(wide)
        if key.kind == "PathPrefix":
            self._prefixes.add(len(key.value))
        elif key.kind == "ClientIP":
            self._masks.add(key.value.prefixlen)

    def look_at(self, name: str, cases: list[Case]) -> Hidden | None:
        """Whether each of a router's cases is taken by somebody before, or impossible."""
        by: list[_Wide] = []
        contradictions = []
        but_asterisk = False
        for case in cases:
            impossible = contradiction(case)
            if impossible:
                contradictions.append(impossible)
                continue
            takers = self._takers(case)
            if not takers:
                return None
            by.append(min(takers, key=lambda wide: wide.rank))
            but_asterisk |= all(wide.for_paths for wide in takers) and not _asks_for_path(case)
        if by:
            by.sort(key=lambda wide: wide.rank)
            return Hidden(name, tuple(dict.fromkeys(wide.name for wide in by)), None, but_asterisk)
        if not contradictions:
            return Hidden(name)
        one, other = contradictions[0]
        return Hidden(name, (), (str(one), str(other)))

    def _takers(self, case: Case) -> list[_Wide]:
        takers = []
        for wide in self._candidates(case):
            if self._left <= 0:
                break
            self._left -= 1
            if covers(wide.case, case):
                takers.append(wide)
        return takers

    def _candidates(self, case: Case) -> Iterator[_Wide]:
        for term in case:
            if not term.negated:
                for wider in self._wider(term):
                    yield from self._by_term.get(wider, ())
        yield from self._loose

    def _wider(self, term: Term) -> Iterator[Term]:
        """The conditions that follow from one and may be keys."""
        kind, value = term.kind, term.value
        if kind not in ("PathPrefix", "ClientIP"):
            yield term
        if kind == "Host":
            yield Term("Wildcard", wildcard_of(value))
        elif kind == "HostSNI":
            yield Term("SniWildcard", wildcard_of(value))
        if kind in ("Host", "Wildcard"):
            yield Term("AnyHost", b"*")
        elif kind in ("Path", "PathPrefix"):
            for length in self._prefixes:
                if length <= len(value):
                    yield Term("PathPrefix", value[:length])
        elif kind == "ClientIP":
            for mask in self._masks:
                if mask <= value.prefixlen:
                    yield Term("ClientIP", value.supernet(new_prefix=mask))


_HOST_KEYS = frozenset({"Host", "Wildcard", "AnyHost", "HostSNI", "SniWildcard"})
_KEYS = _HOST_KEYS | {"ALPN", "Path", "PathPrefix", "Method", "Header", "Query", "ClientIP"}
"""What a case may be found by: conditions whose narrower ones can be listed, which those of patterns cannot."""


def _asks_for_path(case: Case) -> bool:
    return any(term.kind in ("Path", "PathPrefix") and not term.negated for term in case)
