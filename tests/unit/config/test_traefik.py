"""The data about Traefik: places that exist, keys that streamlb has not got."""

from __future__ import annotations

from typing import Any

import pytest

from streamlb.config import traefik
from streamlb.config.documents import SPECS
from streamlb.config.kinds import fields_of, is_shape, kind_of
from streamlb.config.model import Config


def shape_at(place: str) -> Any:
    """The dataclass a place stands for."""
    kind, _, rest = place.partition(".spec")
    cls: Any = SPECS.get(kind, Config)
    path = rest.removeprefix(".") if kind in SPECS else place
    for part in path.split(".") if path else []:
        cls = kind_of(cls).args[-1] if part == "*" else fields_of(kind_of(cls).base)[part]
    return kind_of(cls).base


TCP_HAS_IT = {"http.routers.*": {"middlewares"}}
"""Routers of all protocols have one shape; what only one has so far is taken from the others by place."""


@pytest.mark.parametrize("place", [*traefik.UNSUPPORTED, *traefik.HARMLESS])
def test_every_place_exists_and_holds_no_key_that_is_supported(place: str) -> None:
    shape = shape_at(place)
    assert is_shape(shape)
    both = traefik.UNSUPPORTED.get(place, {}).values() & fields_of(shape).keys()
    assert both == TCP_HAS_IT.get(place, set())


def test_advice_and_exceptions_are_about_keys_that_are_known() -> None:
    for place, key in traefik.ADVICE:
        assert key in traefik.UNSUPPORTED[place].values()
    for place, keys in traefik.HARMLESS.items():
        assert keys.keys() <= set(traefik.UNSUPPORTED[place].values())
