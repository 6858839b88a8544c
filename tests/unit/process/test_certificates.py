"""What certificates say, as openssl makes them and as we do."""

from __future__ import annotations

import datetime

from cryptography import x509

from streamlb.net.tls import check_pair
from streamlb.process.certificates import describe, place_of, remarks, self_signed
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


def begin_and_end(text: str) -> tuple[float, float]:
    certificate = x509.load_pem_x509_certificate(text.encode())
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


def test_what_the_time_makes_of_a_certificate() -> None:
    text = authority().certificate("a.test", days=100).text
    begin, end = begin_and_end(text)
    day = 86_400
    assert remarks(text, None) == remarks(text, begin) == remarks(text, end - 31 * day) == []
    assert "is not valid before 2" in remarks(text, begin - 1)[0][0]
    assert "expires in 29 days, on 2" in remarks(text, end - 30 * day + 1)[0][0]
    assert "expires within two days, on 2" in remarks(text, end - 1)[0][0]
    assert "has expired on 2" in remarks(text, end)[0][0]


def test_the_order_of_a_chain() -> None:
    leaf, ca, other = authority().certificate("a.test", days=100), authority().pair, authority("two").pair
    assert remarks(leaf.text + ca.text, None) == []
    for chain in (ca.text + leaf.text, leaf.text + other.text):
        [(reason, advice)] = remarks(chain, None)
        assert reason.startswith("certificate 2 of the chain has not issued the one before it")
        assert advice.startswith("the server's own comes first")
    [(reason, _)] = remarks(f"{leaf.text}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None)
    assert reason == "one of the certificates of the chain cannot be read"


def test_whose_key_it_is() -> None:
    leaf, ca = authority().certificate("a.test"), authority().pair
    key = leaf.key.read_text()
    assert place_of(leaf.text + ca.text, key) == 1
    assert place_of(ca.text + leaf.text, key) == 2
    assert place_of(ca.text, key) == place_of("", key) == place_of(leaf.text, "") == 0
