# SPDX-License-Identifier: Apache-2.0
"""A rollout as bytes: what is written is what is read, and nothing else is taken for it."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anya_engine._judge import Block, Cell, LatencyCell
from anya_engine._rollout import CanaryRollout
from anya_engine._rollout_state import Record, SavedEvent, SavedRollout, decode, encode
from anya_engine.errors import ConfigError
from anya_engine.strategies import BlueGreen, Canary, Shadow, Strategy

POLICY = Canary(steps=(5, 50), min_duration=5.0, min_requests=200, metrics=("errors", "latency", "clicks"), slo=0.1)
EDGES = [1e-6 * 2**bucket for bucket in range(10)]


def saved(strategy: Strategy = POLICY, **changed: Any) -> SavedRollout:
    """A rollout from 1 to 2."""
    rollout = CanaryRollout(POLICY, 3.5, EDGES)
    values: dict[str, Any] = {
        "strategy": strategy,
        "old": "1",
        "new": "2",
        "digests": {"1": "ab", "2": "cd"},
        "state": "progressing",
        "why": "just begun",
        "loser": None,
        "events": (SavedEvent(1.5, "start", "why not", {"1": 95.0, "2": 5.0}),),
        "canary": {"judged": 7, **rollout.saved()} if isinstance(strategy, Canary) else None,
    }
    return SavedRollout(**values | changed)


RECORDS = [
    Record(0, None),
    Record(12, None),
    Record(1, saved()),
    Record(3, saved(BlueGreen(keep_warm=3.0), state="promoted", loser=("1", 12.25))),
    Record(4, saved(Shadow(share=0.5), why='words with "quotes", \n and ü')),
]


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_written_is_read(record: Record) -> None:
    """Every kind of rollout comes back equal."""
    assert decode(encode(record)) == record


@given(st.sampled_from(RECORDS), st.data())
def test_a_torn_or_changed_state_is_refused(record: Record, data: st.DataObject) -> None:
    """A state that was cut anywhere, has other bytes anywhere, or a part of another state behind it, is refused."""
    whole = encode(record)
    other = encode(data.draw(st.sampled_from(RECORDS)))
    cut = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    for torn in (whole[:cut], bytes(flipped), whole[:cut] + b"\0" * (len(whole) - cut), whole + other[cut:] + b" "):
        with pytest.raises(ConfigError):
            decode(torn)
    mixed = whole[:cut] + other[cut:]
    if mixed not in (whole, other):
        with pytest.raises(ConfigError):
            decode(mixed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def framed(values: Any) -> bytes:
    """Values as a state whose length and checksum are right."""
    body = json.dumps(values).encode()
    return b"anya-rollout 1 %d %08x\n%s" % (len(body), zlib.crc32(body), body)


@given(st.data())
def test_a_state_that_says_something_else_is_refused_or_read(data: st.DataObject) -> None:
    """Whatever JSON stands in any place of a state with a right checksum: a rollout, or ConfigError; nothing else."""
    values = json.loads(encode(RECORDS[2]).partition(b"\n")[2])
    place: Any = values
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[key] = data.draw(JSON)
    try:
        rollout = decode(framed(values)).rollout
        if rollout is not None and isinstance(rollout.strategy, Canary):
            CanaryRollout.restored(rollout.strategy, rollout.canary, EDGES)
    except ConfigError:
        pass


def blocks(seed: int, count: int) -> list[Block]:
    """Blocks of counts, errors and slow runs of both versions."""
    chance = random.Random(seed)

    def cell(most: int) -> Cell:
        new, old = chance.randrange(most), chance.randrange(most)
        return Cell(new, chance.randrange(new // 8 + 1), old, chance.randrange(old // 8 + 1))

    def runs() -> list[int]:
        return [chance.randrange(9) for _ in range(len(EDGES) + 1)]

    return [
        Block(
            answers=cell(60),
            errors=cell(60),
            latency=[LatencyCell(stratum, runs(), runs()) for stratum in range(chance.randrange(3))],
            own={"clicks": cell(30)},
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_rollout_that_changes_hands_goes_as_if_it_had_not(seed: int) -> None:
    """Saved, written, read and restored before every look, a rollout makes the same moves at the same looks."""
    alone = CanaryRollout(POLICY, 0.0, EDGES)
    handed = CanaryRollout(POLICY, 0.0, EDGES)
    moves = []
    for second, block in enumerate(blocks(seed, 60), start=1):
        state = saved(state=handed.state, canary={"judged": second, **handed.saved()})
        read = decode(encode(Record(1, state))).rollout
        assert read is not None
        handed = CanaryRollout.restored(POLICY, read.canary, EDGES)
        move = alone.tick(second, block)
        assert handed.tick(second, block) == move
        moves += [move.move] if move else []
    assert handed.saved() == alone.saved()
    assert moves
