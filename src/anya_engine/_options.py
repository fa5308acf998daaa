# SPDX-License-Identifier: Apache-2.0
"""From the configuration to the core's option structs."""

from __future__ import annotations

from . import _core
from ._core_rules import core_rules
from .caching import CacheConfig
from .config import ModelConfig, Provider, QueuePolicy
from .resilience import BreakerPolicy, LastGood

__all__ = ["core_options"]


def core_options(config: ModelConfig) -> _core.ModelOptions:
    """The core's words for a configuration, which is valid because it exists."""
    options = _core.ModelOptions()
    options.instances = config.instances or 0
    options.max_request_bytes = config.max_request_bytes
    options.default_timeout = config.default_timeout or 0.0
    options.max_timeout = config.max_timeout or 0.0
    options.batch_check_rtol = config.batch_check_rtol
    options.batch_check_atol = config.batch_check_atol
    options.rules = core_rules(config)
    options.breaker = _breaker(config.breaker)

    limits = options.content
    limits.max_model_bytes = config.model_limits.max_model_bytes
    limits.max_tensor_bytes = config.model_limits.max_tensor_bytes
    limits.max_nodes = config.model_limits.max_nodes
    limits.max_graph_depth = config.model_limits.max_graph_depth
    limits.domains = list(config.model_limits.domains)
    limits.operators = list(config.model_limits.operators)
    limits.custom_op_libraries = list(config.model_limits.custom_op_libraries.items())

    batching = options.batching
    batching.max_batch_size = config.batching.max_batch_size
    batching.max_queue_delay_microseconds = config.batching.max_queue_delay_microseconds
    batching.max_queue_size = config.batching.max_queue_size
    batching.max_in_place_microseconds = config.batching.max_in_place_microseconds
    batching.priority_levels = config.batching.priority_levels
    batching.default_priority_level = config.batching.default_priority_level
    batching.default_queue_policy = _policy(config.batching.default_queue_policy)
    batching.priority_queue_policy = [
        (level, _policy(policy)) for level, policy in config.batching.priority_queue_policy.items()
    ]
    batching.queue_delay_target_microseconds = config.batching.queue_delay_target_microseconds
    batching.queue_delay_interval_microseconds = config.batching.queue_delay_interval_microseconds
    batching.force = config.batching.force

    if config.cache is not None:
        options.cache = _cache(config.cache)
        ages = [link.max_age for link in config.links if isinstance(link, LastGood)]
        options.cache.last_good = max(ages, default=0.0)

    if config.predictions is not None:
        options.predictions.values = config.predictions.values
        options.predictions.output = config.predictions.output or ""
        options.predictions.classes = list(config.predictions.classes or ())

    session = options.session
    session.providers = [_provider(provider) for provider in config.providers]
    session.intra_op_num_threads = config.intra_op_num_threads
    session.inter_op_num_threads = config.inter_op_num_threads
    session.graph_optimization_level = config.graph_optimization_level
    session.allow_spinning = config.allow_spinning
    session.enable_mem_pattern = config.enable_mem_pattern
    session.enable_cpu_mem_arena = config.enable_cpu_mem_arena
    session.config_entries = list(config.session_options.items())
    return options


def _cache(config: CacheConfig) -> _core.CacheOptions:
    options = _core.CacheOptions()
    options.capacity_bytes = config.capacity_bytes
    options.ttl = config.ttl or 0.0
    options.ttl_jitter = config.ttl_jitter
    options.policy = config.policy
    options.stale_if_error = config.stale_if_error
    options.stale_while_revalidate = config.stale_while_revalidate
    options.single_flight = config.single_flight
    options.on_leader_error = config.on_leader_error
    options.scope = config.scope
    options.force = config.force
    return options


def _breaker(policy: BreakerPolicy | None) -> _core.BreakerOptions | None:
    if policy is None:
        return None
    options = _core.BreakerOptions()
    options.window = policy.window
    options.minimum_calls = policy.minimum_calls
    options.failure_rate = policy.failure_rate
    options.slow_call_duration = policy.slow_call_duration or 0.0
    options.slow_call_rate = policy.slow_call_rate
    options.open_duration = policy.open_duration
    options.max_open_duration = policy.max_open_duration
    options.probes = policy.probes
    return options


def _policy(policy: QueuePolicy) -> _core.QueuePolicyOptions:
    options = _core.QueuePolicyOptions()
    options.timeout_action = policy.timeout_action
    options.default_timeout_microseconds = policy.default_timeout_microseconds
    options.allow_timeout_override = policy.allow_timeout_override
    options.max_queue_size = policy.max_queue_size
    return options


def _provider(provider: Provider) -> _core.ProviderOptions:
    if isinstance(provider, str):
        return _core.ProviderOptions(provider, [])
    name, options = provider
    return _core.ProviderOptions(name, [(str(key), str(value)) for key, value in options.items()])
