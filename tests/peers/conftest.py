# SPDX-License-Identifier: Apache-2.0
"""An engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import anya_engine as anya


@pytest.fixture
def engine() -> Iterator[anya.Engine]:
    """An engine without models."""
    with anya.Engine() as made:
        yield made
