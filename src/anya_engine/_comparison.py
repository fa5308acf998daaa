# SPDX-License-Identifier: Apache-2.0
"""Two versions held against each other before one takes over from the other: what they take and give, and answers."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from . import _core
from ._info import RolloutStatus, ShadowReport, TensorSpec
from ._log import Log
from ._model_table import ModelTable
from ._recorded import read_recorded
from ._shadow import Mirror, compare_outputs, counted
from .errors import AnyaError, ConfigError
from .strategies import BlueGreen

__all__ = ["Comparison", "refuse_other_schema"]

_log = Log("anya_engine")


class Comparison:
    """One switch that waits until both versions have answered enough requests alike. Thread-safe.

    Attributes:
        new: The version that is to take over.
    """

    def __init__(
        self,
        table: ModelTable,
        name: str,
        new: _core.Model,
        policy: BlueGreen,
        callbacks: Callable[[], _core.CallbackQueue],
    ) -> None:
        self.new = new
        self._table, self._name, self._policy, self._callbacks = table, name, policy, callbacks
        self._kind = "live"
        self._recorded = ShadowReport()
        self._mirror: Mirror | None = None
        self._over = threading.Event()

    def end(self) -> None:
        """Let `run` wait no longer."""
        self._over.set()

    def run(self) -> str:
        """Answer as many requests as the policy says by both versions; return what was found, in words.

        Blocks until there are enough, at most `compare_timeout`, or until `end`.

        Raises:
            ConfigError: An answer differs, the new version fails, or there were not enough requests.
        """
        name, new, policy = self._name, self.new, self._policy
        old = self._table.stable(name)
        path = self._table.requests(name)
        recorded = [] if path is None else read_recorded(path)[: policy.compare]
        if recorded:
            self._kind = "recorded"
            self._by_recorded(old, recorded)
        else:
            self._by_live()
        score, found = self._score(), self._found()
        if score.failed or score.agreed < score.compared:
            raise ConfigError(
                f"version '{new.version}' of model '{name}' does not answer as '{old.version}' does: {found}; "
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
        return found

    def shown(self, status: RolloutStatus) -> RolloutStatus:
        """The status of the name, as long as this goes on."""
        why = (
            f"deploy(compare={self._policy.compare}) has not switched yet: {self._found()}, "
            f"for {self._policy.compare_timeout:g} s at most"
        )
        return RolloutStatus(
            name=self._name,
            state="progressing",
            strategy="blue-green",
            stable=status.stable,
            candidate=self.new.version,
            weights=status.weights,
            why=why,
            shadow=self._score(),
            rollback_to=status.rollback_to,
            events=status.events,
        )

    def _score(self) -> ShadowReport:
        return self._recorded if self._mirror is None else self._mirror.report()

    def _found(self) -> str:
        score = self._score()
        counts = f"{score.compared} {self._kind} requests compared, {score.agreed} agree, {score.failed} failed"
        return f"{counts} {score.last_error}".rstrip()

    def _by_recorded(self, old: _core.Model, requests: list[dict[str, object]]) -> None:
        score = ShadowReport()
        for inputs in requests:
            before = old.rehearse(inputs)
            try:
                after = self.new.rehearse(inputs)
            except AnyaError as error:
                score = dataclasses.replace(score, failed=1, last_error=error.code)
            else:
                score = counted(score, compare_outputs(before, after, self._policy.rtol, self._policy.atol))
            self._recorded = score
            if score.failed:
                return

    def _by_live(self) -> None:
        policy = self._policy

        def settled(score: ShadowReport) -> None:
            if score.failed or score.compared > score.agreed or score.compared >= policy.compare:
                self.end()

        tolerance = {"rtol": policy.rtol, "atol": policy.atol}
        mirror = Mirror(self.new, self._callbacks, lambda: 0.0, share=1.0, settled=settled, **tolerance)
        self._mirror = mirror
        self._table.tap(self._name, mirror)
        try:
            _log.info(
                "rollout model=%s version=%s waits for %d requests to compare, at most %g s",
                *(self._name, self.new.version, policy.compare, policy.compare_timeout),
            )
            self._over.wait(policy.compare_timeout)
        finally:
            self._table.tap(self._name, None)


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


def _shown(specs: Any) -> str:
    made = (TensorSpec(name=name, dtype=dtype, shape=shape) for name, dtype, shape in specs)
    # What a free size is called says nothing.
    return ", ".join(
        f"{each.name}: {each.dtype}[{', '.join(str(size) if isinstance(size, int) else '?' for size in each.shape)}]"
        for each in sorted(made, key=lambda spec: spec.name)
    )
