# SPDX-License-Identifier: Apache-2.0
"""The soak's judge: what it must refuse, and what it must not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soak_judge as judge

MIB = judge.MIB


def samples(
    *, seconds: int = 60, leak: float = 0.0, fds: float = 0.0, threads: float = 0.0, slower: float = 1.0
) -> list[judge.Sample]:
    """A noisy process of 200 MiB: what it leaks per second, and how much a submission slows down in all."""
    random = np.random.default_rng(5)
    return [
        judge.Sample(
            time=float(now),
            # One sample in ten stands far out, as a load in progress makes it.
            memory=200 * MIB + leak * now + random.normal(0, 0.3 * MIB) + (30 * MIB if now % 10 == 3 else 0),
            descriptors=17 + int(fds * now),
            threads=9 + int(threads * now),
            submit_median=5e-6 * (1 + (slower - 1) * now / seconds) * random.lognormal(0, 0.1),
            submit_p99=5e-5,
        )
        for now in range(seconds)
    ]


def missed(found: list[judge.Criterion]) -> set[str]:
    """The names of what does not hold."""
    return {each.name for each in found if not each.holds}


def test_a_flat_noisy_series_holds() -> None:
    """Noise and single wild samples are no growth."""
    assert missed(judge.growth(samples())) == set()
    assert missed(judge.growth(samples(seconds=600))) == set()


@pytest.mark.parametrize(("seconds", "leak"), [(60, 0.1 * MIB), (600, 0.02 * MIB)])
def test_a_leak_is_refused(seconds: int, leak: float) -> None:
    """6 MiB per minute for one minute, or 1.2 for ten, is growth in the same noise."""
    assert missed(judge.growth(samples(seconds=seconds, leak=leak))) == {"memory growth"}


def test_shrinking_memory_holds() -> None:
    """Memory given back is no growth."""
    assert missed(judge.growth(samples(leak=-0.2 * MIB))) == set()


def test_one_more_descriptor_or_thread_is_refused() -> None:
    """What is counted exactly must not be more at the end, not by one."""
    assert missed(judge.growth(samples(fds=1 / 50))) == {"descriptors growth"}
    assert missed(judge.growth(samples(threads=1 / 50))) == {"threads growth"}


def test_a_cost_that_grows_is_refused() -> None:
    """A submission that ends up four times as dear is refused; half as dear again only where noise is enforced."""
    assert "submit cost, last over first quarter" in missed(judge.growth(samples(slower=4.0)))
    found = judge.growth(samples(slower=1.6))
    assert missed(found) == {"submit cost on a quiet machine"}
    assert judge.exit_status(found, enforce=False) == 0
    assert judge.exit_status(found, enforce=True) == 1


def test_too_few_samples_prove_nothing() -> None:
    """A run that was not sampled fails instead of passing for lack of growth."""
    assert judge.exit_status(judge.growth(samples(seconds=11)), enforce=False) == 1
    assert judge.exit_status(judge.growth([]), enforce=False) == 1


def beats(scale: float, count: int = 5000) -> judge.Histogram:
    """How late a heart woke: around half a millisecond times `scale`."""
    histogram = judge.Histogram()
    for value in np.random.default_rng(1).lognormal(math.log(5e-4 * scale), 0.5, count):
        histogram.add(float(value))
    return histogram


def test_a_heartbeat_that_is_held_up_is_refused() -> None:
    """p99 twice the control's misses the bar; 1.2 times holds; nothing measured misses too."""
    assert not judge.heartbeat(beats(2.0), beats(1.0)).holds
    assert judge.heartbeat(beats(1.2), beats(1.0)).holds
    assert not judge.heartbeat(judge.Histogram(), beats(1.0)).holds
    assert not judge.heartbeat(beats(1.0), judge.Histogram()).holds


def test_the_heartbeat_is_judged_by_its_tail() -> None:
    """Two in a hundred beats that wait 100 ms are refused though the median does not move."""
    served = beats(1.0)
    for _ in range(served.total // 50):
        served.add(0.1)
    assert served.percentile(0.5) == beats(1.0).percentile(0.5)
    assert not judge.heartbeat(served, beats(1.0)).holds


def test_percentiles_are_those_of_the_values() -> None:
    """Within one bucket of what NumPy says, at both ends too."""
    values = np.random.default_rng(2).lognormal(math.log(1e-3), 1.0, 20000)
    histogram = judge.Histogram(least=1e-6, most=10.0)
    for value in values:
        histogram.add(float(value))
    for share in (0.01, 0.5, 0.9, 0.99):
        exact = float(np.quantile(values, share))
        assert exact * 0.99 <= histogram.percentile(share) <= exact * 10 ** (1.01 / histogram.per_decade)
    assert histogram.total == sum(histogram.counts) == 20000


def test_values_outside_the_edges_are_counted() -> None:
    """Nothing is dropped: too small in the first bucket, too great in the last, and both show in the bars."""
    histogram = judge.Histogram(least=1e-3, most=1.0)
    histogram.add(0.0)
    histogram.add(1e6)
    assert (histogram.counts[0], histogram.counts[-1]) == (1, 1)
    assert len(histogram.bars()) == math.ceil(len(histogram.counts) / 2)


def test_theil_sen_is_the_slope_in_spite_of_outliers() -> None:
    """A quarter of wild values does not move it."""
    times = list(range(100))
    values = [3.0 * t + (1e6 if t % 4 == 0 else 0) for t in times]
    assert judge.theil_sen(times, values) == pytest.approx(3.0)
    assert judge.theil_sen([1.0], [5.0]) == 0.0


def test_what_was_accepted_must_have_ended() -> None:
    """One request lost, counted twice or still in flight is seen."""
    good = {"accepted": 5, "ended": {"OK": 3, "CANCELLED": 2}, "in_flight": 0}
    assert missed(judge.conservation([good])) == set()
    assert missed(judge.conservation([good, good | {"accepted": 6}])) == {"accepted and not ended"}
    assert missed(judge.conservation([good | {"accepted": 4}])) == {"accepted and not ended"}
    assert missed(judge.conservation([good | {"in_flight": 1}])) == {"in flight at rest"}
    # One model's loss and another's surplus do not make up for each other.
    assert missed(judge.conservation([good | {"accepted": 4}, good | {"accepted": 6}])) == {"accepted and not ended"}
