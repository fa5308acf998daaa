# SPDX-License-Identifier: Apache-2.0
"""_plan.py and _goal.py: what a configuration means, and the steps that lead there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from anya_engine._differences import differences
from anya_engine._goal import Files, Found, goal, hold, hold_serving
from anya_engine._plan import Default, Label, Load, Plan, Reload, Step, Switch, Unload, plan
from anya_engine._state import Entry, Key, State
from anya_engine.config import BatchingConfig, EngineConfig, ModelConfig
from anya_engine.errors import ConfigError
from anya_engine.repository import RepositoryConfig, VersionPolicy

PLAIN = ModelConfig()
TWO = ModelConfig(instances=2)


def repository(config: ModelConfig = PLAIN, *, latest: int = 2) -> EngineConfig:
    """The configuration of a repository with one model, `m`."""
    where = RepositoryConfig(path="/r", version_policy=VersionPolicy(latest=latest))
    return EngineConfig(models={"m": config}, repository=where)


def found(*versions: str, name: str = "m", stamp: str | None = "s") -> Found:
    """A repository that holds these versions of one name."""
    return Found(versions={name: {version: Files(f"/r/{name}/{version}", stamp) for version in versions}})


def source(path: str = "/x", **fields: Any) -> EngineConfig:
    """The configuration of one model, `m`, that comes from a path."""
    return EngineConfig(models={"m": ModelConfig(source=path, **fields)})


def by_hand(*versions: str, name: str = "m", path: str | None = "/hand") -> State:
    """Versions that somebody loaded; the first one serves."""
    entries = {(name, v): Entry(key=(name, v), source=path, config=PLAIN, managed=False) for v in versions}
    return State(entries=entries, serving={name: versions[0]})


def words(now: State, wanted: State) -> list[str]:
    """The first line of every step, with single blanks."""
    return [" ".join(str(step).splitlines()[0].split()) for step in plan(now, wanted)]


def reached(config: EngineConfig, there: Found = Found(), now: State = State()) -> State:  # noqa: B008
    """The state of an engine that has applied a configuration."""
    return goal(now, config, there)


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [
        (State(), reached(source()), ["load m 1 from /x", "serve m: nothing → 1"]),
        (reached(source()), State(), ["unload m 1"]),
        (
            reached(source(version="7")),
            reached(source(version="8")),
            ["load m 8 from /x", "serve m: 7 → 8", "unload m 7"],
        ),
        (reached(source(instances=1)), reached(source(instances=2)), ["reload m 1"]),
        (reached(source(version="7")), reached(source("/y", version="7")), ["reload m 7"]),
        (reached(source("/y", version_transition="resource_preserving")), reached(source()), ["reload m 1"]),
        (
            reached(source()),
            reached(source("/y", version_transition="resource_preserving")),
            ["reload m 1 (the old one goes first)"],
        ),
        (
            reached(source(version="7")),
            reached(source(version="8", version_transition="resource_preserving")),
            ["unload m 7 (before what comes)", "load m 8 from /x", "serve m: 7 → 8"],
        ),
        (
            reached(repository(), found("1", "2")),
            reached(repository(), found("1", "2", "3")),
            ["load m 3 from /r/m/3", "serve m: 2 → 3", "unload m 1"],
        ),
        (
            reached(repository(), found("1")),
            reached(repository(ModelConfig(version_labels={"stable": "1"})), found("1", "2")),
            ["load m 2 from /r/m/2", "label m stable: nothing → 1"],
        ),
        (
            reached(repository(ModelConfig(version_labels={"canary": "1"})), found("1")),
            reached(repository(ModelConfig(version_labels={"blue": "1"})), found("1")),
            ["label m blue: nothing → 1", "label m canary: 1 → nothing"],
        ),
        (reached(repository(ModelConfig(version_labels={"canary": "1"})), found("1")), State(), ["unload m 1"]),
        (State(), State(defaults={"m": TWO}), ["default m, for later loads"]),
        (State(defaults={"m": TWO}), State(), ["default m, for later loads"]),
        (State(), State(defaults={"m": PLAIN}), []),
    ],
)
def test_steps_between_states(before: State, after: State, steps: list[str]) -> None:
    """Loads come before switches and switches before unloads, unless a model goes before it comes."""
    assert words(before, after) == steps


def test_a_plan_says_what_changes_field_by_field() -> None:
    """Each changed field is named by its path with both values; a plan without steps says so and is false."""
    old = source(batching=BatchingConfig(max_batch_size=8), session_options={"session.a": "1", "session.b": "2"})
    new = source(batching=BatchingConfig(max_batch_size=4), session_options={"session.b": "3", "session.c": "4"})
    made = Plan(steps=plan(reached(old), reached(new)), problems=("bad",), notes=("odd",))
    assert str(made).splitlines() == [
        "reload  m 1",
        "          session_options.session.a: '1' → nothing",
        "          session_options.session.b: '2' → '3'",
        "          session_options.session.c: nothing → '4'",
        "          batching.max_batch_size: 8 → 4",
        "problem bad",
        "note    odd",
    ]
    assert made
    assert not Plan(problems=("bad",))
    assert str(Plan()) == "nothing to do"


def test_a_plan_in_json() -> None:
    """Every kind of step has its own word, its model and its facts."""
    first = goal(State(), repository(), found("1", "2"))
    second = goal(first, repository(dataclasses.replace(TWO, version_labels={"canary": "2"})), found("2", "3"))
    steps = Plan(steps=plan(first, second)).as_dict()["steps"]
    assert [step["step"] for step in steps] == ["reload", "load", "switch", "label", "default", "unload"]
    assert steps[0]["changes"] == [{"field": "instances", "old": "None", "new": "2"}]
    assert steps[1] == {"step": "load", "name": "m", "version": "3", "source": "/r/m/3"}
    assert steps[2] == {"step": "switch", "name": "m", "version": "3", "old": "2"}
    assert steps[3] == {"step": "label", "name": "m", "version": "2", "old": None, "label": "canary"}
    assert steps[4]["name"] == "m" and steps[5]["version"] == "1"


def test_files_that_changed_are_loaded_again() -> None:
    """Another stamp means other files; a stamp that is not known means nothing."""
    now = reached(repository(), found("1", stamp="a"))
    assert words(now, goal(now, repository(), found("1", stamp="b"))) == ["reload m 1"]
    assert words(now, goal(now, repository(), found("1", stamp=None))) == []


def test_a_version_that_is_changing_is_not_loaded() -> None:
    """A version whose files are not known to be whole does not count, neither as one of the latest nor to serve."""
    there = Found(versions={"m": {"1": Files("/1", "s"), "2": Files("/2", "s"), "3": Files("/3", None)}})
    wanted = reached(repository(latest=1), there)
    assert list(wanted.entries) == [("m", "2")] and wanted.serving == {"m": "2"}


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        (VersionPolicy(), ["9", "10"]),
        (VersionPolicy(latest=1), ["10"]),
        (VersionPolicy(latest=99), ["1", "2", "9", "10"]),
        (VersionPolicy(specific=("2", "77")), ["2"]),
        (VersionPolicy(all=True), ["1", "2", "9", "10"]),
    ],
)
def test_version_policies(policy: VersionPolicy, versions: list[str]) -> None:
    """Versions are numbers, not text: 10 is newer than 9; a version that is not there is left out."""
    assert policy.choose(["10", "2", "9", "1"]) == versions
    wanted = reached(repository(ModelConfig(version_policy=policy)), found("10", "2", "9", "1"))
    assert [version for _, version in wanted.entries] == versions
    assert wanted.serving == {"m": versions[-1]}


def test_labels_bring_their_versions() -> None:
    """A labelled version is loaded besides those of the policy, and `stable` decides who serves."""
    wanted = reached(
        repository(ModelConfig(version_labels={"stable": "1", "canary": "4"}), latest=1), found("1", "2", "3", "4")
    )
    assert list(wanted.entries) == [("m", "1"), ("m", "4")]
    assert (wanted.serving, wanted.labels) == ({"m": "1"}, {("m", "stable"): "1", ("m", "canary"): "4"})


@pytest.mark.parametrize(
    ("config", "there", "words"),
    [
        (repository(ModelConfig(version_labels={"stable": "9"})), found("1"), "there is no version '9'; there is: 1"),
        (EngineConfig(models={"n": ModelConfig(version_labels={"a": "1"})}), Found(), "there is no version '1'"),
        (source(version="blue", version_labels={"blue": "blue"}), Found(), "is a version of the model"),
        (repository(ModelConfig(version="1")), found("1"), "the label 'stable' says which one serves"),
        (
            EngineConfig(models={"m": ModelConfig(source="/x")}, repository=RepositoryConfig(path="/r")),
            found("1"),
            "models.m.source: the repository has a model of this name too",
        ),
    ],
)
def test_contradictions_are_refused(config: EngineConfig, there: Found, words: str) -> None:
    """A configuration that contradicts itself, or what there is, is a ConfigError that names the field."""
    with pytest.raises(ConfigError, match="models") as caught:
        goal(State(), config, there)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(caught.value.field))


def test_what_was_loaded_by_hand_stays() -> None:
    """A configuration takes away what a configuration brought, and nothing else; it may still take the traffic."""
    hand = by_hand("5", "6")
    now = goal(hand, source(), Found())
    assert words(hand, now) == ["load m 7 from /x", "serve m: 5 → 7"]
    assert words(now, goal(now, EngineConfig(), Found())) == ["serve m: 7 → 6", "unload m 7"]
    other = by_hand("1", name="other")
    assert words(other, goal(other, source(), Found())) == ["load m 1 from /x", "serve m: nothing → 1"]


def test_what_was_loaded_by_hand_is_adopted_or_replaced() -> None:
    """A version that is wanted and there already stays when it is the same, and is loaded again when it is not."""
    hand = by_hand("1", path="/x")
    assert words(hand, goal(hand, source(version="1"), Found())) == []
    assert words(hand, goal(hand, source("/y", version="1"), Found())) == ["reload m 1"]
    given = by_hand("1", path=None)
    [step] = plan(given, goal(given, source(version="1", version_transition="resource_preserving"), Found()))
    assert isinstance(step, Reload) and not step.old_goes_first  # bytes cannot be read again


def test_a_new_source_is_a_new_version() -> None:
    """Without a version a source keeps the one it has, and another source gets the next number."""
    first = reached(source())
    assert words(first, goal(first, source(instances=2), Found())) == ["reload m 1"]
    second = goal(first, source("/y"), Found())
    assert words(first, second) == ["load m 2 from /y", "serve m: 1 → 2", "unload m 1"]
    assert words(second, goal(second, source("/y"), Found())) == []


def test_names_can_be_held() -> None:
    """A held name stays exactly as it is, whatever is wanted of it; the others do not."""
    now = reached(repository(), found("1"))
    config = dataclasses.replace(repository(TWO), models={"m": TWO, "n": ModelConfig(source="/n")})
    wanted = goal(now, config, found("1", "2"))
    assert words(now, hold(wanted, now, {"m"})) == [
        "load n 1 from /n",
        "serve n: nothing → 1",
        "default m, for later loads",
    ]
    assert hold(wanted, now, ()) == wanted
    assert words(now, hold(State(), now, {"m"})) == []


def test_serving_can_be_held() -> None:
    """What answers goes on answering, and stays loaded though no policy wants it."""
    now = reached(repository(latest=1), found("1"))
    wanted = goal(now, repository(latest=1), found("1", "2"))
    assert words(now, hold_serving(wanted, now, ["m"])) == ["load m 2 from /r/m/2"]
    assert hold_serving(State(), now, ["m"]) == State()


def test_differences_of_unlike_values() -> None:
    """Where one side is no configuration the whole value is shown; fields can be left out."""
    old, new = ModelConfig(version_policy=VersionPolicy()), ModelConfig(instances=3)
    assert [each.field for each in differences(old, new)] == ["version_policy", "instances"]
    assert [str(each) for each in differences(old, new, without={"version_policy"})] == ["instances: None → 3"]
    assert differences(old, old) == ()


# ---- any two states


class Machine:
    """An engine that carries steps out as the words say, and sees that nobody is left without an answer."""

    def __init__(self, now: State) -> None:
        self.entries = dict(now.entries)
        self.serving = dict(now.serving)
        self.labels = dict(now.labels)
        self.defaults = dict(now.defaults)
        self.staged: dict[Key, Entry] = {}
        self.gaps: set[str] = set()

    def do(self, step: Step) -> None:
        if isinstance(step, Load):
            assert step.entry.key not in {**self.entries, **self.staged}
            self.staged[step.entry.key] = step.entry
        elif isinstance(step, Reload):
            assert self.entries[step.entry.key] == step.old and step.changes
            if step.old_goes_first:
                self._lose(step.old.key)
            self.staged[step.entry.key] = step.entry
        elif isinstance(step, Unload) and step.first:
            self._lose(step.entry.key)
        else:
            self.publish()
            self._after(step)

    def _after(self, step: Step) -> None:
        if isinstance(step, Switch):
            assert (step.name, step.version) in self.entries
            self.serving[step.name] = step.version
        elif isinstance(step, Label):
            if step.version is None:
                del self.labels[step.name, step.label]
            else:
                assert (step.name, step.version) in self.entries
                self.labels[step.name, step.label] = step.version
        elif isinstance(step, Default):
            self.defaults[step.name] = step.config or PLAIN
        else:
            assert isinstance(step, Unload)
            name, version = step.entry.key
            del self.entries[step.entry.key]
            if self.serving.get(name) == version:
                del self.serving[name]
            self.labels = {key: value for key, value in self.labels.items() if (key[0], value) != step.entry.key}

    def publish(self) -> None:
        self.entries |= self.staged
        self.staged = {}

    def _lose(self, key: Key) -> None:
        del self.entries[key]
        self.gaps.add(key[0])


NAMES = ["a", "b"]
ANY: dict[str, Any] = {
    "instances": st.sampled_from([None, 1, 2]),
    "version_labels": st.dictionaries(st.sampled_from(["stable", "canary"]), st.sampled_from(["1", "2"]), max_size=2),
    "version_transition": st.sampled_from(["availability_preserving", "resource_preserving"]),
}
POLICIES = st.sampled_from([None, VersionPolicy(latest=1), VersionPolicy(all=True)])
CONFIGS = st.one_of(
    st.builds(ModelConfig, version_policy=POLICIES, **ANY),
    st.builds(
        ModelConfig,
        source=st.sampled_from(["/x", "/y"]),
        version=st.sampled_from([None, "1", "9", "blue"]),
        **ANY,
    ),
)
VERSIONS = st.dictionaries(
    st.sampled_from(["1", "2", "3"]), st.builds(Files, st.just("/r"), st.sampled_from(["s", "t", None])), max_size=3
)
ENGINES = st.builds(
    EngineConfig,
    models=st.dictionaries(st.sampled_from(NAMES), CONFIGS, max_size=2),
    repository=st.just(RepositoryConfig(path="/r")),
)
FOUND = st.builds(Found, versions=st.dictionaries(st.sampled_from(NAMES), VERSIONS, max_size=2))
HANDS = st.sampled_from([State(), by_hand("1", "5", name="a"), by_hand("2", name="b", path=None)])


def facts(entries: Mapping[Key, Entry]) -> dict[Key, Any]:
    """What runs, whoever brought it and however it came."""
    same = {"version_policy": None, "version_labels": {}, "version_transition": "availability_preserving"}
    plain = {"source": None, "version": None, **same}
    return {key: (entry.source, dataclasses.replace(entry.config, **plain)) for key, entry in entries.items()}  # type: ignore[arg-type]


@settings(deadline=None)  # a busy machine
@given(HANDS, ENGINES, FOUND, ENGINES, FOUND)
def test_any_plan_leads_where_it_should(
    hand: State, first: EngineConfig, there: Found, second: EngineConfig, then: Found
) -> None:
    """The steps from a state to another lead there, every name answering on the way; from there to there is none."""
    try:
        now = goal(hand, first, there)
        wanted = goal(now, second, then)
    except ConfigError:
        assume(False)
    machine = Machine(now)
    for step in plan(now, wanted):
        machine.do(step)
        for name in now.serving.keys() & wanted.serving.keys() - machine.gaps:
            assert (name, machine.serving[name]) in machine.entries
    machine.publish()
    assert facts(machine.entries) == facts(wanted.entries)
    assert machine.serving == wanted.serving
    assert machine.labels == wanted.labels
    saving = {entry.key[0] for entry in wanted.entries.values() if entry.resource_preserving}
    assert machine.gaps <= saving
    assert plan(wanted, wanted) == ()
    assert plan(wanted, goal(wanted, second, then)) == ()
