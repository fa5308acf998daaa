# SPDX-License-Identifier: Apache-2.0
"""What rollouts refuse, and where a key lies. Whatever is refused, the version before keeps answering."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from python.rollouts import asked, load_versions

import anya_engine as anya


def test_what_cannot_be_deployed(engine: anya.Engine, load: Any) -> None:
    """Unknown versions, the one that serves, another schema, a second rollout: typed errors, and nothing changes."""
    load_versions(engine, 1, 2, 3)
    load("tiny", name="m", version="other")
    with pytest.raises(anya.ModelNotFound):
        engine.deploy("m", "9", anya.BlueGreen())
    with pytest.raises(anya.ModelNotFound):
        engine.deploy("nobody", "1", anya.BlueGreen())
    with pytest.raises(anya.ConfigError, match="serves already"):
        engine.deploy("m", "1", anya.BlueGreen())
    with pytest.raises(anya.ConfigError, match="other inputs"):
        engine.deploy("m", "other", anya.BlueGreen())
    with pytest.raises(anya.ConfigError, match=r"BlueGreen.*Canary.*Shadow"):
        engine.deploy("m", "2", "canary")  # type: ignore[arg-type]
    with pytest.raises(anya.ConfigError, match="nothing to go back to"):
        engine.rollback("m")
    with pytest.raises(anya.ConfigError, match="no rollout"):
        engine.promote("m")
    assert engine.status("m").state == "idle"
    engine.deploy("m", "2", anya.Canary(min_duration=600.0))
    with pytest.raises(anya.ConfigError, match="is in a canary rollout"):
        engine.deploy("m", "3", anya.BlueGreen())
    engine.rollback("m")
    assert asked(engine) == 1


def test_a_schema_may_change_when_it_is_said(engine: anya.Engine, load: Any) -> None:
    """allow_schema_change deploys a version with other inputs."""
    load_versions(engine, 1)
    load("tiny", name="m", version="2")
    assert engine.deploy("m", "2", anya.BlueGreen(allow_schema_change=True)).stable == "2"


def test_unloading_the_canary_by_hand_ends_the_rollout(engine: anya.Engine) -> None:
    """The new version goes, the old one keeps answering, the status says why."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Canary(steps=(50,), min_duration=600.0))
    engine.unload("m", "2")
    assert {asked(engine, key) for key in range(50)} == {1}
    status = engine.status("m")
    assert status.state == "rolled_back" and "unloaded by hand" in status.why
    load_versions(engine, 2)
    assert engine.deploy("m", "2", anya.BlueGreen()).stable == "2"


def test_unloading_what_serves_is_refused_and_changes_nothing(engine: anya.Engine) -> None:
    """The stable version of a rollout cannot be taken away under it."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Canary(steps=(50,), min_duration=600.0))
    with pytest.raises(anya.ConfigError, match="serves its requests"):
        engine.unload("m", "1")
    assert engine.status("m").state == "progressing"


@pytest.mark.parametrize("strategy", [anya.Canary(steps=(50,), min_duration=600.0), anya.Shadow(share=1.0)])
def test_a_whole_name_may_go_in_mid_rollout(engine: anya.Engine, strategy: anya.Canary | anya.Shadow) -> None:
    """unload(name) ends the rollout with the model; the name can be used afresh."""
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", strategy)
    engine.unload("m")
    with pytest.raises(anya.ModelNotFound):
        engine.status("m")
    with pytest.raises(anya.ModelNotFound):
        asked(engine)
    load_versions(engine, 3)
    assert asked(engine) == 3
    assert engine.status("m").state == "idle"


def test_closing_in_mid_rollout_is_quick_and_clean() -> None:
    """An engine with a canary in progress closes, and refuses afterwards."""
    engine = anya.Engine()
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.Canary(steps=(50,), min_duration=600.0))
    engine.close()
    with pytest.raises(anya.Unavailable):
        engine.rollback("m")
    assert not any(thread.name == "anya-rollouts" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"steps": ()}, "steps"),
        ({"steps": (5, 5)}, "steps"),
        ({"steps": (10, 5)}, "steps"),
        ({"steps": (0,)}, "steps"),
        ({"steps": (100,)}, "steps"),
        ({"steps": "10"}, "steps"),
        ({"steps": (0.05,)}, "steps"),
        ({"steps": (0.05, 0.25, 1)}, "steps"),
        ({"metrics": ()}, "metrics"),
        ({"metrics": ("errors", "errors")}, "metrics"),
        ({"metrics": tuple("abcde")}, "metrics"),
        ({"alpha": 0.0}, "alpha"),
        ({"max_ratio": 1.0}, "max_ratio"),
        ({"min_duration": 10.0, "max_step_duration": 5.0}, "max_step_duration"),
        ({"on_failure": "ignore"}, "on_failure"),
        ({"min_requests": 0}, "min_requests"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(values: dict[str, Any], field: str) -> None:
    """The error names the field."""
    with pytest.raises(anya.ConfigError) as caught:
        anya.Canary(**values)
    assert caught.value.field == field


def test_steps_that_read_like_shares_say_what_they_would_be_in_percent() -> None:
    """0.05 is no 5 %: the message has the numbers to write; a start below one percent is taken where more follows."""
    with pytest.raises(anya.ConfigError, match=r"as percent: 5, 25\)"):
        anya.Canary(steps=(0.05, 0.25, 1))
    assert anya.Canary(steps=(0.1, 1, 10)).steps == (0.1, 1, 10)
    assert anya.Canary(steps=(1,)).steps == (1,)


def test_policies_are_read_from_plain_values() -> None:
    """Unknown keys are errors with the nearest name."""
    assert anya.Canary.from_dict({"steps": [5, 10]}) == anya.Canary(steps=(5, 10))
    with pytest.raises(anya.ConfigError, match="did you mean 'keep_warm'"):
        anya.BlueGreen.from_dict({"keep_warn": 1})


def test_the_key_position_is_the_same_everywhere() -> None:
    """Vectors: a key's place for a salt must never change, or rollouts of several processes would not agree."""
    from anya_engine import _core

    places = [_core.key_position(key, salt) for key, salt in ((b"", 0), ("user-1", 5), (7, 5), ("7", 5), (b"7", 5))]
    assert places[2] == places[3] == places[4]
    assert places[:3] == pytest.approx(PLACES, abs=1e-15)


PLACES = [0.29353066457614707, 0.4543867688747213, 0.8153579377311504]


def test_keys_are_spread_evenly_and_anew_for_each_salt() -> None:
    """Positions are uniform (chi-squared) and those of two salts are independent."""
    from anya_engine import _core

    first = np.array([_core.key_position(f"user-{number}", 1) for number in range(20_000)])
    second = np.array([_core.key_position(f"user-{number}", 2) for number in range(20_000)])
    expected = len(first) / 100
    for places in (first, second):
        counts, _ = np.histogram(places, 100, (0, 1))
        assert ((counts - expected) ** 2 / expected).sum() < 160  # 99 degrees of freedom: 1 in 10 000
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert 0.03 < ((first < 0.05) & (second < 0.05)).sum() / (first < 0.05).sum() < 0.07
