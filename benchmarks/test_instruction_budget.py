# SPDX-License-Identifier: Apache-2.0
"""The instruction budget's own arithmetic: what fails, what is whose, what a dump says."""

from __future__ import annotations

import tomllib

import callgrind_profile
import instruction_budget as budget
import pytest

BUDGET = {"infer": {"core": 1000.0, "python": 2000.0}}

DUMP = """\
desc: Trigger: Client Request: infer
ob=/x/package/anya_engine/_core.cpython-311.so
fl=/src/bindings/py_model.cpp
fn=anya::python::answer()
10 5
fi=/src/cpp/include/anya/request.h
7 11
fi=/usr/include/c++/12/bits/stl_vector.h
99 3
cob=/usr/lib/libc.so.6
cfi=/malloc.c
cfn=malloc
calls=2 300
99 40
fe=/src/bindings/py_model.cpp
cfi=/src/cpp/src/model/model.cc
cfn=anya::Model::run()
calls=1 50
11 1000
cob=/venv/numpy/_core/_multiarray_umath.so
cfi=???
cfn=PyArray_New
calls=1 0
12 70

fl=/src/cpp/src/model/model.cc
fn=anya::Model::run()
50 20

ob=/usr/lib/libc.so.6
fl=/malloc.c
fn=malloc
300 40

ob=/lib/libpython3.11.so.1.0
fl=/ceval.c
fn=_PyEval_EvalFrameDefault
1 100
totals: 179
"""


def verdicts(measured: dict[str, dict[str, float]], **options: bool) -> list[str]:
    """What each figure is called."""
    return [each.verdict for each in budget.compare(BUDGET, measured, **options)]


@pytest.mark.parametrize(
    ("factor", "verdict", "fails"),
    [(1.11, "over", True), (1.09, "fits", False), (1.0, "fits", False), (0.91, "fits", False), (0.89, "under", False)],
)
def test_more_than_a_tenth_over_the_budget_fails(factor: float, verdict: str, fails: bool) -> None:
    """+11 % fails, +9 % passes, -11 % only asks for a lower budget."""
    found = budget.compare(BUDGET, {"infer": {"core": 1000 * factor, "python": 2000.0}})
    assert [(each.verdict, each.fails) for each in found] == [(verdict, fails), ("fits", False)]


def test_a_figure_without_its_counterpart_fails() -> None:
    """A path or layer that only the budget, or only the measurement, knows is no pass."""
    assert verdicts({}) == ["missing", "missing"]
    assert verdicts({"infer": {"core": 1000.0}}) == ["fits", "missing"]
    assert verdicts(BUDGET | {"other": {"core": 1.0}}) == ["fits", "fits", "missing"]
    assert all(each.fails for each in budget.compare(BUDGET, {}))


def test_other_versions_of_python_release_only_what_depends_on_them() -> None:
    """With another Python the core is held as ever, our Python layer is not."""
    twice = {"infer": {"core": 2000.0, "python": 4000.0}}
    assert verdicts(twice, same_versions=False) == ["over", "not held"]


def test_instructions_belong_to_the_layer_of_their_line() -> None:
    """What was inlined counts where it is written, the standard library's lines for the function around them."""
    profile = callgrind_profile.read(DUMP.splitlines(keepends=True))
    assert profile.total == 179
    assert profile.objects == {"ours": 39, "libc": 40, "interpreter": 100}
    assert profile.layers == {"binding": 8, "headers": 11, "model": 20}
    assert profile.functions["headers", "anya::python::answer()"] == 11


def test_a_call_out_counts_for_the_layer_that_made_it() -> None:
    """Calls to other libraries are counted at the edge, once; calls within the extension are not."""
    profile = callgrind_profile.read(DUMP.splitlines(keepends=True))
    assert profile.calls_out == {("binding", "libc"): 40, ("binding", "numpy"): 70}
    assert profile.outside_calls["anya::python::answer()", "malloc"] == 2


def test_figures_are_per_request_and_python_is_a_difference() -> None:
    """The core's figure holds all layers but the binding's; Python's is what the bare path does not need."""
    profile = callgrind_profile.read(DUMP.splitlines(keepends=True))
    bare = callgrind_profile.read(DUMP.replace("1 100", "1 60").splitlines(keepends=True))
    found = budget.figures({"infer": profile, "infer_bare": bare}, callgrind_profile.Profile(), 2, 1)
    assert found == {"infer": {"core": 16, "binding": 24, "asked": 35, "python": 20}}


def test_threads_add_up() -> None:
    """The profiles of several threads make one."""
    profile, sum_of_two = callgrind_profile.read(DUMP.splitlines(keepends=True)), callgrind_profile.Profile()
    sum_of_two.add(profile)
    sum_of_two.add(profile)
    assert (sum_of_two.total, sum_of_two.layers["model"]) == (358, 40)


def test_the_budget_file_reads_as_it_was_written() -> None:
    """Writing and reading a budget keeps every figure and the versions."""
    read = tomllib.loads(budget.to_toml(BUDGET, {"python": "3.11"}))
    assert read.pop(budget.VERSIONS) == {"python": "3.11"}
    assert read == BUDGET


def test_the_kept_budget_knows_every_path() -> None:
    """The committed file has figures for each path that is counted, and names the versions it was made with."""
    kept = tomllib.loads(budget.BUDGET.read_text())
    assert set(kept.pop(budget.VERSIONS)) == {"python", "numpy"}
    assert set(kept) == {*budget.BARE, "async_64", budget.QUEUED}
    assert all(value > 0 for layers in kept.values() for value in layers.values())
