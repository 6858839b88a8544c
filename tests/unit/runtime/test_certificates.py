"""The certificate for a name."""

from __future__ import annotations

from streamlb.config.tls import ServedCertificate, Store, Tls
from streamlb.runtime.certificates import Certificates


def certificate(which: str, *names: str) -> ServedCertificate:
    return ServedCertificate(cert_file=which, key_file=which, names=list(names))


def chosen(certificates: Certificates, name: str) -> list[str]:
    return [each.cert_file for each in certificates.choose(name.encode())]


def test_exact_then_wildcard_then_default() -> None:
    default = Store(default_certificate=certificate("default", "default.com"))
    certificates = Certificates(
        Tls(
            certificates=[certificate("wild", "*.a.com", "a.com"), certificate("own", "www.a.com")],
            stores={"default": default},
        )
    )
    names = ["www.a.com", "x.a.com", "a.com", "y.x.a.com", "default.com", "b.com", "", "com"]
    assert [chosen(certificates, name) for name in names] == [
        ["own"], ["wild"], ["wild"], ["default"], ["default"], ["default"], ["default"], ["default"],
    ]  # fmt: skip
    assert certificates.find(b"b.com") is None
    assert certificates.find(b"") is None


def test_all_that_fit_equally_well() -> None:
    certificates = Certificates(Tls(certificates=[certificate("rsa", "a.com"), certificate("ec", "a.com", "a.com")]))
    assert chosen(certificates, "a.com") == ["rsa", "ec"]


def test_of_two_alike_the_one_that_ends_last_comes_last() -> None:
    new, old = certificate("new", "a.com"), certificate("old", "a.com")
    new.expires_at, old.expires_at = 2.0, 1.0
    assert chosen(Certificates(Tls(certificates=[new, old])), "a.com") == ["old", "new"]


def test_without_a_default_the_first_stands_in() -> None:
    certificates = Certificates(Tls(certificates=[certificate("first", "a.com"), certificate("second", "b.com")]))
    assert chosen(certificates, "c.com") == ["first"]
    assert Certificates(Tls()).choose(b"a.com") == ()


def test_those_that_everybody_is_shown() -> None:
    one, two = certificate("one", "a.com", "*.a.com"), certificate("two", "a.com")
    default = {"default": Store(default_certificate=one)}
    assert Certificates(Tls(stores=default)).universal == (one,)
    assert Certificates(Tls(certificates=[one])).universal == (one,)
    assert Certificates(Tls()).universal == ()
    assert Certificates(Tls(certificates=[two], stores=default)).universal == ()
    assert Certificates(Tls(certificates=[one, two])).universal == ()
    # For a.com there are two, for any other name the first.
    assert Certificates(Tls(certificates=[certificate("rsa", "a.com"), two])).universal == ()
