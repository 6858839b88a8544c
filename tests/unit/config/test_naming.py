"""How the model's fields are called in YAML."""

from typing import Annotated

import pytest

from streamlb.config.kinds import fields_of
from streamlb.config.naming import Derived, to_camel
from streamlb.config.tls import ServedCertificate


@pytest.mark.parametrize(
    ("name", "written"),
    [("entry_points", "entryPoints"), ("trusted_ips", "trustedIPs"), ("root_cas", "rootCAs"), ("tls", "tls")],
)
def test_spelling(name: str, written: str) -> None:
    assert to_camel(name) == written


def test_what_the_check_fills_in_cannot_be_written() -> None:
    assert list(fields_of(ServedCertificate)) == ["certFile", "keyFile", "stores"]
    assert Annotated[int, Derived()].__metadata__
