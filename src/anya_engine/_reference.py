# SPDX-License-Identifier: Apache-2.0
"""A reference captured from live traffic."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._info import TensorSpec
from ._log import Log
from ._model_table import ModelTable
from ._profile_build import build_profile
from ._reference_tap import ReferenceTap, Rows
from .drift import DriftConfig
from .errors import AnyaError
from .profile import Profile

__all__ = ["capture", "profile_of"]

_log = Log("anya_engine")


def capture(table: ModelTable, name: str, rows: int, path: str | PathLike[str] | None) -> None:
    """See `Engine.capture_reference`."""
    model = table.stable(name)
    info = model.info()
    entry = table.entries.get((name, model.version))
    config = (entry.config.drift if entry is not None else None) or DriftConfig()

    def complete(kept: list[Rows]) -> None:
        table.tap(name, None)
        try:
            profile = profile_of(model, kept)
            if path is not None:
                Path(path).write_text(profile.to_json(), encoding="utf-8")
            table.drift.watch(model, profile, config, "captured from live traffic")
            _log.info("drift model=%s version=%s: a reference of %d rows", name, model.version, profile.rows)
        except (AnyaError, OSError):
            _log.exception("drift model=%s version=%s: no reference", name, model.version)

    names = [[spec[0] for spec in info[side]] for side in ("inputs", "outputs")]
    table.tap(name, ReferenceTap(model.version, names[0], names[1], rows, complete))


def profile_of(model: _core.Model, kept: list[Rows], **more: Any) -> Profile:
    """A profile of requests; a tensor whose rows do not fit together in one array is left out."""
    info = model.info()
    arrays: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for side in (0, 1):
        for name in kept[0][side]:
            parts = [each[side][name] for each in kept]
            if all(part.ndim and part.shape[1:] == parts[0].shape[1:] for part in parts):
                arrays[side][name] = np.concatenate(parts)
    specs = tuple([TensorSpec(name=n, dtype=d, shape=s) for n, d, s in info[side]] for side in ("inputs", "outputs"))
    return build_profile(
        model=model.name,
        version=model.version,
        digest=info["digest"],
        inputs=arrays[0],
        outputs=arrays[1],
        specs=(specs[0], specs[1]),
        **more,
    )
