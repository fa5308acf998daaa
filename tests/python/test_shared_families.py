# SPDX-License-Identifier: Apache-2.0
"""What several processes show beside the core's counters: the same as one process alone, summed, whoever dies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models.make_models import MODELS
from python.everything import exercise
from python.support import Worker, floats, run_python, until

import anya_engine as anya
from anya_engine import _metrics, _shared_families
from anya_engine._core import MetricFamily
from anya_engine._shared_families import SharedFamilies, families_of

MONITORING = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
CACHED = anya.ModelConfig(cache=anya.CacheConfig(), inputs={"x": anya.InputRule(finite="replace")})

#: What an exporter beside the processes does not show, and why.
OF_WHO_ANSWERS = {
    "anya_host_cpu_utilization_ratio": "of the machine: who answers asks it",
    "anya_host_memory_available_bytes": "of the machine: who answers asks it",
    "anya_host_memory_total_bytes": "of the machine: who answers asks it",
    "anya_gpu_utilization_ratio": "of the machine: who answers asks it",
    "anya_gpu_memory_used_bytes": "of the machine: who answers asks it",
    "anya_gpu_memory_total_bytes": "of the machine: who answers asks it",
    "anya_gpu_power_watts": "of the machine: who answers asks it",
}
#: Gauges of the process that differ between two processes, or two looks, that did the same.
OF_TIME_AND_PLACE = {"anya_model_loaded_timestamp_seconds", "anya_retry_budget_tokens", "anya_canary_log_evalue"}
HISTOGRAMS_OF_TIME = {"anya_request_duration_seconds", "anya_queue_duration_seconds", "anya_compute_duration_seconds"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where they count."""
    return tmp_path / "counts"


@pytest.fixture
def shared(folder: Path) -> Iterator[anya.Engine]:
    """An engine of a service with several processes."""
    with anya.Engine(anya.EngineConfig(metrics_directory=folder)) as engine:
        yield engine


Series = dict[tuple[str, ...], Any]


def by_name(families: list[MetricFamily]) -> dict[str, MetricFamily]:
    """Families by name, each once."""
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def series(family: MetricFamily) -> Series:
    """Values by labels, each once; of a histogram its counts."""
    pairs = [*((tuple(labels), value) for labels, value in family.samples)]
    pairs += [(tuple(labels), list(counts.counts)) for labels, counts in family.histograms]
    assert len(dict(pairs)) == len(pairs), family.name
    return dict(pairs)


def test_processes_show_what_one_shows(engine: anya.Engine, shared: anya.Engine, folder: Path, tmp_path: Path) -> None:
    """With everything on, a scrape of a folder has every family, kind, label and series of a lone engine's, and the
    same counts; what an exporter beside them leaves out has a reason.
    """
    for number, each in enumerate((engine, shared)):
        (tmp_path / str(number)).mkdir()
        exercise(each, tmp_path / str(number))
    alone, together = by_name(engine._metrics.families()), by_name(shared._metrics.families())
    beside = by_name(families_of(str(folder)))
    assert together.keys() == alone.keys()
    assert alone.keys() - beside.keys() == OF_WHO_ANSWERS.keys() & alone.keys()
    assert len(alone) > 45
    for name, family in alone.items():
        other = together[name]
        assert (other.kind, other.help, other.label_names, other.merge) == (
            *(family.kind, family.help, family.label_names, family.merge),
        )
        values, others = series(family), series(other)
        if name == "anya_metrics_source_up":
            values["metrics_directory",] = 1.0
        assert others.keys() == values.keys(), name
        if family.kind == "counter" or (family.kind == "histogram" and name not in HISTOGRAMS_OF_TIME):
            assert others == values, name
        elif family.kind == "histogram":
            assert {key: sum(counts) for key, counts in others.items()} == {
                key: sum(counts) for key, counts in values.items()
            }, name
        elif name.startswith(("anya_drift", "anya_cache", "anya_circuit", "anya_canary_state", "anya_canary_weight")):
            assert others == pytest.approx(values, nan_ok=True), name


def test_how_gauges_are_merged_is_written_down(engine: anya.Engine, tmp_path: Path) -> None:
    """The documentation names for every gauge whether processes show its sum, its largest or its least value."""
    exercise(engine, tmp_path)
    text = MONITORING.read_text()
    written: dict[str, str] = {}
    for merge, names in re.findall(r"^\| (sum|max|min) \| (.*) \|", text, re.MULTILINE):
        written |= dict.fromkeys(re.findall(r"`(\w+)`", names), merge)
    gauges = [each for each in engine._metrics.families() if each.kind == "gauge"]
    assert written.items() >= {each.name.removeprefix("anya_"): each.merge for each in gauges}.items()


