# SPDX-License-Identifier: Apache-2.0
"""For a service's own tests: make a model fail, and see what the service does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import _checks as check
from .errors import (
    AnyaError,
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    ExecutionError,
    ModelOutputInvalid,
    OutOfMemory,
    Overloaded,
    Unavailable,
)

if TYPE_CHECKING:
    from ._engine import Engine

__all__ = ["inject"]

#: What a run may be made to end with.
_POSSIBLE = (
    *(ExecutionError, ModelOutputInvalid, OutOfMemory),
    *(Unavailable, Overloaded, DeadlineExceeded, Cancelled),
)


@contextmanager
def inject(
    engine: Engine,
    name: str,
    *,
    error: type[AnyaError] | None = None,
    delay: float = 0.0,
    rate: float = 1.0,
    device_lost: bool = False,
    version: str | None = None,
) -> Iterator[None]:
    """Inside, requests to a model fail, or take longer: in the core, where real runs fail.

    What fails is retried, counted, handed on and answered as if the model had failed by itself. Which requests it
    befalls follows from their numbers, so company makes no difference: a run fails when one of its requests is
    befallen, and its halves find out which. Costs nothing when not in use. Thread-safe.

    Args:
        engine: The engine.
        name: The model; every version of it that is loaded now.
        error: Class of the error that the run ends with instead of an answer: `ExecutionError`, `ModelOutputInvalid`,
            `OutOfMemory`, `Unavailable`, `Overloaded`, `DeadlineExceeded` or `Cancelled`; None: it goes on.
        delay: Seconds before the run; the thread sleeps.
        rate: Share of the requests, 0 to 1.
        device_lost: The error is that of a device which this process cannot use any more: the version is marked as
            failed, for good, and opened again in the background. `error` must be `ExecutionError` or None.
        version: One version alone.

    Raises:
        ModelNotFound: No such model or version.
        ConfigError: An argument is wrong, or something is injected into the version already.
    """
    if device_lost:
        error = error or ExecutionError
    if error is not None and error not in (_POSSIBLE if not device_lost else (ExecutionError,)):
        names = ", ".join(each.__name__ for each in _POSSIBLE)
        check.refuse("error", f"must be a class that a run can end with: {names}", error)
    delay = check.number("delay", delay, 0.0, 3600.0)
    rate = check.number("rate", rate, 0.0, 1.0)
    table = engine._models
    if version is None:
        table.stable(name)
    models = [table.model(name, each) for of, each in table.loaded if of == name and version in (None, each)]
    if not models:
        table.not_found(name, version)
    for index, model in enumerate(models):
        if not model.inject(None if error is None else error.code, delay, rate, device_lost):
            for done in models[:index]:
                done.inject_nothing()
            raise ConfigError(f"something is injected into '{name}:{model.version}' already", field="name", value=name)
    if device_lost:
        engine._repairs.begin()
    try:
        yield
    finally:
        for model in models:
            model.inject_nothing()
