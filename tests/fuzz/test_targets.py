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
    "bundle": {"taken", "SIGNATURE_MALFORMED", "SIGNATURE_INVALID", "UNTRUSTED_KEY"},
    "statement": {"taken", "SIGNATURE_MALFORMED", "TRUST_ERROR"},
    "registry": {"taken", "SIGNATURE_MALFORMED"},
    "walk": {"taken", "MODEL_INVALID", "MODEL_LOAD_ERROR"},
}


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_target_holds(name: str) -> None:
    """Nothing that these inputs ask breaks a rule of the target, and every kind of outcome comes up."""
    random_source = random.Random(11)
    target = TARGETS[name]()
    try:
        # Short ones among them: many edits at once leave nothing whole.
        sizes, count = ((96,), 800) if name in {"descriptors", "schema"} else ((0, 4, 5, 10), 400)
        outcomes = Counter(target(random_source.randbytes(sizes[index % len(sizes)])) for index in range(count))
    finally:
        target.close()
    assert OUTCOMES[name] <= outcomes.keys(), outcomes
