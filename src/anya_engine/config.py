# SPDX-License-Identifier: Apache-2.0
"""Every knob of the engine: frozen, checked on construction, readable from TOML.

Names and defaults are those of the core (cpp/include/anya/options.h); a test compares the two. Change a configuration
with `dataclasses.replace`. A configuration that exists is valid: what is wrong is refused with a `ConfigError` that
names the field, the limit and the value.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias, get_args

from . import _checks as check
from ._fallback import check_cycles
from ._frozen import FrozenMapping
from ._tables import FromTable, build, inside, table, table_of, with_message
from ._toml import dumps, plain
from .caching import CacheConfig
from .drift import DriftConfig
from .errors import ConfigError
from .monitoring import PredictionConfig
from .repository import RepositoryConfig, Transition, VersionPolicy
from .repository import labels as version_labels
from .resilience import BreakerPolicy, Fallback, LastGood, Link, RetryPolicy, chain
from .rules import RULE_TABLES, DimRule, InputRule, OutputRule, check_rules
from .trust import ModelLimits, TrustConfig

__all__ = ["BatchingConfig", "EngineConfig", "ModelConfig", "Provider", "QueuePolicy"]

# An execution provider by ONNX Runtime's name, alone or with ONNX Runtime's own options for it.
Provider: TypeAlias = str | tuple[str, Mapping[str, str]]

# Seconds; beyond them a timeout is a mistake.
_LONGEST_TIMEOUT = 1e9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class QueuePolicy(FromTable):
    """How the requests of a priority level wait. The names are Triton's; where the meaning differs, it is said here.

    Attributes:
        timeout_action: "REJECT": a request whose time in the queue is over ends with `DeadlineExceeded`, on time even
            when the model is stuck. (Triton's "DELAY" does not exist here.)
        default_timeout_microseconds: How long a request may wait for its run; what has started is not stopped by it.
            0: as long as its own `timeout` lets it.
        allow_timeout_override: Whether a request's own `timeout`, when it ends sooner, moves the request forward in its
            level. It ends the request in any case (in Triton it would be ignored).
        max_queue_size: Requests of the level waiting at most; 0: the bound of the whole queue alone.
    """

    timeout_action: str = "REJECT"
    default_timeout_microseconds: int = 0
    allow_timeout_override: bool = False
    max_queue_size: int = 0

    def __post_init__(self) -> None:
        check.choice("timeout_action", self.timeout_action, ("REJECT",))
        timeout = check.integer("default_timeout_microseconds", self.default_timeout_microseconds, 0, 10**12)
        _set(self, "default_timeout_microseconds", timeout)
        check.boolean("allow_timeout_override", self.allow_timeout_override)
        _set(self, "max_queue_size", check.integer("max_queue_size", self.max_queue_size, 0, 1 << 20))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchingConfig:
    """How requests share a run. The names are Triton's; where the meaning differs, it is said here.

    Attributes:
        max_batch_size: Rows in one run at most; 1 turns batching off. A request with more rows runs alone, in one run.
        max_queue_delay_microseconds: How long an instance that has just been freed may wait for more company, and
            only while another request arrived within the last such delay. A request that finds an instance idle never
            waits (in Triton it would).
        max_queue_size: Requests waiting at most; one more is refused with `Overloaded` (Triton's 0 = unbounded does
            not exist here).
        max_in_place_microseconds: A batch that an event loop submits runs on the loop's own thread when it is predicted
            to take less than this: a hop to a worker and back costs about as much; 2 more for each request in it,
            half of what the loop spends on it anyway. A request by itself: four times this, since a loop asked so
            seldom is slow to hop, too. 0: never.
        priority_levels: Requests may name a priority from 1 (highest) to this; 0: from 1 to 255.
        default_priority_level: The level of a request that names none; 0: the middle one, which is 128 of 255.
        default_queue_policy: How requests wait.
        priority_queue_policy: How those of some levels wait instead, by level.
        queue_delay_target_microseconds: When no request has waited less than this for an interval, the queue holds more
            than it can serve in time: a request that would wait longer is then refused with `Overloaded`, lower levels
            first, until the waits are half of it. 0: half of the model's `default_timeout`; without one, never.
        queue_delay_interval_microseconds: That interval: a burst shorter than this is no overload.
        force: Batch even if the check at load says that rows depend on their company. Answers may then differ.
    """

    max_batch_size: int = 64
    max_queue_delay_microseconds: int = 0
    max_queue_size: int = 1024
    max_in_place_microseconds: int = 50
    priority_levels: int = 0
    default_priority_level: int = 0
    default_queue_policy: QueuePolicy = dataclasses.field(default_factory=QueuePolicy)
    priority_queue_policy: Mapping[int, QueuePolicy] = dataclasses.field(default_factory=FrozenMapping)
    queue_delay_target_microseconds: int = 0
    queue_delay_interval_microseconds: int = 100_000
    force: bool = False

    def __post_init__(self) -> None:
        _set(self, "max_batch_size", check.integer("max_batch_size", self.max_batch_size, 1, 1 << 20))
        delay = check.integer("max_queue_delay_microseconds", self.max_queue_delay_microseconds, 0, 60_000_000)
        _set(self, "max_queue_delay_microseconds", delay)
        _set(self, "max_queue_size", check.integer("max_queue_size", self.max_queue_size, 1, 1 << 20))
        in_place = check.integer("max_in_place_microseconds", self.max_in_place_microseconds, 0, 1_000_000)
        _set(self, "max_in_place_microseconds", in_place)
        _set(self, "priority_levels", check.integer("priority_levels", self.priority_levels, 0, 255))
        lowest = self.priority_levels or 255
        level = check.integer("default_priority_level", self.default_priority_level, 0, lowest)
        _set(self, "default_priority_level", level)
        check.instance("default_queue_policy", self.default_queue_policy, QueuePolicy)
        check.mapping("priority_queue_policy", self.priority_queue_policy)
        policies = {}
        for key, policy in self.priority_queue_policy.items():
            policies[check.integer("priority_queue_policy", key, 1, lowest)] = policy
            check.instance(f"priority_queue_policy.{key}", policy, QueuePolicy)
        _set(self, "priority_queue_policy", FrozenMapping(policies))
        target = check.integer("queue_delay_target_microseconds", self.queue_delay_target_microseconds, 0, 10**12)
        _set(self, "queue_delay_target_microseconds", target)
        interval = check.integer("queue_delay_interval_microseconds", self.queue_delay_interval_microseconds, 1, 10**12)
        _set(self, "queue_delay_interval_microseconds", interval)
        check.boolean("force", self.force)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BatchingConfig:
        """Build from plain values, as TOML holds them; unknown keys are refused."""
        nested = {"default_queue_policy": QueuePolicy.from_dict, "priority_queue_policy": _policies}
        return build(cls, values, nested)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """How one model is opened and run.

    Attributes:
        source: Where the model is, when the engine itself is to load it: an .onnx file or a model directory. Belongs
            to an `EngineConfig`; `Engine.load` has an argument of that name and ignores this.
        version: The version to load `source` as; None: the next number, or the one that came from `source` before.
        version_policy: Which versions of this name are loaded from the engine's repository; None: the repository's.
        version_labels: Names for versions, such as {"stable": "3", "canary": "4"}; a request may give one as its
            `version`. "stable" answers requests that give none; without it the newest version does.
        version_transition: How `Engine.apply` gets from one version to the next. "availability_preserving": the new one
            is loaded before the old one goes. "resource_preserving": the old one goes first, for models that do not
            fit twice; in between there is no such model.
        providers: ONNX Runtime's execution providers in order of preference, each a name or a pair of name and options.
        instances: Runs at once; None: usable cores / `intra_op_num_threads`. All share one session, so weights are
            held once.
        intra_op_num_threads: Threads inside one operator.
        inter_op_num_threads: Threads between operators.
        graph_optimization_level: "disable", "basic", "extended" or "all".
        allow_spinning: Let ONNX Runtime's own threads burn their core while they wait.
        enable_mem_pattern: ONNX Runtime plans memory by the shapes it has seen.
        enable_cpu_mem_arena: ONNX Runtime keeps freed memory for the next run.
        session_options: ONNX Runtime's `session.*` configuration entries, passed as they are.
        batching: How requests share a run.
        cache: The response cache; None: there is none.
        predictions: Where a classifier's answers say how sure it is; None: nobody looks.
        max_request_bytes: A request above it is refused from its descriptor, before its data is touched.
        default_timeout: Seconds that a request has which names no `timeout`; None: `max_timeout`.
        max_timeout: The longest `timeout` in seconds that a request may name; a longer one is refused. None: no limit.
        batch_check_rtol: With `batch_check_atol` the tolerance of the check at load that batched equals alone:
            |together - alone| <= atol + rtol * |alone|.
        batch_check_atol: See `batch_check_rtol`.
        inputs: What inputs may hold, by name. A rule here takes the place of the one that the model's own schema.toml
            has for the same input; so do `outputs` and `dims`, name by name, and `max_rows`.
        outputs: What answers must hold, by name.
        dims: Sizes of named dimensions.
        max_rows: Rows of one request; None: as many as `max_request_bytes` allows.
        drift: How inputs and outputs are compared with a reference; None: with the profile.json of a model directory
            that has one, else not at all.
        trust: What must hold of its origin before it is parsed; None: the engine's. Mode "off": nothing, of this model.
        model_limits: What it may consist of.
        retry: When a failed run is tried again; None: never.
        fallback: What answers when this model does not, in order: models by name, the last good answer, a default.
        breaker: When a version is asked no more for a while; None: never.
    """

    source: str | PathLike[str] | None = None
    version: str | None = None
    version_policy: VersionPolicy | None = None
    version_labels: Mapping[str, str] = dataclasses.field(default_factory=FrozenMapping)
    version_transition: Transition = "availability_preserving"
    providers: tuple[Provider, ...] = ("CPUExecutionProvider",)
    instances: int | None = None
    intra_op_num_threads: int = 1
    inter_op_num_threads: int = 1
    graph_optimization_level: str = "all"
    allow_spinning: bool = False
    enable_mem_pattern: bool = True
    enable_cpu_mem_arena: bool = True
    session_options: Mapping[str, str] = dataclasses.field(default_factory=FrozenMapping)
    batching: BatchingConfig = dataclasses.field(default_factory=BatchingConfig)
    cache: CacheConfig | None = None
    predictions: PredictionConfig | None = None
    max_request_bytes: int = 256 << 20
    default_timeout: float | None = None
    max_timeout: float | None = None
    batch_check_rtol: float = 1e-3
    batch_check_atol: float = 1e-5
    inputs: Mapping[str, InputRule] = dataclasses.field(default_factory=FrozenMapping)
    outputs: Mapping[str, OutputRule] = dataclasses.field(default_factory=FrozenMapping)
    dims: Mapping[str, DimRule] = dataclasses.field(default_factory=FrozenMapping)
    max_rows: int | None = None
    drift: DriftConfig | None = None
    trust: TrustConfig | None = None
    model_limits: ModelLimits = dataclasses.field(default_factory=ModelLimits)
    retry: RetryPolicy | None = None
    fallback: tuple[str | Link, ...] = ()
    breaker: BreakerPolicy | None = None

    def __post_init__(self) -> None:
        if self.source is not None:
            _set(self, "source", check.path("source", self.source))
        if self.version is not None:
            check.name("version", self.version)
        if self.version_policy is not None:
            check.instance("version_policy", self.version_policy, VersionPolicy)
            if self.source is not None:
                check.refuse("version_policy", "is for versions of a repository, a source is one", self.version_policy)
        _set(self, "version_labels", version_labels("version_labels", self.version_labels))
        check.choice("version_transition", self.version_transition, get_args(Transition))
        _set(self, "providers", check.providers("providers", self.providers))
        if self.instances is not None:
            _set(self, "instances", check.integer("instances", self.instances, 1, 1024))
        for field in ("intra_op_num_threads", "inter_op_num_threads"):
            _set(self, field, check.integer(field, getattr(self, field), 1, 1024))
        level = self.graph_optimization_level
        check.choice("graph_optimization_level", level, ("disable", "basic", "extended", "all"))
        for field in ("allow_spinning", "enable_mem_pattern", "enable_cpu_mem_arena"):
            check.boolean(field, getattr(self, field))
        _set(self, "session_options", check.session_options("session_options", self.session_options))
        check.instance("batching", self.batching, BatchingConfig)
        if self.cache is not None:
            check.instance("cache", self.cache, CacheConfig)
        if self.predictions is not None:
            check.instance("predictions", self.predictions, PredictionConfig)
        _set(self, "max_request_bytes", check.integer("max_request_bytes", self.max_request_bytes, 1, 1 << 50))
        for field in ("default_timeout", "max_timeout"):
            if getattr(self, field) is not None:
                _set(self, field, check.number(field, getattr(self, field), 1e-6, _LONGEST_TIMEOUT))
        if self.default_timeout is not None and self.max_timeout is not None:
            check.number("default_timeout", self.default_timeout, 1e-6, self.max_timeout)
        for field in ("batch_check_rtol", "batch_check_atol"):
            _set(self, field, check.number(field, getattr(self, field), 0.0, 1e6))
        check_rules(self)
        if self.drift is not None:
            check.instance("drift", self.drift, DriftConfig)
        if self.trust is not None:
            check.instance("trust", self.trust, TrustConfig)
        check.instance("model_limits", self.model_limits, ModelLimits)
        for field, kind in (("retry", RetryPolicy), ("breaker", BreakerPolicy)):
            if getattr(self, field) is not None:
                check.instance(field, getattr(self, field), kind)
        _set(self, "fallback", chain("fallback", self.fallback))
        if any(isinstance(link, LastGood) for link in self.fallback) and self.cache is None:
            check.refuse("fallback", "LastGood needs ModelConfig.cache, which is where answers are kept", self.fallback)

    @property
    def links(self) -> tuple[Link, ...]:
        """`fallback`, each name as the `Fallback` that it stands for."""
        return tuple(Fallback(link) if isinstance(link, str) else link for link in self.fallback)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Build from plain values, as TOML holds them; unknown keys are refused."""
        nested = {
            "batching": BatchingConfig.from_dict,
            "cache": CacheConfig.from_dict,
            "predictions": PredictionConfig.from_dict,
            "version_policy": VersionPolicy.from_dict,
            "retry": RetryPolicy.from_dict,
            "breaker": BreakerPolicy.from_dict,
            "trust": TrustConfig.from_dict,
            "model_limits": ModelLimits.from_dict,
            "drift": DriftConfig.from_dict,
        }
        return build(cls, values, {**nested, **RULE_TABLES})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What an engine starts with.

    Attributes:
        models: Configuration by model name. An entry with a `source` is loaded when the engine starts; one without
            is what later loads of that name use, and versions of that name in the repository.
        repository: A directory of models and versions; all its models are loaded.
        process_group: A folder that the engines of several processes name to go through rollouts together: one of
            theirs, on one machine, made where there is none. None: rollouts are each process's own.
        trust: What must hold of the origin of models whose own configuration says nothing of it; None: nothing.
        metrics_directory: A folder that the engines of several processes name to be scraped as one: whoever answers
            gives the sums of all, dead workers included. Theirs alone, on one machine, made where there is none.
            None: each process answers for itself.
        tracing: OpenTelemetry spans for requests that are asked inside a sampled span. None: where OpenTelemetry has
            been set up (a tracer provider is set) before the engine is made.
    """

    models: Mapping[str, ModelConfig] = dataclasses.field(default_factory=FrozenMapping)
    repository: RepositoryConfig | None = None
    process_group: str | PathLike[str] | None = None
    trust: TrustConfig | None = None
    metrics_directory: str | PathLike[str] | None = None
    tracing: bool | None = None

    def __post_init__(self) -> None:
        if self.tracing is not None:
            check.boolean("tracing", self.tracing)
        check.mapping("models", self.models)
        for name, model in self.models.items():
            check.name("models", name)
            check.instance(f"models.{name}", model, ModelConfig)
            if model.version_policy is not None and self.repository is None:
                field = f"models.{check.key(name)}.version_policy"
                check.refuse(field, "is for versions of a repository, and there is none", model.version_policy)
        _set(self, "models", FrozenMapping(self.models))
        check_cycles({name: model.links for name, model in self.models.items()})
        if self.repository is not None:
            check.instance("repository", self.repository, RepositoryConfig)
        for field in ("process_group", "metrics_directory"):
            if getattr(self, field) is not None:
                _set(self, field, check.path(field, getattr(self, field)))
        if self.trust is not None:
            check.instance("trust", self.trust, TrustConfig)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EngineConfig:
        """Build from plain values, as TOML holds them; unknown keys are refused."""
        nested = {"models": table_of(ModelConfig.from_dict), "repository": RepositoryConfig.from_dict}
        return build(cls, values, {**nested, "trust": TrustConfig.from_dict})

    def model(self, name: str) -> ModelConfig:
        """What a model of this name is run by, the engine's trust included."""
        model = self.models.get(name, ModelConfig())
        return model if model.trust is not None else dataclasses.replace(model, trust=self.trust)

    @classmethod
    def from_toml(cls, path: str | PathLike[str]) -> EngineConfig:
        """Read a TOML file; relative paths in it are relative to the file's folder."""
        file = Path(path)
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror or error}", field="config") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not TOML: {error}", field="config") from error
        try:
            config = cls.from_dict(values)
        except ConfigError as error:
            raise with_message(error, f"{file}: {error}") from error
        folder = file.absolute().parent
        models = {name: _anchored(model, folder) for name, model in config.models.items()}
        repository = config.repository
        if repository is not None:
            repository = dataclasses.replace(repository, path=str(folder / fspath(repository.path)))
        shared: dict[str, Any] = {
            field: str(folder / fspath(path))
            for field in ("process_group", "metrics_directory")
            if (path := getattr(config, field)) is not None
        }
        trust = None if config.trust is None else config.trust.anchored(folder)
        return dataclasses.replace(config, models=models, repository=repository, trust=trust, **shared)

    def to_toml(self) -> str:
        """The file that `from_toml` reads as this configuration; what has its default is left out."""
        return dumps(plain(self))


def _set(config: object, field: str, value: object) -> None:
    # The one way a frozen dataclass may normalise what it was given.
    object.__setattr__(config, field, value)


def _anchored(model: ModelConfig, folder: Path) -> ModelConfig:
    source = None if model.source is None else str(folder / fspath(model.source))
    trust = model.trust and model.trust.anchored(folder)
    return dataclasses.replace(model, source=source, trust=trust, drift=model.drift and model.drift.anchored(folder))


def _policies(values: Mapping[str, Any]) -> dict[Any, QueuePolicy]:
    policies: dict[Any, QueuePolicy] = {}
    for key, value in table(values).items():
        # TOML's keys are text.
        level = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key
        try:
            policies[level] = value if isinstance(value, QueuePolicy) else QueuePolicy.from_dict(value)
        except ConfigError as error:
            raise inside(key, error) from error
    return policies
