# SPDX-License-Identifier: Apache-2.0
"""A reference profile of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ._drift import Counts
from ._drift_counts import counts_of_values, numbers_of, text_of
from ._features import Kind, kind_of, names_of
from ._info import TensorSpec
from .errors import ConfigError
from .profile import Category, Confidence, FeatureProfile, Profile, TensorProfile

__all__ = ["build_profile"]

Array: TypeAlias = np.ndarray[Any, Any]

#: Whole numbers of more different values than this are numeric.
MOST_LEVELS = 20
#: Categories with a bin of their own; rarer ones share one.
MOST_CATEGORIES = 32
#: Strings of more different values than this, or that come back less often, are watched by their length alone.
MOST_STRINGS, STRING_REPEATS = 4096, 5
BINS = 20


def build_profile(
    *,
    model: str,
    version: str,
    digest: str,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    specs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
    bins: int = BINS,
    labels: Array | None = None,
    created: str = "",
) -> Profile:
    """A profile of rows that a model was asked and answered.

    Args:
        model: Its name.
        version: Its version.
        digest: Of what was parsed.
        inputs: By name; first axes count rows. What is left out is not watched.
        outputs: Likewise.
        specs: Inputs and outputs as the model says them.
        bins: For numbers, at the quantiles of these rows; fewer where values repeat.
        labels: The right class of each row, for an estimate of the accuracy; needs an output of probabilities.
        created: When, in ISO 8601.

    Raises:
        ConfigError: There are no rows, or labels that fit no output.
    """
    tensors = []
    for role, arrays, described in (("input", inputs, specs[0]), ("output", outputs, specs[1])):
        for spec in described:
            if spec.name in arrays:
                tensor = _tensor(spec, role, np.asarray(arrays[spec.name]), bins)
                tensors += [] if tensor is None else [tensor]
    rows = max((feature.n + feature.nonfinite for tensor in tensors for feature in tensor.features), default=0)
    if rows == 0:
        raise ConfigError("there are no rows to make a profile of", field="data", value=0)
    confidence = None if labels is None else _confidence(tensors, outputs, labels)
    return Profile(
        model=model,
        version=version,
        digest=digest,
        created=created,
        rows=rows,
        tensors=tuple(tensors),
        confidence=confidence,
    )


def _tensor(spec: TensorSpec, role: str, array: Array, bins: int) -> TensorProfile | None:
    is_input = role == "input"
    kind = kind_of(spec.dtype, spec.shape, is_input=is_input, probabilities=not is_input and _are_shares(array))
    if kind is None or array.ndim == 0 or array.size == 0:
        return None
    centroid: tuple[float, ...] = ()
    if kind == "embedding":
        vectors = array.reshape(-1, array.shape[-1]).astype(np.float64)
        finite = vectors[np.isfinite(vectors).all(axis=1)]
        centroid = tuple((finite.mean(axis=0) if len(finite) else np.zeros(array.shape[-1])).tolist())
    empty = TensorProfile(name=spec.name, role=role, dtype=spec.dtype, shape=spec.shape, kind=kind, centroid=centroid)
    numbers = numbers_of(empty, array)
    names = names_of(kind, spec.shape)
    features = []
    for column, name in enumerate(names):
        values = numbers[:, column]
        if kind == "text" and not name.endswith("@length"):
            feature = _strings(name, values, array.reshape(len(array), -1)[:, column // 2])
        elif _has_levels(kind, name, spec.dtype, values):
            feature = _categories(name, values, None)
        else:
            feature = _numeric(name, values, bins)
        features += [] if feature is None else [feature]
    return TensorProfile(
        name=spec.name,
        role=role,
        dtype=spec.dtype,
        shape=spec.shape,
        kind=kind,
        centroid=centroid,
        features=tuple(features),
    )


def _are_shares(array: Array) -> bool:
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind != "f" or not len(array):
        return False
    wide = array.astype(np.float64)
    return bool((wide >= 0).all() and (wide <= 1.0001).all() and (abs(wide.sum(axis=1) - 1) < 1e-3).all())


def _has_levels(kind: Kind, name: str, dtype: str, values: Array) -> bool:
    if name in ("@class", "@token"):
        return True
    return kind == "columns" and not dtype.startswith(("float", "bfloat")) and len(np.unique(values)) <= MOST_LEVELS


def _numeric(path: str, values: Array, bins: int) -> FeatureProfile:
    finite = values[np.isfinite(values)]
    edges = np.zeros(0)
    if len(finite) and finite.min() == finite.max():
        edges = np.array([np.nextafter(finite[0], -np.inf), finite[0]])  # below, at and above the constant
    elif len(finite):
        edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1]))
        if edges[-1] == finite.max():  # most values are the greatest: nothing is above it yet
            edges = np.concatenate([edges[:-1], [np.nextafter(edges[-1], -np.inf), edges[-1]]])
            edges = np.unique(edges)
    made = FeatureProfile(path=path, kind="numeric", edges=tuple(edges.tolist()), counts=(0,) * (len(edges) + 1))
    return _counted(made, counts_of_values(made, values))


def _categories(path: str, values: Array, names: Mapping[float, str] | None) -> FeatureProfile:
    finite = values[np.isfinite(values)]
    levels, counts = np.unique(finite, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    ranked: list[Category] = [names[levels[i]] if names else int(levels[i]) for i in order]
    numbers = [int(counts[i]) for i in order]
    top, tail = numbers[:MOST_CATEGORIES], numbers[MOST_CATEGORIES:]
    return FeatureProfile(
        path=path,
        kind="categorical",
        categories=tuple(ranked[:MOST_CATEGORIES]),
        tail=tuple(ranked[MOST_CATEGORIES:]),
        counts=tuple(top + ([sum(tail)] if tail else [])),
        nan=int(np.isnan(values).sum()),
    )


def _strings(path: str, hashes: Array, strings: Array) -> FeatureProfile | None:
    levels, where = np.unique(hashes, return_index=True)
    if len(levels) > MOST_STRINGS or len(levels) * STRING_REPEATS > len(hashes):
        return None
    names = {float(level): text_of(strings[index]) for level, index in zip(levels, where, strict=True)}
    return _categories(path, hashes, names)


def _counted(feature: FeatureProfile, counts: Counts) -> FeatureProfile:
    return FeatureProfile(
        path=feature.path,
        kind=feature.kind,
        edges=feature.edges,
        counts=tuple(counts.bins.tolist()),
        nan=counts.nan,
        pos_inf=counts.pos_inf,
        neg_inf=counts.neg_inf,
        moments=counts.moments,
    )


def _confidence(tensors: Sequence[TensorProfile], outputs: Mapping[str, Array], labels: Array) -> Confidence:
    name = next((tensor.name for tensor in tensors if tensor.kind == "classes"), None)
    if name is None:
        raise ConfigError("labels need an output whose rows are probabilities; there is none", field="labels")
    probabilities, labels = np.asarray(outputs[name], np.float64), np.asarray(labels).reshape(-1)
    if len(labels) != len(probabilities) or labels.dtype.kind not in "iub":
        rule = f"labels must be {len(probabilities)} whole numbers, one for each row"
        raise ConfigError(f"{rule}, got {labels.dtype} {labels.shape}", field="labels", value=labels.shape)
    confidence = np.sort(probabilities.max(axis=1))
    wrong = int((probabilities.argmax(axis=1) != labels).sum())
    threshold = confidence[wrong] if wrong < len(confidence) else np.nextafter(confidence[-1], 2)
    return Confidence(tensor=name, threshold=float(threshold), accuracy=1 - wrong / len(confidence), n=len(confidence))
