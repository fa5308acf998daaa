# SPDX-License-Identifier: Apache-2.0
"""The checker of queue histories: what it refuses, what it accepts, and that it says what the definitions say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linearizability.check import NEVER, Operation, faults, parse

#: Hand-made histories of a queue of 2, each wrong in one way: "thread op value called returned; ...".
BAD = {
    "VFresh: 7": "0 push 1 0 1; 1 pop 7 2 3",
    "VFresh: 1": "1 pop 1 0 1; 0 push 1 2 3",
    "VRepeat": "0 push 1 0 1; 1 pop 1 2 3; 2 pop 1 4 5",
    "VOrd: 2 overtook": "0 push 1 0 1; 0 push 2 2 3; 1 pop 2 4 5; 1 pop 1 6 7",
    "VOrd: 3 overtook": "0 push 1 0 9; 0 push 2 0 1; 0 push 3 2 3; 1 pop 3 4 5",  # and 2 is lost
    "VWit: a pop found nothing while 1": "0 push 1 0 1; 1 empty 0 2 3; 1 pop 1 4 5",
    "VWit: a pop found nothing while 5": "0 push 5 0 2; 0 push 6 3 4; 1 empty 0 5 6; 2 push 8 5 7; 1 pop 5 8 9",
    "VFull: there was room for 2": "0 push 1 0 1; 0 full 2 2 3; 1 pop 1 4 5",
    "VFull: there was room for 3": "0 push 1 0 1; 1 pop 1 2 3; 0 push 2 4 5; 0 full 3 6 7",
}
GOOD = (
    "0 push 1 0 1; 1 empty 0 0 1; 1 pop 1 2 3; 1 empty 0 4 5",
    "0 push 1 0 5; 1 push 2 0 5; 2 pop 2 6 7; 2 pop 1 8 9",  # they overlapped: any order
    "0 push 1 0 1; 0 push 2 2 3; 0 full 3 4 5; 1 pop 1 6 7; 1 pop 2 6 7",
    "0 push 1 0 1; 0 push 2 2 3; 0 full 3 5 6; 1 pop 2 4 5; 2 pop 1 4 9",  # the first cell is not free yet
    "1 pop 1 0 9; 0 push 1 5 6",  # a pop may wait for nobody, but it may be slow
)
#: What the queue does and a linearizable one does not: 1 is claimed, 2 stands behind it, a pop says "empty".
HIDDEN = "0 push 1 0 9; 1 push 2 1 2; 2 empty 0 3 4; 2 pop 1 10 11; 2 pop 2 12 13"


def history(text: str) -> list[Operation]:
    """Return the history written on one line."""
    return parse(text.split(";"))


@pytest.mark.parametrize(("fault", "text"), BAD.items())
def test_mutant_history_is_refused(fault: str, text: str) -> None:
    """A history that is wrong in one way is refused, and the sentence says which way."""
    assert [each for each in faults(history(text), 2) if each.startswith(fault)]


@pytest.mark.parametrize("text", GOOD)
def test_right_history_is_accepted(text: str) -> None:
    """A history that a queue may have is accepted, also where operations overlap."""
    assert faults(history(text), 2, strict=True) == []


def test_a_hidden_element_is_told_apart() -> None:
    """A pop that misses what stands behind an unfinished push breaks the strict rule and keeps the queue's own."""
    assert faults(history(HIDDEN), 2) == []
    assert len(faults(history(HIDDEN), 2, strict=True)) == 1
    done = history(HIDDEN.replace("push 1 0 9", "push 1 0 2"))
    assert len(faults(done, 2)) == 1


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Operations at any times, each value pushed once and popped once at most, after its push began."""
    made: list[Operation] = []
    moments = st.integers(0, 30)
    for value in range(draw(st.integers(1, 6))):
        called, returned = sorted((draw(moments), draw(moments)))
        made.append(Operation(0, "push", value, called, returned))
        if draw(st.booleans()):
            pop_called, pop_returned = sorted((draw(moments), draw(st.integers(called, 40))))
            made.append(Operation(1, "pop", value, pop_called, max(pop_returned, called)))
    for _ in range(draw(st.integers(0, 3))):
        called, returned = sorted((draw(moments), draw(moments)))
        made.append(Operation(2, "empty", 0, called, returned))
    return made


def by_definition(made: list[Operation], *, strict: bool) -> set[str]:
    """Return the kinds of faults, by looking at every pair as the definitions are written."""
    pushes = [each for each in made if each.name == "push"]
    pops = {each.value: each for each in made if each.name == "pop"}
    pop_called = {each.value: pops[each.value].called if each.value in pops else NEVER for each in pushes}
    found = set()
    for a in pushes:
        for b in pushes:
            if a.returned < b.called and b.value in pops and pops[b.value].returned < pop_called[a.value]:
                found.add("VOrd")
    for empty in (each for each in made if each.name == "empty"):
        for b in pushes:
            there = b.returned < empty.called and pop_called[b.value] > empty.returned
            hides = any(a.called <= b.returned and a.returned >= empty.called for a in pushes)
            if there and (strict or not hides):
                found.add("VWit")
    return found


@settings(max_examples=400, deadline=None)
@given(made=histories(), strict=st.booleans())
def test_the_fast_way_finds_what_the_definitions_say(made: list[Operation], strict: bool) -> None:
    """On small histories of any shape the sorted search and the pairwise definitions find the same kinds of faults."""
    found = {each.split(":")[0] for each in faults(made, 8, strict=strict)}
    assert found == by_definition(made, strict=strict)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_every_run_of_a_real_queue_is_accepted(data: st.DataObject) -> None:
    """Operations that each take effect at one moment between their two times have no fault, strictly taken."""
    held: list[int] = []
    made: list[Operation] = []
    for moment in range(0, 10 * data.draw(st.integers(1, 25)), 10):
        called = moment - data.draw(st.integers(0, 35))
        returned = moment + data.draw(st.integers(0, 35))
        if data.draw(st.booleans()):
            name = "push" if len(held) < 3 else "full"
            made.append(Operation(0, name, moment, called, returned))
            held += [moment] if name == "push" else []
        elif held:
            made.append(Operation(1, "pop", held.pop(0), called, returned))
        else:
            made.append(Operation(1, "empty", 0, called, returned))
    assert faults(made, 3, strict=True) == []
