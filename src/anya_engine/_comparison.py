# SPDX-License-Identifier: Apache-2.0
"""Two versions held against each other before one takes over from the other: what they take and give, and answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from . import _core
from ._info import ShadowReport, TensorSpec
from ._model_table import ModelTable
from ._recorded import read_recorded
from ._shadow import Mirror, compare_outputs, counted
from .errors import AnyaError, ConfigError
from .strategies import BlueGreen

__all__ = ["compare", "refuse_other_schema"]

_log = logging.getLogger("anya_engine")


def compare(
    table: ModelTable,
    name: str,
    new: _core.Model,
    policy: BlueGreen,
    callbacks: Callable[[], _core.CallbackQueue],
    waits: set[threading.Event],
) -> str:
    """Answer as many requests as the policy says by both versions; return what was found, in words.

    Blocks until there are enough, at most `compare_timeout`, or until somebody sets what it put into `waits`.

    Raises:
        ConfigError: An answer differs, the new version fails, or there were not enough requests.
    """
    old = table.stable(name)
    path = table.requests(name)
    recorded = [] if path is None else read_recorded(path)[: policy.compare]
    score = (
        _by_recorded(old, new, recorded, policy) if recorded else _by_live(table, name, new, policy, callbacks, waits)
    )
    kind = "recorded" if recorded else "live"
    found = f"{score.compared} {kind} requests compared, {score.agreed} agree, {score.failed} failed {score.last_error}"
    if score.failed or score.agreed < score.compared:
        raise ConfigError(
            f"version '{new.version}' of model '{name}' does not answer as '{old.version}' does: {found.rstrip()}; "
            f"largest difference {score.max_abs_difference:.3g}, relative {score.max_rel_difference:.3g}; "
            f"allowed are atol={policy.atol:g}, rtol={policy.rtol:g}",
            field="compare",
            limit=policy.atol,
            value=score.max_abs_difference,
        )
    if score.compared == 0 or (not recorded and score.compared < policy.compare):
        raise ConfigError(
            f"only {score.compared} of {policy.compare} requests of model '{name}' came within "
            f"{policy.compare_timeout:g} s; record some (Engine.record), or compare fewer",
            field="compare",
            limit=policy.compare,
            value=score.compared,
        )
    return found.rstrip()


def refuse_other_schema(name: str, old: _core.Model, new: _core.Model) -> None:
    """Refuse a version whose inputs or outputs are others."""
    before, after = old.info(), new.info()
    for field in ("inputs", "outputs"):
        ours, theirs = _shown(before[field]), _shown(after[field])
        if ours != theirs:
            raise ConfigError(
                f"version '{new.version}' of model '{name}' has other {field} than version '{old.version}', which "
                f"serves: {theirs} instead of {ours}; allow_schema_change=True deploys it all the same",
                field="version",
                limit=ours,
                value=theirs,
            )


def _by_recorded(
    old: _core.Model, new: _core.Model, requests: list[dict[str, object]], policy: BlueGreen
) -> ShadowReport:
    score = ShadowReport()
    for inputs in requests:
        before = old.rehearse(inputs)
        try:
            after = new.rehearse(inputs)
        except AnyaError as error:
            return ShadowReport(compared=score.compared, agreed=score.agreed, failed=1, last_error=error.code)
        score = counted(score, compare_outputs(before, after, policy.rtol, policy.atol))
    return score


def _by_live(
    table: ModelTable,
    name: str,
    new: _core.Model,
    policy: BlueGreen,
    callbacks: Callable[[], _core.CallbackQueue],
    waits: set[threading.Event],
) -> ShadowReport:
    enough = threading.Event()
    waits.add(enough)

    def settled(score: ShadowReport) -> None:
        if score.failed or score.compared > score.agreed or score.compared >= policy.compare:
            enough.set()

    mirror = Mirror(new, callbacks, lambda: 0.0, share=1.0, rtol=policy.rtol, atol=policy.atol, settled=settled)
    table.tap(name, mirror)
    try:
        _log.info(
            "rollout model=%s version=%s waits for %d requests to compare, at most %g s",
            *(name, new.version, policy.compare, policy.compare_timeout),
        )
        enough.wait(policy.compare_timeout)
    finally:
        waits.discard(enough)
        table.tap(name, None)
    return mirror.report()


def _shown(specs: Any) -> str:
    made = (TensorSpec(name=name, dtype=dtype, shape=shape) for name, dtype, shape in specs)
    # What a free size is called says nothing.
    return ", ".join(
        f"{each.name}: {each.dtype}[{', '.join(str(size) if isinstance(size, int) else '?' for size in each.shape)}]"
        for each in sorted(made, key=lambda spec: spec.name)
    )
