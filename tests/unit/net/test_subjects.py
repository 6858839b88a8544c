"""Subjects are written as Go writes them."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from streamlb.net.subjects import subject_of


@pytest.mark.parametrize(
    ("certificate", "subject"),
    [
        (None, ""),
        ({}, ""),
        ({"subject": ((("commonName", "me"),),)}, "CN=me"),
        (
            {"subject": ((("countryName", "DE"),), (("organizationName", "A, B"),), (("commonName", "me"),))},
            "CN=me,O=A\\, B,C=DE",
        ),
        ({"subject": ((("commonName", " a "), ("userId", "#7")),)}, "CN=\\ a\\ +userId=\\#7"),
    ],
)
def test_subjects(certificate: Any, subject: str) -> None:
    assert subject_of(Mock(getpeercert=lambda: certificate)) == subject
