# SPDX-License-Identifier: Apache-2.0
"""Which version answers a key while two share the traffic. Pure: the key's hash and chance are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Router", "Split", "salt_of"]


M = TypeVar("M")


class Router:
    """What serves a name in a version's place: it is asked like one, and picks who answers.

    What it is asked goes on as it is: inputs, outputs, timeout, priority, key, tenant; awaited, the door before them.
    """

    __slots__ = ()

    def pick(self, key: object) -> Any:
        """Return the version that answers a key."""
        raise NotImplementedError

    def infer(self, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any) -> Any:
        """Let the key's version answer."""
        return self.pick(key).infer(inputs, outputs, timeout, priority, key, tenant)

    def ask(self, door: Any, inputs: Any, outputs: Any, timeout: Any, priority: Any, key: Any, tenant: Any) -> Any:
        """Likewise, awaited."""
        return self.pick(key).ask(door, inputs, outputs, timeout, priority, key, tenant)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Split(Router, Generic[M]):
    """Two versions that share the keys. What one answers is decided by where the key lies in [0, 1).

    The new version has the bottom end and the control slice the top end, so that whoever is in one of them at 5 % is in
    it at 10 %.

    Attributes:
        stable: Answers the rest.
        canary: Answers keys below `share`.
        control: Answers as many keys at the other end; None: there is no such slice. The stable version once more.
        share: Of the keys, 0 to 1; with a control slice to 0.5.
        salt: Makes each rollout choose other keys.
        position: Where a key lies, for a salt: the core's hash.
        draw: Chance in [0, 1), for requests without a key.
    """

    stable: M
    canary: M
    control: M | None = None
    share: float
    salt: int
    position: Callable[[object, int], float]
    draw: Callable[[], float]

    def pick(self, key: object) -> M:
        """Return the version that answers a key."""
        at = self.draw() if key is None else self.position(key, self.salt)
        if at < self.share:
            return self.canary
        return self.stable if self.control is None or at < 1.0 - self.share else self.control

    def each(self, change: Callable[[M], M]) -> Split[M]:
        """Return the same split between others."""
        control = None if self.control is None else change(self.control)
        return dataclasses.replace(self, stable=change(self.stable), canary=change(self.canary), control=control)


def salt_of(name: str, version: str, number: int, hashed: Callable[[object, int], float]) -> int:
    """Return the salt of a rollout: another for each, the same in every process that takes part."""
    return int(hashed(f"{name}\0{version}\0{number}", 0x5A17) * (1 << 53))
