# SPDX-License-Identifier: Apache-2.0
"""How far two binned distributions are apart. Pure functions of counts.

`reference` and `current` are counts of the same bins, shape [..., B]: everything but the last axis is features that are
compared at once. Bins are always the reference's: edges made from both pooled would hide what lies outside (one value
of 1e6 among 3 000 turns a PSI of 0.08 into 0.0003).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

__all__ = ["chi2", "hellinger", "js_distance", "ks_distance", "l_infinity", "psi", "wasserstein"]

Array: TypeAlias = np.ndarray[Any, Any]


def _shares(counts: Array) -> Array:
    counts = np.asarray(counts, np.float64)
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1.0))


def psi(reference: Array, current: Array, *, eps: float | None = None) -> Array:
    """Population stability index: the sum of (q - p) ln(q / p).

    Args:
        reference: Counts [..., B].
        current: Counts [..., B].
        eps: None: shares are smoothed by Jeffreys, (count + 1/2) / (n + B/2), which keeps the false alarms of sparse
            bins at their nominal rate. A number: what an empty bin's share counts as, without renormalising;
            Evidently's convention is 1e-4.
    """
    if eps is None:
        bins = np.shape(reference)[-1]
        a, b = np.asarray(reference, np.float64), np.asarray(current, np.float64)
        p = (a + 0.5) / (a.sum(axis=-1, keepdims=True) + 0.5 * bins)
        q = (b + 0.5) / (b.sum(axis=-1, keepdims=True) + 0.5 * bins)
    else:
        p, q = _shares(reference), _shares(current)
        p, q = np.where(p == 0, eps, p), np.where(q == 0, eps, q)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def js_distance(reference: Array, current: Array) -> Array:
    """Jensen-Shannon distance with logarithms to base 2, so within [0, 1]; scipy's `jensenshannon(p, q, 2)`."""
    p, q = _shares(reference), _shares(current)
    middle = (p + q) / 2

    def relative(x: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(x > 0, x * np.log2(x / middle), 0.0)

    divergence = (relative(p).sum(axis=-1) + relative(q).sum(axis=-1)) / 2
    return np.asarray(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def ks_distance(reference: Array, current: Array) -> Array:
    """Greatest difference of the cumulative shares at the edges; at most the Kolmogorov-Smirnov D of the values."""
    return np.asarray(np.abs(np.cumsum(_shares(reference) - _shares(current), axis=-1)).max(axis=-1))


def l_infinity(reference: Array, current: Array) -> Array:
    """Greatest difference of the shares of one bin."""
    return np.asarray(np.abs(_shares(reference) - _shares(current)).max(axis=-1))


def hellinger(reference: Array, current: Array) -> Array:
    """Hellinger distance, within [0, 1]."""
    p, q = _shares(reference), _shares(current)
    return np.asarray(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=-1) / 2))


def wasserstein(reference: Array, current: Array, edges: Array, low: Array, high: Array, scale: Array) -> Array:
    """Earth mover's distance, in reference standard deviations, with what a bin holds at the bin's middle.

    The outermost bins end at the least and the greatest value seen, so that what lies far outside counts for more.

    Args:
        reference: Counts [..., B].
        current: Counts [..., B].
        edges: [..., B - 1].
        low: Least value seen in either, [...].
        high: Greatest value seen in either, [...].
        scale: The reference's standard deviation, [...]; where it is 0 the distance is in the feature's own unit.
    """
    apart = np.abs(np.cumsum(_shares(reference) - _shares(current), axis=-1)[..., :-1])
    first = np.minimum(low, edges[..., 0])[..., None]
    last = np.maximum(high, edges[..., -1])[..., None]
    ends = np.concatenate([first, edges, last], axis=-1)
    middles = (ends[..., 1:] + ends[..., :-1]) / 2
    area = (apart * np.diff(middles, axis=-1)).sum(axis=-1)
    return np.asarray(area / np.where(scale > 0, scale, 1.0))


def chi2(reference: Array, current: Array) -> tuple[Array, Array, Array]:
    """Test of homogeneity of the two rows of counts, without Yates' correction; bins empty in both are left out.

    Returns:
        The statistic; its degrees of freedom, which may be 0; and whether more than a fifth of the cells expect less
        than 5, where its distribution is not to be trusted.
    """
    table = np.stack([np.asarray(reference, np.float64), np.asarray(current, np.float64)], axis=-2)
    columns = table.sum(axis=-2, keepdims=True)
    rows = table.sum(axis=-1, keepdims=True)
    expected = rows * columns / np.maximum(rows.sum(axis=-2, keepdims=True), 1.0)
    used = np.broadcast_to(columns > 0, table.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(used, (table - expected) ** 2 / expected, 0.0).sum(axis=(-2, -1))
    statistic = np.nan_to_num(statistic, nan=0.0, posinf=0.0)
    cells = used.sum(axis=(-2, -1))
    sparse = ((expected < 5) & used).sum(axis=(-2, -1)) > 0.2 * cells
    return statistic, np.maximum(cells // 2 - 1, 0), sparse
