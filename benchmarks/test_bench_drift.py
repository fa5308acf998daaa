# SPDX-License-Identifier: Apache-2.0
"""What watching for drift costs: a look at a value, a row, an image; and of everything on, the throughput it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interleave import Bar
from loops import calls_for, crowds_in_turn, microseconds_per_call
from programs import drift_round
from subjects import CLIENTS, Subject, subject
from versus import Versus, in_turn

import anya_engine as anya
from anya_engine._profile_build import build_profile


def test_looks(versus: Versus, programs: Path) -> None:
    """A value takes 15 ns at most, an embedding of 768 dimensions 2 µs, an image of 224 x 224 x 3, sampled, 5 µs."""
    took = versus.measure(lambda: {"ours": drift_round(programs)})["ours"]
    for what, name, promised in (
        ("value", "a value into its histogram and moments", 15.0),
        ("embedding", "an embedding of 768 dimensions", 2000.0),
        ("image", "an image of 224 x 224 x 3, sampled", 5000.0),
    ):
        versus.compare(
            f"drift: {name}",
            took[what],
            {"promised": [promised] * len(took[what])},
            unit="ns",
            bar=Bar(limit=1.0, better="lower"),
            context={"a lone row of 10 columns, ns": took["lone row of 10 columns"][-1]},
        )


def load_both(engine: anya.Engine, of: Subject, folder: Path) -> None:
    """The model twice: "plain", and "watched" with the distribution of rows like its own as reference."""
    engine.load("plain", of.model)
    info = engine.models()[0]
    known = subject(of.name, rows=2048) if of.name == "tiny" else of
    inputs = {name: np.concatenate([feed[name] for feed in known.feeds]) for name in known.feeds[0]}
    profile = build_profile(
        model="plain",
        version="1",
        digest=info.digest,
        inputs=inputs,
        outputs=engine.infer("plain", inputs),
        specs=(info.inputs, info.outputs),
    )
    (folder / "profile.json").write_text(profile.to_json())
    config = anya.DriftConfig(reference=folder / "profile.json")
    engine.load("watched", of.model, config=anya.ModelConfig(drift=config))


@pytest.mark.parametrize("name", ["tiny", "minilm, 32 tokens"])
def test_throughput(versus: Versus, engine: anya.Engine, tmp_path: Path, name: str) -> None:
    """With inputs, outputs and metrics watched, 64 tasks of one loop lose 2 % of their answers per second at most."""
    clients = 4 if versus.quick else CLIENTS
    of = subject(name, rows=clients)
    load_both(engine, of, tmp_path)
    sides = {model: partial(engine.infer_async, model) for model in ("plain", "watched")}
    turns, rounds, repeats = (2, 1, 3) if versus.quick else (12, 12, 51) if name == "tiny" else (2, 2, 15)
    with asyncio.Runner() as runner:
        repeat = partial(crowds_in_turn, runner, sides, of.feeds, of.check, turns=turns, rounds=rounds)
        took = versus.measure(repeat, repeats=repeats)
    report = engine.drift("watched")
    assert report.rows > 0
    versus.compare(
        f"drift: everything watched, 64 in flight: {name}",
        took["watched"]["items/s"],
        {"unwatched": took["plain"]["items/s"]},
        unit="items/s",
        bar=Bar(limit=0.98, better="higher", of="pairs"),
        context={"rows whose inputs were looked at, share": report.sampled_rows / report.rows},
    )


def test_lone(versus: Versus, engine: anya.Engine, tmp_path: Path) -> None:
    """What a caller that runs its own request waits for the look at its answer."""
    of = subject("tiny", rows=CLIENTS)
    load_both(engine, of, tmp_path)

    def side(model: str) -> Callable[[], dict[str, float]]:
        def call() -> Any:
            return engine.infer(model, of.feeds[0])

        calls = calls_for(0.1, call, quick=versus.quick)
        return lambda: {"µs": microseconds_per_call(call, calls)[0]}

    took = versus.measure(in_turn({model: side(model) for model in ("plain", "watched")}), repeats=15)
    versus.compare(
        "drift: everything watched, one caller: tiny",
        took["watched"]["µs"],
        {"unwatched": took["plain"]["µs"]},
        unit="µs",
        bar=Bar(limit=1.02, better="lower", of="pairs"),
    )