#: An engine with a cache, a rule and retries: asks one question so often, then another one, which fails twice and has
#: another model's answer, and says what it has counted (see `counted`).
WORKER = """
import sys, numpy as np, anya_engine as anya
from models.make_models import MODELS
from anya_engine import testing
engine = anya.Engine(anya.EngineConfig(metrics_directory=sys.argv[1]))
retry = anya.RetryPolicy(max_attempts=2, initial_backoff=0.001)
rule = anya.InputRule(finite="replace")
config = anya.ModelConfig(cache=anya.CacheConfig(), inputs={"x": rule}, retry=retry, fallback=("spare",))
engine.load("m", MODELS["unnamed_batch"](), config=config)
engine.load("spare", MODELS["unnamed_batch"]())
for line in sys.stdin:
    for _ in range(int(line)):
        engine.infer("m", np.full((2, 3), np.nan, np.float32))
    with testing.inject(engine, "m", error=anya.ExecutionError):
        engine.infer("m", np.ones((2, 3), np.float32))
    cache, tensor = engine.cache_stats("m"), engine.stats().models[0].tensors[0]
    failures = engine.stats().resilience[0]
    retried = sum(failures.attempts.values()), sum(failures.fallbacks.values())
    print(cache.hits, cache.misses - cache.coalesced, tensor.sanitized, tensor.nonfinite, *retried, flush=True)
"""


def counted(folder: Path) -> tuple[float, ...]:
    """Hits, misses, replaced values, NaN, attempts, fallbacks, over all processes; bytes of caches."""
    families = {name: series(family) for name, family in by_name(families_of(str(folder))).items()}
    return (
        families["anya_cache_requests"].get(("m", "1", "hit"), 0),
        families["anya_cache_requests"].get(("m", "1", "miss"), 0),
        families["anya_sanitized_values"].get(("m", "1", "x"), 0),
        families["anya_nonfinite_values"].get(("m", "1", "x"), 0),
        sum(families["anya_attempts"].values()),
        sum(families["anya_fallbacks"].values()),
        families["anya_cache_bytes"].get(("m", "1"), 0),
    )


def test_what_workers_count_is_summed_and_the_dead_stay(folder: Path) -> None:
    """Caches, rules, retries and fallbacks of all workers are in the sums a second later, with nobody scraping; a
    killed worker's stay, its gauges go.
    """
    workers = [Worker("-c", WORKER, folder) for _ in range(2)]
    try:
        own = [map(int, worker.ask(count).split()) for worker, count in zip(workers, (10, 5), strict=True)]
        wanted = tuple(sum(each) for each in zip(*own, strict=True))
        assert wanted[0] == 13 and wanted[2:4] == (90, 90) and wanted[5] == 2 <= wanted[4]
        until(lambda: counted(folder)[:6] == wanted, "both workers' counts")
        both = counted(folder)[6]
        workers[0].kill()
        assert counted(folder)[:6] == wanted
        assert 0 < counted(folder)[6] < both
    finally:
        for worker in workers:
            worker.kill()


def test_an_engine_that_closes_leaves_all_it_counted(shared: anya.Engine, folder: Path) -> None:
    """What was counted in its last second is there, too."""
    shared.load("m", MODELS["unnamed_batch"]())
    with anya.Engine(anya.EngineConfig(metrics_directory=folder)) as other:
        other.load("m", MODELS["unnamed_batch"](), config=CACHED)
        for _ in range(3):
            other.infer("m", floats(2, 3))
    assert counted(folder)[:2] == (2, 1)


def counter(**values: float) -> MetricFamily:
    """A counter, by version."""
    family = MetricFamily("anya_c", "counter", "x", ["model", "version"])
    for version, value in values.items():
        family.add(["m", version], value)
    return family


def total(folder: Path, version: str = "1") -> float | None:
    """Of `anya_c`."""
    return next((series(each).get(("m", version)) for each in families_of(str(folder)) if each.name == "anya_c"), None)


def test_a_count_never_goes_down(folder: Path) -> None:
    """A version that is unloaded and loaded again counts on; one that nobody shows is not shown."""
    folder.mkdir()
    now: list[dict[str, float]] = [{"1": 5}]
    one = SharedFamilies(str(folder), lambda: [counter(**now[0])])
    seen = []
    for families in ({"1": 5}, {"2": 0}, {"1": 2}, {"1": 2, "2": 1}, {"1": 7}, {"1": 0}):
        now[0] = families
        one.write()
        seen.append((total(folder), total(folder, "2")))
    assert seen == [(5, None), (None, 0), (7, None), (7, 1), (12, None), (12, None)]
    one.close()
    assert total(folder) is None


def test_a_source_that_fails_stops_its_counters_and_hides_its_gauges(folder: Path) -> None:
    """A counter that is missing for a moment keeps its value, or its return would look like an increase."""
    folder.mkdir()
    gauge = MetricFamily("anya_g", "gauge", "x")
    gauge.add([], 1)
    now = [[counter(**{"1": 5}), gauge]]
    one = SharedFamilies(str(folder), lambda: now[0])
    seen = []
    for now[0] in ([counter(**{"1": 5}), gauge], [], [counter(**{"1": 6}), gauge]):
        one.write()
        seen.append((total(folder), [each.samples for each in families_of(str(folder)) if each.name == "anya_g"]))
    assert seen == [(5, [[([], 1)]]), (5, [[]]), (6, [[([], 1)]])]
    one.close()


