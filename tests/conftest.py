"""What holds for all tests: a property may take its time on a busy machine; a test that hangs ends the run, and says
where."""

from __future__ import annotations

import faulthandler
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

HANGS_AFTER = 240.0
"""Seconds; whoever waits for a condition has given up long before."""

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
