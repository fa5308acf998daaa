# SPDX-License-Identifier: Apache-2.0
"""A rollout as bytes, as the processes of a group hand it to each other. Pure."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from . import _checks as check
from .errors import ConfigError
from .strategies import BlueGreen, Canary, Shadow, Strategy

__all__ = ["Record", "SavedEvent", "SavedRollout", "State", "decode", "encode"]

State: TypeAlias = Literal["progressing", "paused", "promoted", "rolled_back"]

_MAGIC = b"anya-rollout 1"
_STRATEGIES: dict[str, type[Strategy]] = {"blue-green": BlueGreen, "canary": Canary, "shadow": Shadow}
#: Of one rollout, at most.
_MOST_EVENTS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class SavedEvent:
    """One change: when (seconds since the epoch), which, why, and the versions' shares from then on in percent."""

    time: float
    move: str
    why: str
    weights: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SavedRollout:
    """Where a rollout stands. Times are those of the machine's one steady clock.

    Attributes:
        strategy: How the new version takes over.
        old: The version before.
        new: The version that takes over.
        digests: What either was made of, by version, when the rollout began.
        state: What it is doing.
        why: The reason, in words.
        loser: The version to unload, and when; None while nothing is decided, and once it has been unloaded.
        events: What happened, oldest first.
        canary: Of a canary: what its judge holds. Checked by who takes it over.
    """

    strategy: Strategy
    old: str
    new: str
    digests: Mapping[str, str]
    state: State
    why: str
    loser: tuple[str, float] | None
    events: tuple[SavedEvent, ...]
    canary: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a group knows of one model: how many rollouts there were, and the latest; None: it is history."""

    generation: int
    rollout: SavedRollout | None


def encode(record: Record) -> bytes:
    """The record as bytes: a line with length and CRC-32, then JSON."""
    rollout = record.rollout
    values: dict[str, Any] = {"generation": record.generation, "rollout": None}
    if rollout is not None:
        values["rollout"] = {field.name: getattr(rollout, field.name) for field in dataclasses.fields(rollout)}
        values["rollout"] |= {
            "kind": _kind(rollout.strategy),
            "strategy": dataclasses.asdict(rollout.strategy),
            "events": [dataclasses.asdict(event) for event in rollout.events],
        }
    body = json.dumps(values, allow_nan=False, separators=(",", ":")).encode()
    return b"%s %d %08x\n%s" % (_MAGIC, len(body), zlib.crc32(body), body)


def decode(content: bytes) -> Record:
    """The record that these bytes are. Raises ConfigError for any others."""
    head, _, body = content.partition(b"\n")
    if head != b"%s %d %08x" % (_MAGIC, len(body), zlib.crc32(body)):
        raise ConfigError("it is cut short, was changed, or is of another version of this library")
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"no JSON: {error}") from error
    generation = check.integer("generation", check.member(values, "generation"), 0, 1 << 62)
    rollout = check.member(values, "rollout")
    return Record(generation, None if rollout is None else _rollout(rollout))


def _rollout(values: object) -> SavedRollout:
    kind = check.choice("kind", check.member(values, "kind"), tuple(_STRATEGIES))
    strategy = _STRATEGIES[kind].from_dict(check.member(values, "strategy"))
    old = check.name("old", check.member(values, "old"))
    new = check.name("new", check.member(values, "new"))
    digests = check.member(values, "digests")
    loser = check.member(values, "loser")
    canary = check.member(values, "canary")
    if (canary is not None) != isinstance(strategy, Canary):
        check.refuse("canary", f"does not belong to a {kind} rollout, or is missing", canary)
    return SavedRollout(
        strategy=strategy,
        old=old,
        new=new,
        digests={version: check.text("digests", check.member(digests, version)) for version in (old, new)},
        state=check.choice("state", check.member(values, "state"), get_args(State)),  # type: ignore[arg-type]
        why=check.text("why", check.member(values, "why")),
        loser=None if loser is None else _loser(loser, (old, new)),
        events=tuple(map(_event, check.items("events", check.member(values, "events"))[-_MOST_EVENTS:])),
        canary=canary,
    )


def _loser(value: object, versions: tuple[str, str]) -> tuple[str, float]:
    ((version, when),) = check.pairs("loser", [value])
    return check.choice("loser", version, versions), check.number("loser", when, -1e18, 1e18)


def _event(values: object) -> SavedEvent:
    weights = check.member(values, "weights")
    check.mapping("weights", weights)
    return SavedEvent(
        time=check.number("time", check.member(values, "time"), -1e18, 1e18),
        move=check.text("move", check.member(values, "move")),
        why=check.text("why", check.member(values, "why")),
        weights={version: check.number("weights", share, 0, 100) for version, share in weights.items()},
    )


def _kind(strategy: Strategy) -> str:
    return next(kind for kind, cls in _STRATEGIES.items() if isinstance(strategy, cls))
