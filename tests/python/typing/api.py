# SPDX-License-Identifier: Apache-2.0
"""The public API as its users type it: never run, only read by `mypy --strict`.

`assert_type` holds what comes out; a call that a user may write and mypy refuses is an error here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import anya_engine as anya

Answer = dict[str, np.ndarray[Any, Any]]


def making(path: Path) -> None:
    """Engines and where they come from."""
    assert_type(anya.Engine(), anya.Engine)
    assert_type(anya.Engine(anya.EngineConfig(), runtime=path), anya.Engine)
    assert_type(anya.Engine(None, runtime="/usr/lib/libonnxruntime.so"), anya.Engine)
    assert_type(anya.Engine.from_file("engine.toml"), anya.Engine)
    assert_type(anya.Engine.from_file(path, runtime=path), anya.Engine)
    with anya.Engine() as engine:
        assert_type(engine, anya.Engine)


def configuring() -> anya.EngineConfig:
    """Configurations."""
    batching = anya.BatchingConfig(
        max_batch_size=32,
        max_queue_delay_microseconds=100,
        max_queue_size=64,
        priority_levels=2,
        default_priority_level=2,
        default_queue_policy=anya.QueuePolicy(default_timeout_microseconds=50_000, allow_timeout_override=True),
        priority_queue_policy={1: anya.QueuePolicy(max_queue_size=8)},
        queue_delay_target_microseconds=20_000,
    )
    model = anya.ModelConfig(
        source="model.onnx",
        providers=("CUDAExecutionProvider", ("CPUExecutionProvider", {"arena": "1"})),
        instances=2,
        intra_op_num_threads=1,
        session_options={"session.disable_prepacking": "1"},
        batching=batching,
        default_timeout=0.05,
        max_timeout=1.0,
    )
    assert_type(model.default_timeout, float | None)
    assert_type(model.instances, int | None)
    assert_type(model.batching.max_batch_size, int)
    return anya.EngineConfig(models={"ranker": model})


def ruling() -> anya.ModelConfig:
    """Rules for inputs and outputs."""
    return anya.ModelConfig(
        inputs={
            "image": anya.InputRule(min=-4.0, max=4, on_range="clip", finite="replace", replace_with=0.5),
            "ids": anya.InputRule(dtype="int64", shape=("N", 128, None), allowed=(0, 1), max_bytes=1 << 20),
            "text": anya.InputRule(max_length=4096, control="allow", normalize="nfc", utf8=True),
        },
        outputs={"y": anya.OutputRule(finite="reject", min=0.0, shape=(None, 10))},
        dims={"N": anya.DimRule(min=1, max=64)},
        max_rows=64,
    )


def loading(engine: anya.Engine, path: Path, data: bytes) -> None:
    """Models in and out."""
    info = engine.load("ranker", path)
    assert_type(info, anya.ModelInfo)
    engine.load("ranker", "model.onnx", version="blue", config=anya.ModelConfig())
    engine.load("ranker", data)
    assert_type(info.version, str)
    assert_type(info.inputs[0], anya.TensorSpec)
    assert_type(info.inputs[0].shape, tuple[int | str | None, ...])
    assert_type(info.signer, str | None)
    assert_type(info.batchable, bool)
    assert_type(engine.models(), list[anya.ModelInfo])
    engine.unload("ranker")
    engine.unload("ranker", "blue")


def asking(engine: anya.Engine, x: npt.NDArray[np.float32], inputs: Mapping[str, Any]) -> None:
    """The ways to ask and wait."""
    assert_type(engine.infer("ranker", x), Answer)
    assert_type(engine.infer("ranker", {"features": x}), Answer)
    answer = engine.infer(
        "ranker", inputs, outputs=["y"], version="1", timeout=0.5, priority=1, key="user", tenant="shop"
    )
    assert_type(answer["y"], np.ndarray[Any, Any])
    engine.infer("ranker", x, outputs=("y", "z"), key=b"user", timeout=1)
    engine.infer("ranker", x, key=17)


def asking_for_details(engine: anya.Engine, x: npt.NDArray[np.float32]) -> None:
    """Answers with their story."""
    response = engine.infer_detailed("ranker", x, timeout=0.5)
    assert_type(response, anya.Response)
    assert_type(response.outputs, Answer)
    assert_type(response.version, str)
    assert_type(response.attempts, tuple[anya.Attempt, ...])
    assert_type(response.stale_age, float | None)
    assert_type(response.batch_size, int)
    assert_type(response.sanitized, Mapping[str, int])


def asking_later(engine: anya.Engine, x: npt.NDArray[np.float32]) -> None:
    """Futures."""
    future = engine.submit("ranker", x, timeout=0.5, priority=2)
    assert_type(future, anya.Future)
    answer: Answer = future.result(timeout=1.0)
    answer = future.result()
    error: BaseException | None = future.exception(0.5)
    done: bool = future.done() and not future.cancelled() and future.cancel()
    future.add_done_callback(finished)
    del answer, error, done


def finished(future: anya.Future) -> None:
    """What a future calls back."""
    print(future.done())


async def asking_from_a_loop(engine: anya.Engine, x: npt.NDArray[np.float32]) -> None:
    """The asynchronous ways."""
    assert_type(await engine.infer_async("ranker", {"features": x}, timeout=0.02, key="user"), Answer)
    assert_type(await engine.infer_detailed_async("ranker", x), anya.Response)
    first, second = await asyncio.gather(engine.infer_async("ranker", x), engine.infer_async("ranker", x))
    assert_type(first, Answer)
    assert_type(second, Answer)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(engine.infer_async("ranker", x))
    assert_type(task.result(), Answer)


def watching(engine: anya.Engine) -> None:
    """What an engine tells."""
    from prometheus_client import REGISTRY

    REGISTRY.register(engine.collector())
    health = engine.health()
    assert_type(health, anya.Health)
    assert_type(health.models["ranker"].version, str | None)
    stats = engine.stats()
    assert_type(stats, anya.EngineStats)
    for model in stats.models:
        assert_type(model, anya.ModelStats)
        assert_type(model.accepted, int)
        assert_type(model.tensors[0].sanitized, int)
        assert_type(model.batch_size, anya.HistogramSnapshot)
    engine.close()


def planning(engine: anya.Engine, path: Path) -> None:
    """Configurations applied, repositories, watches."""
    where = anya.RepositoryConfig(path=path, version_policy=anya.VersionPolicy(latest=1))
    ranker = anya.ModelConfig(
        version_policy=anya.VersionPolicy(specific=("3", "4")),
        version_labels={"stable": "3"},
        version_transition="resource_preserving",
    )
    config = anya.EngineConfig(models={"ranker": ranker}, repository=where)
    assert_type(config.to_toml(), str)
    plan = engine.plan(config)
    assert_type(plan, anya.Plan)
    if plan:
        print(plan, plan.steps, plan.problems, plan.as_dict())
    engine.plan("engine.toml")
    try:
        assert_type(engine.apply(path), anya.Plan)
    except anya.ApplyError as error:
        print(error.__cause__)
    watch = engine.watch(path, interval=1)
    assert_type(watch, anya.Watch)
    assert_type(watch.running, bool)
    assert_type(watch.step(), anya.Plan | None)
    watch.stop()
    assert_type(engine.models()[0].labels, tuple[str, ...])


def changing_versions(engine: anya.Engine) -> None:
    """Rollouts."""
    strategy = anya.Canary(steps=(1, 10), metrics=("errors", "clicks"))
    assert_type(strategy.steps, tuple[float, ...])
    status = engine.deploy("ranker", "2", strategy)
    assert_type(status, anya.RolloutStatus)
    engine.deploy("ranker", "2", anya.BlueGreen(keep_warm=60.0))
    engine.deploy("ranker", "2", anya.Shadow(share=0.5))
    engine.report("ranker", "clicks", bad=True, key="user-1")
    for change in (engine.promote, engine.rollback, engine.pause, engine.resume, engine.status):
        assert_type(change("ranker"), anya.RolloutStatus)
    assert_type(status.weights, Mapping[str, float])
    assert_type(status.evidence["errors"].against, float)
    assert_type(status.events, tuple[anya.RolloutEvent, ...])
    if status.shadow is not None:
        assert_type(status.shadow.compared, int)


def failing(engine: anya.Engine, x: npt.NDArray[np.float32]) -> None:
    """What handlers catch."""
    try:
        engine.infer("ranker", x)
    except anya.InvalidInput as error:
        assert_type(error.code, str)
        assert_type(error.field, str | None)
        assert_type(error.index, int | None)
        as_python: ValueError = error
        del as_python
    except anya.DeadlineExceeded as late:
        as_timeout: TimeoutError = late
        del as_timeout
    except anya.OutOfMemory as no_memory:
        as_memory: MemoryError = no_memory
        del as_memory
    except (anya.Overloaded, anya.Unavailable, anya.ExecutionError, anya.ModelNotFound, anya.Cancelled) as refused:
        assert_type(refused.retryable, bool)
    except anya.AnyaError as other:
        assert_type(other.attempts, tuple[Any, ...])
