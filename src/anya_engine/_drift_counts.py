# SPDX-License-Identifier: Apache-2.0
"""What is counted by a profile: from arrays, and by the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from . import _core
from ._drift import Counts
from ._features import channels_of, names_of
from .profile import FeatureProfile, Moments, Profile, TensorProfile

__all__ = [
    "core_feature",
    "core_tensor",
    "counts_of_arrays",
    "counts_of_core",
    "counts_of_values",
    "numbers_of",
    "text_of",
]

Array: TypeAlias = np.ndarray[Any, Any]


def core_tensor(tensor: TensorProfile, index: int) -> _core.DriftTensor:
    """What the core needs to know to make the rows of a tensor into numbers; without features."""
    made = _core.DriftTensor()
    made.is_output = tensor.role == "output"
    made.index = index
    made.kind = getattr(_core.DriftKind, tensor.kind)
    made.numbers = len(names_of(tensor.kind, tensor.shape))
    made.channels, made.channels_last = channels_of(tensor.shape)
    made.centroid = list(tensor.centroid)
    return made


def core_feature(feature: FeatureProfile, source: int) -> _core.DriftFeature:
    """What the core needs to know to count a feature."""
    made = _core.DriftFeature()
    made.source = source
    made.center = feature.moments.mean
    if feature.kind == "numeric":
        made.edges = list(feature.edges)
        made.bins = len(feature.counts)
        return made
    keys, bins = keys_of(feature)
    made.keys, made.key_bins, made.bins = keys.tolist(), bins.tolist(), len(feature.counts) + 1
    return made


def keys_of(feature: FeatureProfile) -> tuple[Array, Array]:
    """The core's numbers for categories, ascending, and the bin of each."""
    categories = np.array(feature.categories + feature.tail, object)
    if any(isinstance(each, str) for each in categories):
        one = TensorProfile(name="", role="input", dtype="str", shape=(None,), kind="text")
        values = numbers_of(one, categories)[:, 1]
    else:
        values = categories.astype(np.float64)
    bins = np.minimum(np.arange(len(values)), len(feature.categories))
    order = np.argsort(values, kind="stable")
    return values[order], bins[order]


def counts_of_values(feature: FeatureProfile, values: Array) -> Counts:
    """Count values as the core does."""
    finite = values[np.isfinite(values)]
    if feature.kind == "numeric":
        bins = np.bincount(np.searchsorted(np.array(feature.edges), finite), minlength=len(feature.counts))
    else:
        keys, of_key = keys_of(feature)
        last = len(feature.counts)
        at = np.searchsorted(keys, finite)
        known = np.append(keys, np.nan)[at] == finite
        bins = np.bincount(np.where(known, np.append(of_key, last)[at], last), minlength=last + 1)
    mean = float(finite.mean()) if len(finite) else 0.0
    moments = Moments(
        n=len(finite),
        mean=mean,
        m2=float(((finite - mean) ** 2).sum()),
        min=float(finite.min()) if len(finite) else 0.0,
        max=float(finite.max()) if len(finite) else 0.0,
    )
    nan, pos_inf, neg_inf = (int(odd(values).sum()) for odd in (np.isnan, np.isposinf, np.isneginf))
    return Counts(bins.astype(np.int64), nan, pos_inf, neg_inf, moments)


def counts_of_arrays(profile: Profile, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> list[Counts]:
    """Count rows by a profile: one entry per feature, in its order."""
    counts = []
    for tensor in profile.tensors:
        numbers = numbers_of(tensor, np.asarray((inputs if tensor.role == "input" else outputs)[tensor.name]))
        names = names_of(tensor.kind, tensor.shape)
        counts += [counts_of_values(feature, numbers[:, names.index(feature.path)]) for feature in tensor.features]
    return counts


def counts_of_core(features: Sequence[tuple[int, float]], taken: tuple[bytes, bytes, bytes]) -> list[Counts]:
    """What the core has counted; of each feature the number of its bins and its centre."""
    bins, odd, sums = np.frombuffer(taken[0], np.uint64), np.frombuffer(taken[1], np.uint64), np.frombuffer(taken[2])
    counts, first = [], 0
    for (size, center), (nan, pos_inf, neg_inf), (total, squares, low, high) in zip(
        features, odd.reshape(-1, 3).tolist(), sums.reshape(-1, 4).tolist(), strict=True
    ):
        mine = bins[first : first + size].astype(np.int64)
        first += size
        n = int(mine.sum())
        moments = Moments()
        if n:
            moments = Moments(n=n, mean=center + total / n, m2=max(0.0, squares - total * total / n), min=low, max=high)
        counts.append(Counts(mine, nan, pos_inf, neg_inf, moments))
    return counts


def numbers_of(tensor: TensorProfile, array: Array) -> Array:
    """[rows, numbers] of a tensor, made by the core."""
    made = core_tensor(tensor, 0)
    data: Any
    if tensor.dtype == "str":
        data = [text_of(each).encode("utf-8", "surrogatepass") for each in array.ravel()]
    else:
        plain = np.ascontiguousarray(array if tensor.dtype == "bfloat16" else array.astype(tensor.dtype, copy=False))
        data = plain.reshape(-1).view(np.uint8)
    numbers = np.frombuffer(_core.drift_numbers(made, tensor.dtype, list(array.shape), data))
    return numbers.reshape(len(array), made.numbers)


def text_of(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
