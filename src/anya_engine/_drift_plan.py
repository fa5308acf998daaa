# SPDX-License-Identifier: Apache-2.0
"""From a profile to what the core counts, and whether the profile is the model's at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from ._drift import FeatureWatch
from ._drift_counts import core_feature, core_tensor
from ._features import names_of
from .drift import DriftConfig
from .errors import ConfigError
from .profile import Profile

__all__ = ["check_fit", "plan_of"]


def plan_of(
    profile: Profile, info: Any, config: DriftConfig
) -> tuple[_core.DriftPlan, list[FeatureWatch], list[tuple[int, float]]]:
    """The core's plan; the features that are judged; bins and centre of all that is counted.

    The last of these is not judged where the profile says which confidence counts as right: two bins, below it or not.
    """
    check_fit(profile, info)
    plan = _core.DriftPlan()
    plan.sample_rate = -1.0 if config.sample_rate is None else config.sample_rate
    plan.budget = config.budget
    tensors, watches = [], []
    confidence: _core.DriftTensor | None = None
    sizes: list[tuple[int, float]] = []
    for tensor in profile.tensors:
        specs = info["inputs" if tensor.role == "input" else "outputs"]
        index = _place_of(tensor.name, tensor.role, tensor.dtype, tensor.shape, specs)
        made = core_tensor(tensor, index)
        names = names_of(tensor.kind, tensor.shape)
        features = []
        for feature in tensor.features:
            features.append(core_feature(feature, names.index(feature.path)))
            watches.append(FeatureWatch(feature))
            sizes.append((features[-1].bins, features[-1].center))
        made.features = features
        tensors.append(made)
        if tensor.kind == "classes" and confidence is None and profile.confidence is not None:
            confidence = core_tensor(tensor, index)
            confidence.features = [_below(profile.confidence.threshold)]
    if confidence is not None:
        tensors.append(confidence)
        sizes.append((2, 0.0))
    plan.tensors = tensors
    return plan, watches, sizes


def check_fit(profile: Profile, info: Any) -> None:
    """Refuse a profile whose tensors are not the model's (`info`: its inputs and outputs as name, dtype, shape).

    Raises:
        ConfigError: It is of another model.
    """
    for tensor in profile.tensors:
        specs = info["inputs" if tensor.role == "input" else "outputs"]
        _place_of(tensor.name, tensor.role, tensor.dtype, tensor.shape, specs)
        names = names_of(tensor.kind, tensor.shape)
        for feature in tensor.features:
            if feature.path not in names:
                raise ConfigError(f"profile: {tensor.name} has no {feature.path}", field=tensor.name)


def _below(threshold: float) -> _core.DriftFeature:
    feature = _core.DriftFeature()
    feature.edges, feature.bins = [float(np.nextafter(threshold, -np.inf))], 2
    return feature


def _place_of(name: str, role: str, dtype: str, shape: tuple[Any, ...], specs: Any) -> int:
    for index, (theirs, their_dtype, their_shape) in enumerate(specs):
        if theirs != name:
            continue
        same = their_dtype == dtype and len(their_shape) == len(shape)
        if same and all(
            a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(their_shape, shape, strict=True)
        ):
            return index
        message = f"the profile is of another model: its {role} '{name}' is {dtype} {list(shape)}, "
        raise ConfigError(message + f"the model's {their_dtype} {list(their_shape)}", field=name, value=list(shape))
    message = f"the profile is of another model: this one has no {role} '{name}'; it has {[spec[0] for spec in specs]}"
    raise ConfigError(message, field=name, value=name)
