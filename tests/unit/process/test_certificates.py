"""What certificates say, as openssl makes them and as we do."""

from __future__ import annotations

import datetime

from streamlb.net.tls import check_pair
from streamlb.process.certificates import describe, self_signed
from tests.support.certificates import authority


def test_names_and_the_end() -> None:
    names, expires_at = describe(authority().certificate("A.test", "*.b.test", "127.0.0.1", days=10).text)
    assert names == ["a.test", "*.b.test"]
    assert abs(expires_at - datetime.datetime.now(datetime.UTC).timestamp() - 10 * 86_400) < 3600


def test_without_names_the_subject_counts() -> None:
    names, _ = describe(authority().pair.text)
    assert len(names) == 1
    assert names[0].startswith("streamlb test ca")


def test_one_of_our_own() -> None:
    certificate, key = self_signed()
    check_pair(certificate, key)
    names, expires_at = describe(certificate)
    assert names
    assert expires_at > datetime.datetime.now(datetime.UTC).timestamp() + 300 * 86_400
    assert self_signed() == (certificate, key)
