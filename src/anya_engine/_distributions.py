# SPDX-License-Identifier: Apache-2.0
"""Tails of the three distributions that drift is judged by, to twelve digits. Pure; numbers only."""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = ["chi2_quantile", "chi2_tail", "hypergeometric_tail", "kolmogorov_tail"]

_TINY = 1e-300


def chi2_tail(x: float, df: int) -> float:
    """P(chi-squared with `df` degrees of freedom > x): the upper regularised gamma function of df/2 and x/2.

    By its series where x is small and by its continued fraction (Lentz) elsewhere: Abramowitz & Stegun 6.5.29, 6.5.31.
    """
    if df < 1 or x <= 0:
        return 1.0
    if math.isinf(x):
        return 0.0
    a, z = df / 2, x / 2
    scale = math.exp(a * math.log(z) - z - math.lgamma(a))
    if z < a + 1:
        term = total = 1 / a
        n = a
        while term > total * 1e-17:
            n += 1
            term *= z / n
            total += term
        return 1.0 - total * scale
    b = z + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for i in range(1, 10_000):
        numerator = -i * (i - a)
        b += 2
        d = 1 / _away_from_zero(numerator * d + b)
        c = _away_from_zero(b + numerator / c)
        step = c * d
        fraction *= step
        if abs(step - 1) < 1e-16:
            break
    return scale * fraction


@lru_cache(maxsize=4096)
def chi2_quantile(tail: float, df: int) -> float:
    """The x that a chi-squared with `df` degrees of freedom exceeds with probability `tail`; by halving."""
    if df < 1 or tail >= 1:
        return 0.0
    low, high = 0.0, float(df) + 1.0
    while chi2_tail(high, df) > tail:
        low, high = high, high * 2
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if chi2_tail(middle, df) > tail else (low, middle)
    return (low + high) / 2


def kolmogorov_tail(x: float) -> float:
    """P(Kolmogorov's limit > x): what sqrt(nm/(n+m)) * KS exceeds by chance. Both series are Kolmogorov's."""
    if x <= 0:
        return 1.0
    if x < 1:  # the theta-transformed one, which converges at once where the other does not
        terms = (math.exp(-(((2 * k - 1) * math.pi / x) ** 2) / 8) for k in range(1, 8))
        return 1.0 - math.sqrt(2 * math.pi) / x * sum(terms)
    return 2 * sum(math.copysign(math.exp(-2 * (k * x) ** 2), k % 2 - 0.5) for k in range(1, 8))


def hypergeometric_tail(hits: int, draws: int, all_hits: int, everything: int) -> float:
    """P(at least `hits` of `draws` are among `all_hits` of `everything`): Fisher's exact test, one-sided."""
    most = min(draws, all_hits)
    if hits <= max(0, draws + all_hits - everything):
        return 1.0

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    first = log_choose(all_hits, hits) + log_choose(everything - all_hits, draws - hits) - log_choose(everything, draws)
    term, total = 1.0, 1.0
    for k in range(hits, most):  # each term from the one before: P(k + 1) / P(k)
        term *= (all_hits - k) * (draws - k) / ((k + 1) * (everything - all_hits - draws + k + 1))
        total += term
        if term < total * 1e-17:
            break
    return min(1.0, math.exp(first) * total)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
