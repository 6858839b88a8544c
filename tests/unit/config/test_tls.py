"""TLS in the model: what holds where nobody says anything."""

from streamlb.config.tls import Certificate, TlsOptions


def test_defaults_are_safe() -> None:
    options = TlsOptions()
    assert (options.min_version, options.max_version) == ("VersionTLS12", "VersionTLS13")
    assert options.client_auth.client_auth_type is None


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Certificate(cert_file="shown", key_file="secret"))
