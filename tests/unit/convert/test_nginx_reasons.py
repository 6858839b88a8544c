"""Every line that was left has a reason that tells something."""

from __future__ import annotations

import pytest

from tests.unit.convert.asking import from_nginx, reason


@pytest.mark.parametrize(
    ("directive", "why"),
    [
        ("worker_processes 4;", "processes"),
        ("gzip on;", "does not change"),
        ("proxy_set_header X-Forwarded-For $x;", "by itself"),
        ("proxy_set_header X-Tenant a;", "does not change"),
        ("root /srv;", "no files"),
        ("upstream unused { server a; }", "no route"),
        ("auth_basic x;", "does not restrict"),
        ("unheard_of;", "nothing like it"),
        ("limit_except GET { deny all; }", "nothing like it"),
    ],
)
def test_reasons(directive: str, why: str) -> None:
    draft = from_nginx(f"http {{ {directive} server {{ location / {{ proxy_pass http://10.0.0.1; }} }} }}")
    assert why in reason(draft, directive.split(" {")[0].rstrip(";"))


def test_what_stands_inside() -> None:
    draft = from_nginx("http { server { if ($x) { a 1; b 2; } location / { proxy_pass http://10.0.0.1; } } }")
    assert reason(draft, "if") == "only routers decide, by their rules; with the 2 inside"
    draft = from_nginx("http { server { location / { root /x; unheard_of; } } }")
    assert reason(draft, "unheard_of") == "inside what was left: location"
