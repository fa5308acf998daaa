# SPDX-License-Identifier: Apache-2.0
"""Several processes scraped as one: sums, dead workers, folding, folders that cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS
from prometheus_client.parser import text_string_to_metric_families
from python.support import HUNG, Worker, floats, run_python

import anya_engine as anya
from anya_engine import _core, _shared_counts
from anya_engine._shared_counts import SharedCounts, totals_in

#: An engine of its own, which answers so many requests.
WORKER = """
import sys, numpy as np, anya_engine as anya
engine = anya.Engine(anya.EngineConfig(metrics_directory=sys.argv[1]))
engine.load("m", open(sys.argv[2], "rb").read(), version=sys.argv[3])
for line in sys.stdin:
    for _ in range(int(line)):
        engine.infer("m", np.ones((2, 3), np.float32))
    print("done", flush=True)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's file."""
    path = tmp_path / "m.onnx"
    path.write_bytes(MODELS["unnamed_batch"]())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where they count."""
    return tmp_path / "counts"


@pytest.fixture
def shared(folder: Path) -> Iterator[anya.Engine]:
    """This process's engine, which takes part."""
    with anya.Engine(anya.EngineConfig(metrics_directory=folder)) as engine:
        engine.load("m", MODELS["unnamed_batch"]())
        yield engine


def scraped(engine: anya.Engine) -> dict[str, float]:
    """Counts of version 1 as a scrape shows them."""
    families = text_string_to_metric_families(engine.metrics_text().decode())
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("version") == "1"
        and sample.labels.get("outcome", "ok") == "ok"
        and "le" not in sample.labels
    }


def test_workers_are_summed_and_the_dead_stay(shared: anya.Engine, folder: Path, model: Path) -> None:
    """Any process answers for all; a killed worker's counts stay, its gauges go; a new one adds to them."""
    shared.infer("m", floats(2, 3))
    workers = [Worker("-c", WORKER, folder, model, "1") for _ in range(2)]
    for worker, count in zip(workers, (10, 5), strict=True):
        assert worker.ask(count) == "done\n"
    together = scraped(shared)
    assert together["anya_requests_total"] == together["anya_request_duration_seconds_count"] == 16
    assert together["anya_batch_size_sum"] == 32
    assert together["anya_workers"] == 3 * shared.models()[0].instances
    for worker in workers:
        worker.kill()
    alone = scraped(shared)
    assert alone["anya_requests_total"] == 16
    assert alone["anya_workers"] == shared.models()[0].instances
    assert alone["anya_inflight_requests"] == alone["anya_queue_depth"] == alone["anya_workers_busy"] == 0
    late = Worker("-c", WORKER, folder, model, "1")
    assert late.ask(4) == "done\n"
    assert scraped(shared)["anya_requests_total"] == 20
    late.kill()


def test_a_version_is_shown_while_somebody_has_it(shared: anya.Engine, folder: Path, model: Path) -> None:
    """A version that lives in another process alone is in this one's scrape; with its last holder it leaves."""
    worker = Worker("-c", WORKER, folder, model, "7")
    assert worker.ask(3) == "done\n"
    assert b'version="7"' in shared.metrics_text()
    worker.kill()
    assert b'version="7"' not in shared.metrics_text().replace(b"anya_build_info", b"")


