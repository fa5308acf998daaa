# SPDX-License-Identifier: Apache-2.0
"""What the machine does: psutil there or missing, a GPU that comes, goes and returns."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from python.support import until

import anya_engine as anya
from anya_engine._core import MetricFamily
from anya_engine._system import Gpus, host_families, process_families


def values(families: Iterable[MetricFamily]) -> dict[str, list[tuple[list[str], float]]]:
    """Series by family."""
    return {family.name: family.samples for family in families}


class NotSupported(Exception):
    """As NVIDIA's library has it."""


class FakeNvml:
    """Two GPUs as pynvml shows them; the second is a slice that has no utilisation."""

    NVMLError_NotSupported = NotSupported

    def __init__(self) -> None:
        self.gone = False
        self.started = 0

    def nvmlInit(self) -> None:
        if self.gone:
            raise RuntimeError("Driver Not Loaded")
        self.started += 1

    def nvmlDeviceGetCount(self) -> int:
        if self.gone:
            raise RuntimeError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, number: int) -> int:
        return number

    def nvmlDeviceGetMemoryInfo(self, device: int) -> Any:
        return SimpleNamespace(used=1000 + device, total=8000)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> Any:
        if device == 1:
            raise NotSupported
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetPowerUsage(self, device: int) -> int:
        return 61_500


def test_a_gpu_in_numbers() -> None:
    """Ratios, bytes and watts of each GPU; what one cannot say is left out."""
    found = values(Gpus(FakeNvml).families())
    assert found["anya_gpu_memory_used_bytes"] == [(["0"], 1000), (["1"], 1001)]
    assert found["anya_gpu_memory_total_bytes"] == [(["0"], 8000), (["1"], 8000)]
    assert found["anya_gpu_utilization_ratio"] == [(["0"], pytest.approx(0.37))]
    assert found["anya_gpu_power_watts"] == [(["0"], 61.5), (["1"], 61.5)]


def test_a_gpu_that_disappears_is_an_error_and_may_return() -> None:
    """Its loss is raised at each scrape until the library can be started again."""
    nvml = FakeNvml()
    gpus = Gpus(lambda: nvml)
    assert values(gpus.families())
    nvml.gone = True
    for words in ("GPU is lost", "Driver Not Loaded"):
        with pytest.raises(RuntimeError, match=words):
            gpus.families()
    nvml.gone = False
    assert values(gpus.families())["anya_gpu_power_watts"]
    assert nvml.started == 2


def test_a_machine_without_gpus_says_nothing() -> None:
    """No library, or no driver from the start, is no error."""

    def missing() -> Any:
        raise ModuleNotFoundError("pynvml")

    lost = FakeNvml()
    lost.gone = True
    assert values(Gpus(missing).families()) == values(Gpus(lambda: lost).families()) == {}


def test_the_loss_of_a_gpu_is_visible_in_a_scrape(engine: anya.Engine, caplog: pytest.LogCaptureFixture) -> None:
    """The source goes down, a log record says why, and requests and other metrics do not notice."""
    nvml = FakeNvml()
    engine._metrics._local["nvml"] = Gpus(lambda: nvml).families
    assert 'anya_gpu_memory_used_bytes{gpu="1"} 1001' in engine.metrics_text().decode()
    nvml.gone = True
    text = engine.metrics_text().decode()
    assert "anya_gpu_memory_used_bytes" not in text
    assert 'anya_metrics_source_up{source="nvml"} 0' in text and 'anya_metrics_source_up{source="build"} 1' in text
    until(lambda: "GPU is lost" in caplog.text, "the log record")


def test_without_psutil_it_says_what_to_install(
    engine: anya.Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The source is down and the log record has the command."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert 'anya_metrics_source_up{source="psutil"} 0' in engine.metrics_text().decode()
    until(lambda: "pip install 'anya-engine[metrics]'" in caplog.text, "the log record")


def test_host_and_process_with_psutil() -> None:
    """Numbers of this machine and this process, by the standard names."""
    pytest.importorskip("psutil")
    host = values(host_families())
    assert 0 <= host["anya_host_cpu_utilization_ratio"][0][1] <= 1
    available, total = (host[f"anya_host_memory_{each}_bytes"][0][1] for each in ("available", "total"))
    assert 0 < available < total
    process = values(process_families())
    assert process["process_cpu_seconds"][0][1] > 0
    assert process["process_resident_memory_bytes"][0][1] > 1 << 20
    assert process["process_max_fds"][0][1] == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert process["process_open_fds"][0][1] >= 3
