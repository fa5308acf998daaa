# SPDX-License-Identifier: Apache-2.0
"""Serve ONNX models inside your own process.

Public is what this module exports, and every module whose name has no underscore.
"""

from __future__ import annotations

from .caching import CacheConfig
from .config import BatchingConfig, EngineConfig, ModelConfig, QueuePolicy
from .drift import DriftConfig, DriftReport, DriftWindow, FeatureDrift
from .errors import (
    AnyaError,
    ApplyError,
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    ExecutionError,
    FileMissing,
    HashMismatch,
    InputTooLarge,
    InvalidInput,
    ModelInvalid,
    ModelLoadError,
    ModelNotFound,
    ModelOutputInvalid,
    OutOfMemory,
    Overloaded,
    RegistryExpired,
    RegistryRollback,
    Revoked,
    SignatureInvalid,
    SignatureMalformed,
    SignatureMissing,
    TrustError,
    Unavailable,
    UnsafeFile,
    UnsignedFile,
    UntrustedKey,
)
from .monitoring import PredictionConfig
from .profile import Profile
from .repository import RepositoryConfig, VersionPolicy
from .resilience import BreakerPolicy, Default, Fallback, LastGood, RetryPolicy
from .rules import DimRule, InputRule, OutputRule
from .strategies import BlueGreen, Canary, Shadow
from .trust import ModelLimits, TrustConfig

__all__ = [
    "AnyaError",
    "ApplyError",
    "Attempt",
    "BatchingConfig",
    "BlueGreen",
    "BreakerPolicy",
    "CacheConfig",
    "CacheStats",
    "Canary",
    "Cancelled",
    "CircuitEvent",
    "CircuitStats",
    "ConfigError",
    "DeadlineExceeded",
    "Default",
    "DimRule",
    "DriftConfig",
    "DriftReport",
    "DriftWindow",
    "Engine",
    "EngineConfig",
    "EngineStats",
    "ExecutionError",
    "Fallback",
    "FeatureDrift",
    "FileMissing",
    "Future",
    "HashMismatch",
    "Health",
    "HistogramSnapshot",
    "InputRule",
    "InputTooLarge",
    "InvalidInput",
    "LastGood",
    "MetricEvidence",
    "MetricsServer",
    "ModelConfig",
    "ModelHealth",
    "ModelInfo",
    "ModelInvalid",
    "ModelLimits",
    "ModelLoadError",
    "ModelNotFound",
    "ModelOutputInvalid",
    "ModelStats",
    "OutOfMemory",
    "OutputRule",
    "Overloaded",
    "Plan",
    "PredictionConfig",
    "Profile",
    "QueuePolicy",
    "RegistryExpired",
    "RegistryRollback",
    "RepositoryConfig",
    "ResilienceStats",
    "Response",
    "RetryPolicy",
    "Revoked",
    "RolloutEvent",
    "RolloutStatus",
    "RunTime",
    "Shadow",
    "ShadowReport",
    "SignatureInvalid",
    "SignatureMalformed",
    "SignatureMissing",
    "TensorCount",
    "TensorSpec",
    "TrustConfig",
    "TrustError",
    "Unavailable",
    "UnsafeFile",
    "UnsignedFile",
    "UntrustedKey",
    "VersionPolicy",
    "Watch",
    "__version__",
    "start_metrics_server",
]

try:
    from ._core import (
        CacheStats,
        CircuitEvent,
        CircuitStats,
        Future,
        HistogramSnapshot,
        ModelStats,
        RunTime,
        TensorCount,
    )
    from ._engine import Engine
    from ._info import (
        Attempt,
        EngineStats,
        Health,
        MetricEvidence,
        ModelHealth,
        ModelInfo,
        ResilienceStats,
        Response,
        RolloutEvent,
        RolloutStatus,
        ShadowReport,
        TensorSpec,
    )
    from ._metrics_server import MetricsServer, start_metrics_server
    from ._plan import Plan
    from ._watch import Watch
except ModuleNotFoundError as error:
    # Only when it is the extension that is missing: any other missing module says so itself.
    if error.name == f"{__name__}._core":
        error.add_note(
            "anya_engine's compiled part is not here. In a checkout, install it (pip install .) and run Python "
            "outside src/; nothing imports from the source tree."
        )
    raise


def __getattr__(name: str) -> str:
    # Reading a distribution's metadata costs a millisecond: only who asks pays.
    if name == "__version__":
        from importlib.metadata import version

        return version("anya-engine")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
