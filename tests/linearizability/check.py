# SPDX-License-Identifier: Apache-2.0
"""Is a recorded history of the queue one that a queue may have?

The four ways a history can fail (Henzinger, Sezgin, Vafeiadis: Aspect-oriented linearizability proofs, 2013) are each
looked for in O(n log n), which is enough since every value is pushed once:

- VFresh: a value is popped that was not pushed, or before its push began.
- VRepeat: a value is popped twice.
- VOrd: a was pushed before b's push began, and b was popped before a's pop began (or a never was).
- VWit: a pop says "empty" though some element was in the queue all the while.

An array queue of this kind keeps the first three and half of the fourth. A producer that has claimed a cell and not yet
filled it hides what later producers have filled behind it, so a pop may say "empty" meanwhile: with such a push under
way the fourth is no fault, and the queue's header says so. What is held is exactly the rest:

- VWit': a pop says "empty" though b was in the queue all the while, and no push that could stand before b (it began
  before b's push returned) was still under way when the pop began.
- VFull', the same on the other side: a push says "full" though no pop was under way and the queue cannot have held as
  many elements as its capacity.

Run as a program it records histories with the program given, and checks them: check.py PROGRAM.
"""

from __future__ import annotations

import subprocess
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

NEVER = sys.maxsize
#: What is recorded: seed, producers, consumers, elements each, capacity, kind of atomic.
RUNS = tuple(
    (str(seed), str(producers), str(consumers), "4000", str(capacity), kind)
    for seed, (producers, consumers, capacity) in enumerate([(2, 2, 2), (3, 3, 8), (1, 3, 4), (3, 1, 64), (4, 4, 2)])
    for kind in ("plain", "chaos")
)


class Operation(NamedTuple):
    """One line of a history; `name` is push, pop, full or empty."""

    thread: int
    name: str
    value: int
    called: int
    returned: int


def parse(lines: Iterable[str]) -> list[Operation]:
    """Return the operations of a recorded history."""
    rows = (line.split() for line in lines)
    return [Operation(int(row[0]), row[1], *map(int, row[2:])) for row in rows]


def faults(history: Sequence[Operation], capacity: int, *, strict: bool = False) -> list[str]:
    """Return what no queue of this capacity does, one sentence each; `strict` looks for VWit in place of VWit'."""
    found: list[str] = []
    pushes = sorted((each for each in history if each.name == "push"), key=lambda each: each.returned)
    pops = {each.value: each for each in history if each.name == "pop"}
    pushed = {each.value: each for each in pushes}
    if len(pops) < sum(each.name == "pop" for each in history):
        found.append("VRepeat: a value was popped twice")
    for value, pop in pops.items():
        if value not in pushed or pop.returned < pushed[value].called:
            found.append(f"VFresh: {value} was popped before it was pushed")
    if found or not pushes:
        return found  # the rest takes pairs for granted

    returns = [each.returned for each in pushes]
    # Of the pushes that returned first, the latest beginning of a pop.
    popped_at = list(accumulate((pops[each.value].called if each.value in pops else NEVER for each in pushes), max))
    for late in pushes:
        earlier = bisect_left(returns, late.called)  # those that returned before this one began
        if late.value in pops and earlier and popped_at[earlier - 1] > pops[late.value].returned:
            found.append(f"VOrd: {late.value} overtook a value that was pushed before it")

    begun = sorted(pushes, key=lambda each: each.called)
    begins = [each.called for each in begun]
    ends = list(accumulate((each.returned for each in begun), max))
    for empty in (each for each in history if each.name == "empty"):
        # The first push to return whose value nobody had begun to pop when this pop returned.
        witness = bisect_right(popped_at, empty.returned)
        if witness == len(pushes) or returns[witness] >= empty.called:
            continue
        could_hide = bisect_right(begins, returns[witness])  # itself among them
        if strict or ends[could_hide - 1] < empty.called:
            found.append(f"VWit: a pop found nothing while {pushes[witness].value} was there")

    pop_calls = sorted(each.called for each in pops.values())
    pop_returns = sorted(each.returned for each in pops.values())
    for full in (each for each in history if each.name == "full"):
        done = bisect_left(pop_returns, full.called)
        under_way = bisect_right(pop_calls, full.returned) - done
        if under_way == 0 and bisect_right(begins, full.returned) - done < capacity:
            found.append(f"VFull: there was room for {full.value}")
    return found


def main(program: str) -> int:
    """Record and check; return 0 when every history is a queue's."""
    wrong = 0
    for run in RUNS:
        done = subprocess.run([program, *run], capture_output=True, text=True, timeout=120, check=True)
        history = parse(done.stdout.splitlines())
        counts = {name: sum(each.name == name for each in history) for name in ("push", "pop", "full", "empty")}
        found = faults(history, int(run[4]))
        if counts["push"] != int(run[1]) * int(run[3]) or counts["pop"] != counts["push"]:
            found.append(f"lost: {counts}")
        hidden = len(faults(history, int(run[4]), strict=True)) - len(faults(history, int(run[4])))
        print(" ".join(run), counts, f"{hidden} pops hidden from", *found[:3], sep="  ")
        wrong += bool(found)
    print(f"{len(RUNS) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
