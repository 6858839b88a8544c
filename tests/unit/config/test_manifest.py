"""The shapes of Kubernetes documents."""

from __future__ import annotations

import pytest

from streamlb.config.kinds import fields_of
from streamlb.config.manifest import Child, Conditions, MirroringSpec, ServiceSpec, SliceEndpoint


def test_spelling() -> None:
    assert "externalIPs" in fields_of(ServiceSpec)
    assert fields_of(MirroringSpec).keys() > fields_of(Child).keys()


@pytest.mark.parametrize(
    ("ready", "serving", "is_serving"),
    [
        (None, None, True),
        (True, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
    ],
)
def test_an_endpoint_serves_unless_it_says_no(ready: bool | None, serving: bool | None, is_serving: bool) -> None:
    assert SliceEndpoint(conditions=Conditions(ready=ready, serving=serving)).is_serving is is_serving
