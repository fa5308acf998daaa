# SPDX-License-Identifier: Apache-2.0
"""What the machine does: process and host by psutil, GPUs by NVIDIA's library. Each is there or says why not.

Raises what its library raises: `Metrics` turns that into `anya_metrics_source_up` 0 and one log record.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from ._core import MetricFamily

__all__ = ["Gpus", "host_families", "process_families"]


def _psutil() -> Any:
    try:
        import psutil
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("psutil is not installed: pip install 'anya-engine[metrics]'") from error
    return psutil


def host_families() -> Iterable[MetricFamily]:
    """Load of the machine, and memory of it that is free."""
    psutil = _psutil()
    cpu = MetricFamily(
        "anya_host_cpu_utilization_ratio", "gauge", "Busy share of all cores since the last scrape.", [], "max"
    )
    cpu.add([], psutil.cpu_percent(interval=None) / 100)
    memory = psutil.virtual_memory()
    available = MetricFamily(
        "anya_host_memory_available_bytes", "gauge", "Memory that programs can still have.", [], "min"
    )
    available.add([], memory.available)
    total = MetricFamily("anya_host_memory_total_bytes", "gauge", "Memory of the machine.", [], "max")
    total.add([], memory.total)
    return cpu, available, total


def process_families() -> Iterable[MetricFamily]:
    """This process, by the names of prometheus_client's own process collector: for an endpoint that has none."""
    process = _psutil().Process()
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
        facts = [
            ("process_cpu_seconds", "counter", "CPU time in seconds.", times.user + times.system),
            ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", memory.rss),
            ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", memory.vms),
            ("process_open_fds", "gauge", "Number of open file descriptors.", process.num_fds()),
            ("process_max_fds", "gauge", "Maximum number of open file descriptors.", most_files),
            ("process_start_time_seconds", "gauge", "Start time of the process, Unix time.", process.create_time()),
            ("process_threads", "gauge", "Threads of the process.", process.num_threads()),
        ]
    found = []
    for name, kind, words, value in facts:
        family = MetricFamily(name, kind, words)
        family.add([], value)
        found.append(family)
    return found


class Gpus:
    """What NVIDIA's library says of every GPU. Thread-safe.

    A GPU that is gone takes its series with it and is an error; when it is back, so are they. A machine whose library
    has never answered has no GPUs: that is no error.
    """

    def __init__(self, library: Callable[[], ModuleType | Any]) -> None:
        """`library`: gives the module `pynvml`; raises ImportError where there is none."""
        self._library = library
        self._lock = threading.Lock()
        self._nvml: Any = None
        self._has_answered = False

    def families(self) -> Iterable[MetricFamily]:
        """Of every GPU that answers."""
        with self._lock:
            try:
                nvml = self._ready()
            except Exception:
                if self._has_answered:
                    raise
                return ()
            try:
                return self._ask(nvml)
            except Exception:
                self._nvml = None  # the driver may have been restarted: begin anew at the next scrape
                raise

    def _ready(self) -> Any:
        if self._nvml is None:
            nvml = self._library()
            nvml.nvmlInit()
            self._nvml, self._has_answered = nvml, True
        return self._nvml

    def _ask(self, nvml: Any) -> Iterable[MetricFamily]:
        label = ["gpu"]
        utilization = MetricFamily("anya_gpu_utilization_ratio", "gauge", "Share of time it computed.", label, "max")
        used = MetricFamily("anya_gpu_memory_used_bytes", "gauge", "Memory in use, by anybody.", label, "max")
        total = MetricFamily("anya_gpu_memory_total_bytes", "gauge", "Memory of the GPU.", label, "max")
        power = MetricFamily("anya_gpu_power_watts", "gauge", "Power that it draws.", label, "max")
        for number in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(number)
            memory = nvml.nvmlDeviceGetMemoryInfo(device)
            used.add([str(number)], memory.used)
            total.add([str(number)], memory.total)
            for family, ask, scale in (
                (utilization, lambda each: nvml.nvmlDeviceGetUtilizationRates(each).gpu, 0.01),
                (power, nvml.nvmlDeviceGetPowerUsage, 0.001),
            ):
                try:
                    family.add([str(number)], ask(device) * scale)
                except nvml.NVMLError_NotSupported:  # a slice of a GPU has no such number
                    continue
        return utilization, used, total, power


def nvml() -> ModuleType:
    """NVIDIA's binding of its management library, where it is installed."""
    import pynvml  # type: ignore[import-untyped, unused-ignore]

    return pynvml  # type: ignore[no-any-return, unused-ignore]
