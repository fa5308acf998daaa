# SPDX-License-Identifier: Apache-2.0
"""Watched versions beside canaries, twins, caches and signatures; references captured from traffic."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python.drift_support import ALL, classifier, load_watched, told
from python.support import floats, until
from python.trust_support import SIGNATURE, believing, private, registry_of

import anya_engine as anya
from anya_engine import _signing
from anya_engine._drift_counts import counts_of_arrays
from anya_engine.profile import Profile


@pytest.fixture
def watched(engine: anya.Engine, tmp_path: Path) -> Any:
    """See `load_watched`."""
    return functools.partial(load_watched, engine, tmp_path)


def test_a_canary_is_read_beside_the_stable(engine: anya.Engine, watched: Any) -> None:
    """Each version has a report of its own; the newer one's says that the reference is of another version."""
    profile = watched()
    other = classifier() + b"\x32\x04note"  # a doc_string: other bytes, the same answers
    reference = anya.DriftConfig(reference=None)
    engine.load("m", other, version="2", config=anya.ModelConfig(drift=reference))
    assert engine.drift("m", "2").state == "INSUFFICIENT" and "no reference" in engine.drift("m", "2").why
    path = Path(engine._models.source("m", "1") or "") / "profile.json"
    engine.load("m", other, version="3", config=anya.ModelConfig(drift=dataclasses.replace(ALL, reference=path)))
    engine.deploy("m", "3", anya.Canary(steps=(50,), min_requests=10**9))
    for i in range(2000):
        engine.infer("m", floats(2, 5, seed=i), key=i)
    stable, canary = engine.drift("m", "1"), engine.drift("m", "3")
    assert (stable.version, canary.version) == ("1", "3")
    assert stable.rows + canary.rows == 4000 and min(stable.rows, canary.rows) > 1000
    assert (stable.state, canary.state) == ("OK", "OK")
    assert stable.note == "" and profile.digest[:12] in canary.note
    assert engine.drift("m").version == "1"


def test_what_a_cache_answers_is_not_counted_again(engine: anya.Engine, watched: Any, tmp_path: Path) -> None:
    """Drift watches what the model computed: of ten equal requests one is counted, and one becomes a reference."""
    watched()
    config = anya.ModelConfig(cache=anya.CacheConfig(capacity_bytes=1 << 20), drift=ALL)
    engine.load("cached", tmp_path, config=config)
    engine.capture_reference("cached", 60, path=tmp_path / "captured.json")

    async def ask(x: Any) -> None:
        await engine.infer_async("cached", x)

    for i in range(30):
        x = floats(2, 5, seed=i)
        for _ in range(3):
            engine.infer("cached", x)
            engine.infer_detailed("cached", x)
            engine.submit("cached", x).result()
            asyncio.run(ask(x))
        until(lambda i=i: engine.drift("cached").rows in (2 * i + 2, 0), "one run of each")  # type: ignore[misc]
        if i < 29:
            assert engine.drift("cached").rows == 2 * i + 2 == engine.drift("cached").features[0].n
    until(lambda: engine.drift("cached").reference != "profile.json", "the captured reference")
    assert Profile.from_json((tmp_path / "captured.json").read_bytes()).rows == 60


def test_a_control_slice_counts_for_its_version(engine: anya.Engine, watched: Any) -> None:
    """What a twin of the old version computes is the old version's; so is what it had counted when it ended."""
    profile = watched()
    engine.load("m", classifier(), version="2", config=anya.ModelConfig(drift=anya.DriftConfig(enabled=False)))
    alone = instances_of(engine)
    engine.deploy("m", "2", anya.Canary(steps=(25,), control=True, min_requests=10**9))
    assert instances_of(engine) == 2 * alone
    kept = []
    for key in range(600):
        x = floats(2, 5, seed=key)
        if engine.infer_detailed("m", x, key=key).version == "1":
            kept.append(x)
        if key == 300:
            assert engine.drift("m", "1").rows == 2 * len(kept)
    engine.rollback("m")
    until(lambda: instances_of(engine) == alone, "the end of the twin")
    rows = np.concatenate(kept)
    report = engine.drift("m", "1")
    assert report.rows == report.sampled_rows == len(rows)
    expected = counts_of_arrays(profile, {"x": rows}, engine.infer("plain", rows))
    assert [counts for _, _, counts, _ in told(report)] == [tuple(counts.bins.tolist()) for counts in expected]


def instances_of(engine: anya.Engine) -> int:
    """Of version 1, its twin's included."""
    return next(each.instances for each in engine.stats().models if (each.name, each.version) == ("m", "1"))


def test_a_reference_is_captured_from_traffic(engine: anya.Engine, load: Any, tmp_path: Path) -> None:
    """The next rows become the reference: written down, compared with from then on; the tap is gone afterwards."""
    engine.load("m", classifier())
    path = tmp_path / "captured.json"
    engine.capture_reference("m", 500, path=path)
    with pytest.raises(anya.ConfigError, match="being copied"):
        engine.capture_reference("m", 500)
    for i in range(50):
        engine.infer("m", floats(5, 5, seed=i))
    assert "250 of 500 rows" in engine.drift("m").why
    for i in range(50):
        engine.infer("m", {"x": floats(5, 5, seed=50 + i)}, outputs=["p"])  # not everything: left out
    assert "250 of 500 rows" in engine.drift("m").why
    for i in range(50):
        engine.submit("m", floats(5, 5, seed=50 + i)).result()
    until(lambda: engine.drift("m").reference != "", "the profile")
    assert Profile.from_json(path.read_bytes()).rows == 500
    assert engine.drift("m").rows == 0
    engine.infer("m", floats(2000, 5, seed=9))
    assert engine.drift("m").rows == 2000
    engine.capture_reference("m", 500)  # once more, beside the one that is there
    engine.infer("m", floats(5, 5))
    assert engine.drift("m").note == "a reference is being captured: 5 of 500 rows"


def test_a_canary_is_no_part_of_its_stables_reference(engine: anya.Engine, tmp_path: Path) -> None:
    """While two versions share the traffic a reference is captured from the rows that the serving one answers."""
    engine.load("m", classifier())
    engine.load("m", classifier(), version="2")
    engine.deploy("m", "2", anya.Canary(steps=(50,), min_requests=10**9))
    engine.capture_reference("m", 10**6, path=tmp_path / "captured.json")
    versions = [engine.infer_detailed("m", floats(1, 5), key=key).version for key in range(200)]
    assert 50 < versions.count("1") < 150
    assert f"{versions.count('1')} of 1000000 rows" in engine.drift("m").why


def test_a_signature_covers_the_profile(engine: anya.Engine, watched: Any, tmp_path: Path) -> None:
    """A signed directory with its reference is watched; with another reference than the signed one it is refused."""
    profile = watched()
    _signing.sign(str(tmp_path), (private(), ""))
    registry = registry_of(tmp_path.parent, tmp_path)
    for number, trust in enumerate((SIGNATURE, believing(registry), believing(registry, "registry"))):
        engine.load(f"signed{number}", tmp_path, config=anya.ModelConfig(trust=trust))
        assert engine.drift(f"signed{number}").reference == "profile.json"
    (tmp_path / "profile.json").write_text(dataclasses.replace(profile, version="9").to_json())
    with pytest.raises(anya.HashMismatch, match=r"profile\.json"):
        engine.load("x", tmp_path, config=anya.ModelConfig(trust=SIGNATURE))
