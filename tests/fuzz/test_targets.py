# SPDX-License-Identifier: Apache-2.0
"""The fuzz targets by themselves: a few hundred inputs each, the same every time, reach every kind of outcome."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from fuzz.targets import TARGETS

OUTCOMES = {
    "descriptors": {"answered", "INVALID_INPUT", "INPUT_TOO_LARGE", "no array"},
    "schema": {"answered", "refused", "answer refused", "does not fit", "no schema"},
}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_target_holds(name: str) -> None:
    """Nothing that these inputs ask breaks a rule of the target, and every kind of outcome comes up."""
    random_source = random.Random(11)
    target = TARGETS[name]()
    try:
        outcomes = Counter(target(random_source.randbytes(96)) for _ in range(800))
    finally:
        target.close()
    assert OUTCOMES[name] <= outcomes.keys(), outcomes
