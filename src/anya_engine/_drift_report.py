# SPDX-License-Identifier: Apache-2.0
"""From counts and verdicts to what is told of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _divergence as divergence
from ._distributions import chi2_tail, kolmogorov_tail
from ._drift import Counts, Verdict, bins_of, needed, worst
from .drift import DriftReport, DriftWindow, FeatureDrift, State
from .profile import FeatureProfile, Profile

__all__ = ["report_of", "unwatched"]

Found = tuple[State, str, Counts, Verdict | None]


def report_of(
    *,
    name: str,
    version: str,
    profile: Profile,
    reference: str,
    note: str,
    rows: int,
    sampled_rows: int,
    found: Sequence[Found],
    histories: Sequence[tuple[DriftWindow, ...]],
    accuracy: float | None,
) -> DriftReport:
    """Everything that is told of a version; `found` and `histories` have one entry per feature of the profile."""
    owners = [(tensor, feature) for tensor in profile.tensors for feature in tensor.features]
    features = []
    looked_at = f"of {rows:,} rows the inputs of {sampled_rows:,} were looked at" if sampled_rows < rows else ""
    for (tensor, feature), one, history in zip(owners, found, histories, strict=True):
        facts = _facts(feature, one[2], one[3])
        role: Any = tensor.role
        why = one[1]
        if looked_at and role == "input" and one[0] == "INSUFFICIENT" and feature.n:
            why += f" ({looked_at}; a greater DriftConfig.sample_rate or budget looks at more)"
        features.append(FeatureDrift(tensor=tensor.name, role=role, state=one[0], why=why, history=history, **facts))
    state = worst([feature.state for feature in features])
    confidence = profile.confidence
    return DriftReport(
        name=name,
        version=version,
        state=state,
        why=_why(features, state, looked_at),
        reference=reference,
        note=note,
        rows=rows,
        sampled_rows=sampled_rows,
        estimated_accuracy=None if confidence is None else accuracy,
        reference_accuracy=None if confidence is None else confidence.accuracy,
        features=tuple(features),
    )


def unwatched(name: str, version: str, capturing: str) -> DriftReport:
    """Of a version that is compared with nothing; `capturing`: how far its reference is, if one is made."""
    why = (
        "there is no reference: ModelConfig.drift names none, nor has the model's directory a profile.json; "
        "Engine.capture_reference makes one of what is asked from now on"
    )
    return DriftReport(name=name, version=version, state="INSUFFICIENT", why=capturing or why)


def _why(features: Sequence[FeatureDrift], state: State, looked_at: str) -> str:
    if not features:
        return "the reference has no features"
    mine = [feature for feature in features if feature.state == state]
    if state == "OK":
        rest = "" if len(mine) == len(features) else ", the others have too few values"
        short = [f.why for f in features if looked_at and looked_at in f.why][:1]
        sampled = f"; {short[0]}" if short else f" ({looked_at})" if looked_at else ""
        return f"{len(mine)} of {len(features)} features are as in the reference{rest}{sampled}"
    first = max(mine, key=lambda feature: feature.statistic if feature.statistic == feature.statistic else -1.0)
    sampled = f" ({looked_at})" if looked_at and looked_at not in first.why else ""
    return f"{len(mine)} of {len(features)} features; {first.tensor}{first.feature}: {first.why}{sampled}"


def _facts(feature: FeatureProfile, counts: Counts, verdict: Verdict | None) -> dict[str, Any]:
    reference, current = bins_of(feature), counts.bins
    both = bool(reference.sum() and current.sum())
    is_numeric = feature.kind == "numeric"
    noise = 1 / reference.sum() + 1 / current.sum() if both else math.nan
    statistic, df, sparse = divergence.chi2(reference, current)
    ks = float(divergence.ks_distance(reference, current)) if both and is_numeric else math.nan
    seen, before = counts.moments, feature.moments
    apart = math.nan
    if both and is_numeric and feature.edges:
        low, high = np.array(min(seen.min, before.min)), np.array(max(seen.max, before.max))
        edges, scale = np.array(feature.edges), np.array(before.std)
        apart = float(divergence.wasserstein(reference, current, edges, low, high, scale))
    everything, reference_all = counts.n + counts.nonfinite, feature.n + feature.nonfinite
    names = tuple(str(each) for each in feature.categories) + (("(other)",) if feature.tail else ()) + ("(unseen)",)
    return {
        "feature": feature.path,
        "kind": feature.kind,
        "statistic": float(divergence.psi(reference, current)) if both else math.nan,
        "threshold": verdict.threshold if verdict is not None else math.nan,
        "n": counts.n,
        "needed": needed(feature),
        "reference_n": feature.n,
        "js_distance": float(divergence.js_distance(reference, current)) if both else math.nan,
        "ks_distance": ks,
        "ks_pvalue": kolmogorov_tail(ks / math.sqrt(noise)) if both and is_numeric else math.nan,
        "wasserstein": apart,
        "chi2_pvalue": chi2_tail(float(statistic), int(df)) if both and not sparse else math.nan,
        "l_infinity": float(divergence.l_infinity(reference, current)) if both else math.nan,
        "hellinger": float(divergence.hellinger(reference, current)) if both else math.nan,
        "unseen": None if is_numeric else (int(current[-1]) / counts.n if counts.n else 0.0),
        "nonfinite": counts.nonfinite / everything if everything else 0.0,
        "reference_nonfinite": feature.nonfinite / reference_all if reference_all else 0.0,
        "mean": seen.mean if is_numeric and seen.n else math.nan,
        "std": seen.std if is_numeric and seen.n else math.nan,
        "reference_mean": before.mean if is_numeric and before.n else math.nan,
        "reference_std": before.std if is_numeric and before.n else math.nan,
        "edges": feature.edges,
        "categories": () if is_numeric else names,
        "reference_counts": tuple(reference.tolist()),
        "counts": tuple(current.tolist()),
    }