def test_engines_that_are_gone_are_folded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many dead files become one; nothing is lost, or counted twice, even when the fold dies before it clears up."""
    folder.mkdir()
    living = SharedFamilies(str(folder), lambda: [counter(**{"1": 1})])
    living.write()
    removal = Path.unlink
    for dead in range(1, 31):
        if dead == 15:
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
        if dead == 20:
            monkeypatch.setattr(Path, "unlink", removal)
        SharedFamilies(str(folder), lambda: [counter(**{"1": 3})]).close()
        assert total(folder) == 1 + 3 * dead
    assert len(list(folder.glob("*.families"))) < 12
    living.close()


def test_versions_that_nobody_has_are_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows with every version that ever was ends: counts of one that nobody has shown for a day go."""
    folder.mkdir()
    now: list[dict[str, float]] = [{"1": 5}]
    one = SharedFamilies(str(folder), lambda: [counter(**now[0])])
    one.write()
    for now[0] in ({"2": 1}, {"2": 0}):
        one.write()
    assert one._kept["anya_c"].samples() == [(["m", "2"], 1), (["m", "1"], 5)]
    monkeypatch.setattr(_shared_families, "KEPT", -1.0)
    one.write()
    assert one._kept["anya_c"].samples() == [(["m", "2"], 1)]
    for _ in range(12):
        SharedFamilies(str(folder), lambda: [counter(**{"3": 1, "2": 1})]).close()
    assert (total(folder, "2"), total(folder, "3")) == (13, None)
    _shared_families._fold(folder)
    kept = [row for row in json.loads((folder / "dead.families").read_text())["families"] if row["name"] == "anya_c"]
    assert kept[0]["samples"] == [[["m", "2"], 12]]
    one.close()


def test_a_folder_that_is_gone_is_visible(shared: anya.Engine, folder: Path) -> None:
    """A scrape has what needs no folder, and says that the source is down; requests do not notice."""
    shared.load("m", MODELS["unnamed_batch"]())
    folder.rename(folder.with_name("elsewhere"))
    text = shared.metrics_text().decode()
    assert 'anya_metrics_source_up{source="metrics_directory"} 0' in text.splitlines()
    assert shared.infer("m", floats(2, 3))


def test_two_engines_of_one_process_count_in_one_folder(shared: anya.Engine, folder: Path) -> None:
    """Their endpoint shows their sum once."""
    with anya.Engine(anya.EngineConfig(metrics_directory=folder)) as other:
        for each in (shared, other):
            each.load("m", MODELS["unnamed_batch"](), config=CACHED)
            for _ in range(3):
                each.infer("m", floats(2, 3))
        lines = _metrics.text_of([shared._metrics, other._metrics], openmetrics=False).decode().splitlines()
    assert 'anya_cache_requests_total{model="m",version="1",result="hit"} 4' in lines
    assert 'anya_requests_total{model="m",version="1",outcome="ok",role="stable"} 6' in lines


def test_a_forked_child_neither_writes_nor_lives_on() -> None:
    """A child's fork of an engine leaves its parent's file alone, and its parent dead when it is."""
    code = """
    import tempfile
    from anya_engine._core import MetricFamily
    from anya_engine._shared_families import SharedFamilies, families_of
    def families():
        family = MetricFamily("anya_g", "gauge", "x")
        family.add([], os.getpid())
        return [family]
    folder = tempfile.mkdtemp()
    shared = SharedFamilies(folder, families)
    shared.write()
    reading, writing = os.pipe()
    is_there, says = os.pipe()
    child = os.fork()
    if child == 0:
        shared.write()
        os.close(writing)
        os.write(says, b".")
        os.read(reading, 1)
        os._exit(0)
    os.read(is_there, 1)
    shown = lambda: [value for each in families_of(folder) if each.name == "anya_g" for _, value in each.samples]
    print(shown() == [os.getpid()])
    shared.close()
    print(shown())
    os.close(writing)
    os.waitpid(child, 0)
    """
    done = run_python(code)
    assert done.stdout == "True\n[]\n", done.stderr


def test_exemplars_are_those_of_who_answers(folder: Path) -> None:
    """OpenMetrics of a folder shows recent traces of the process that answers; they change no count."""
    pytest.importorskip("opentelemetry.sdk")
    code = f"""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    trace.set_tracer_provider(TracerProvider())
    engine = anya.Engine(anya.EngineConfig(metrics_directory={str(folder)!r}))
    engine.load("m", MODELS["unnamed_batch"]())
    with trace.get_tracer("t").start_as_current_span("s") as span:
        engine.infer("m", floats(2, 3))
        wanted = f'trace_id="{{span.get_span_context().trace_id:032x}}"'
    lines = engine.metrics_text(openmetrics=True).decode().splitlines()
    print(sum(wanted in line for line in lines))
    print([line for line in lines if line.startswith("anya_request_duration_seconds_count")][0].split()[-1])
    """
    done = run_python(code)
    assert done.stdout == "1\n1\n", done.stderr


def test_what_is_lost_with_a_killed_process() -> None:
    """A second at most: that is how often it is written."""
    assert _shared_families.INTERVAL <= 1.0
