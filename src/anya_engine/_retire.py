# SPDX-License-Identifier: Apache-2.0
"""The end of a model that others have just taken the place of."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from ._log import Log
from ._records import facts

if TYPE_CHECKING:
    from . import _core

__all__ = ["retire", "retire_later"]

_log = Log("anya_engine")

#: Seconds in which those who found the model before it left the tables can still come to it.
PATIENCE = 1.0


def retire(models: list[_core.Model], patience: float = PATIENCE, what: str = "unloaded") -> None:
    """Unload models that are in no table any more, once nobody is on the way to them. Blocks without the GIL.

    A request reads the table and then asks the model: between the two, and until a coroutine is awaited, it holds a
    reference, and closing the model would refuse it. So the last reference is waited for; but not for long, since
    somebody may also keep a `Future` that has ended long ago.
    """
    probe = object()
    alone = sys.getrefcount(probe)  # of what only one name holds: interpreters count that differently
    nobody = threading.Event()
    waited, pause = 0.0, 0.0005
    while models:
        model = models.pop()
        while sys.getrefcount(model) > alone and waited < patience:
            nobody.wait(pause)
            waited, pause = waited + pause, min(2 * pause, 0.02)
        model.unload()
        named = {"model": model.name, "version": model.version}
        _log.info("%s model=%s version=%s", what, *named.values(), extra=facts(what, **named))


def retire_later(model: _core.Model, what: str) -> None:
    """The same on a thread of its own, for those who must not wait; it is told apart from a version by `what`."""
    threading.Thread(target=retire, args=([model], PATIENCE, what), name="anya-unload", daemon=True).start()