def test_files_of_the_dead_are_folded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many dead files become one, nothing is lost, counted twice, or goes down; what lives is left alone."""
    counts = SharedCounts(str(folder))
    facts = {"name": "m", "version": "1", "instances": 1, "max_queue_size": 8, "memory": 5, "classes": None}
    words = np.zeros(_core.counters_size() // 8, np.uint64)
    words[0] = 3  # accepted, in the first shard

    def one() -> tuple[int, Any]:
        number, memory = counts.new()
        memory[4096:] = words.tobytes()
        counts.describe(memory, facts)
        return number, memory

    one()
    for dead in range(1, 31):
        counts.forget(one()[0])
        (total,) = totals_in(str(folder))
        assert total.accepted == 3 * (dead + 1)
        assert (total.instances, total.in_flight) == (1, 3)
    assert len(list(folder.glob("*.counts"))) < 12 and len(list(folder.glob("*.sum"))) == 1
    counts.close()
    assert totals_in(str(folder)) == []


def test_a_fold_that_died_half_way_counts_nothing_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the writing of a sum and the removal of what is in it, a scrape counts it once."""
    counts = SharedCounts(str(folder))
    facts = {"name": "m", "version": "1", "instances": 1, "max_queue_size": 8, "memory": 5, "classes": None}
    words = np.zeros(_core.counters_size() // 8, np.uint64)
    words[0] = 3
    for index in range(12):
        number, memory = counts.new()
        memory[4096:] = words.tobytes()
        counts.describe(memory, facts)
        if index:
            counts.forget(number)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # killed right before
    for _ in range(3):
        (total,) = totals_in(str(folder))
        assert total.accepted == 36
    monkeypatch.undo()
    _shared_counts._fold(folder)
    (total,) = totals_in(str(folder))
    assert total.accepted == 36
    assert len(list(folder.glob("*.counts"))) == 1


def test_versions_that_nobody_has_are_forgotten(folder: Path) -> None:
    """The sum of a version goes a day after the last worker that had it, and not while one has it."""
    counts = SharedCounts(str(folder))

    def one(version: str) -> int:
        number, memory = counts.new()
        facts = {"name": "m", "instances": 1, "max_queue_size": 8, "memory": 5, "classes": None}
        counts.describe(memory, {**facts, "version": version})
        return number

    one("kept")
    for version in ("kept", "gone", "fresh"):
        counts.forget(one(version))
    _shared_counts._fold(folder)
    names = {json.loads(path.read_bytes()[:4096].rstrip(b"\0"))["version"]: path for path in folder.glob("*.sum")}
    assert names.keys() == {"kept", "gone", "fresh"}
    for version in ("kept", "gone"):
        os.utime(names[version], (1.0, 1.0))
    _shared_counts._fold(folder)
    assert {version for version, path in names.items() if path.exists()} == {"kept", "fresh"}
    counts.close()


def test_what_is_not_ready_or_foreign_is_left_out(shared: anya.Engine, folder: Path) -> None:
    """A file without a head, or of another layout, is nobody's counts."""
    (folder / "empty.counts").write_bytes(b"")
    other = json.dumps({"layout": "another", "name": "m", "version": "1"}).encode()
    (folder / "other.counts").write_bytes(other.ljust(4096, b"\0") + bytes(_core.counters_size()))
    shared.infer("m", floats(2, 3))
    assert scraped(shared)["anya_requests_total"] == 1


def test_a_folder_that_cannot_be_trusted_is_refused(tmp_path: Path) -> None:
    """One that others may write in, or that is none, is a ConfigError that names the field."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "file").write_text("")
    for place in ("open", "file"):
        with pytest.raises(anya.ConfigError) as refused:
            anya.Engine(anya.EngineConfig(metrics_directory=tmp_path / place))
        assert refused.value.field == "metrics_directory"


def test_a_load_that_fails_leaves_no_file(shared: anya.Engine, folder: Path) -> None:
    """What was made for it is taken away again."""
    with pytest.raises(anya.ModelLoadError):
        shared.load("bad", b"no model")
    assert len(list(folder.glob("*.counts"))) == 1


def test_a_control_slice_counts_in_the_file(shared: anya.Engine) -> None:
    """What the control slice answers is in the sums, in its role."""
    shared.load("m", MODELS["unnamed_batch"](), version="2")
    shared.deploy("m", "2", anya.Canary(steps=(25,), interval=60.0, control=True))
    for key in range(100):
        shared.infer("m", floats(1, 3), key=key)
    text = shared.metrics_text().decode()
    for version, role in (("1", "control"), ("1", "stable"), ("2", "canary")):
        start = f'anya_requests_total{{model="m",version="{version}",outcome="ok",role="{role}"}} '
        assert any(line.startswith(start) and not line.endswith(" 0") for line in text.splitlines()), start


def test_the_command_line_sums_without_a_model(shared: anya.Engine, folder: Path, tmp_path: Path) -> None:
    """`anya-engine metrics CONFIG` prints what the processes of the folder have counted, and loads nothing."""
    shared.infer("m", floats(2, 3))
    config = tmp_path / "engine.toml"
    config.write_text(f'metrics_directory = "{folder}"\n[models.gone]\nsource = "nowhere.onnx"\n')
    done = subprocess.run(
        [sys.executable, "-m", "anya_engine", "metrics", str(config)], capture_output=True, text=True, timeout=HUNG
    )
    assert done.returncode == 0, done.stderr
    assert 'anya_requests_total{model="m",version="1",outcome="ok",role="stable"} 1' in done.stdout.splitlines()


def test_a_forked_child_does_not_keep_its_parent_alive() -> None:
    """The lock of a process goes with it, whatever its children do."""
    code = """
    import tempfile, time
    from anya_engine._shared_counts import SharedCounts, totals_in
    folder = tempfile.mkdtemp()
    counts = SharedCounts(folder)
    number, memory = counts.new()
    facts = {"name": "m", "version": "1", "instances": 1, "max_queue_size": 8, "memory": 5, "classes": None}
    counts.describe(memory, facts)
    reading, writing = os.pipe()
    is_there, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.write(says, b".")
        os.read(reading, 1)
        os._exit(0)
    os.read(is_there, 1)
    counts.forget(number)
    print(len(totals_in(folder)))
    os.close(writing)
    os.waitpid(child, 0)
    """
    done = run_python(code)
    assert done.stdout == "0\n", done.stderr
