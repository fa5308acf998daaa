// SPDX-License-Identifier: Apache-2.0
#include "anya/options.h"
#include "bindings.h"

namespace anya::python {

void register_options(py::module_& module) {
  py::class_<QueuePolicyOptions>(module, "QueuePolicyOptions", "How requests of a level wait; see QueuePolicy.")
      .def(py::init<>())
      .def_readwrite("timeout_action", &QueuePolicyOptions::timeout_action)
      .def_readwrite("default_timeout_microseconds", &QueuePolicyOptions::default_timeout_microseconds)
      .def_readwrite("allow_timeout_override", &QueuePolicyOptions::allow_timeout_override)
      .def_readwrite("max_queue_size", &QueuePolicyOptions::max_queue_size);
  py::class_<BatchingOptions>(module, "BatchingOptions", "How requests share a run; see BatchingConfig.")
      .def(py::init<>())
      .def_readwrite("max_batch_size", &BatchingOptions::max_batch_size)
      .def_readwrite("max_queue_delay_microseconds", &BatchingOptions::max_queue_delay_microseconds)
      .def_readwrite("max_queue_size", &BatchingOptions::max_queue_size)
      .def_readwrite("max_in_place_microseconds", &BatchingOptions::max_in_place_microseconds)
      .def_readwrite("priority_levels", &BatchingOptions::priority_levels)
      .def_readwrite("default_priority_level", &BatchingOptions::default_priority_level)
      .def_readwrite("default_queue_policy", &BatchingOptions::default_queue_policy)
      .def_readwrite("priority_queue_policy", &BatchingOptions::priority_queue_policy)
      .def_readwrite("queue_delay_target_microseconds", &BatchingOptions::queue_delay_target_microseconds)
      .def_readwrite("queue_delay_interval_microseconds", &BatchingOptions::queue_delay_interval_microseconds)
      .def_readwrite("force", &BatchingOptions::force);
  py::class_<ProviderOptions>(module, "ProviderOptions", "An execution provider and ONNX Runtime's options for it.")
      .def(py::init([](std::string name, std::vector<std::pair<std::string, std::string>> options) {
             return ProviderOptions{std::move(name), std::move(options)};
           }),
           py::arg("name"), py::arg("options"))
      .def_readwrite("name", &ProviderOptions::name)
      .def_readwrite("options", &ProviderOptions::options);
  py::class_<SessionOptions>(module, "SessionOptions", "How ONNX Runtime opens a model; see ModelConfig.")
      .def(py::init<>())
      .def_readwrite("providers", &SessionOptions::providers)
      .def_readwrite("intra_op_num_threads", &SessionOptions::intra_op_num_threads)
      .def_readwrite("inter_op_num_threads", &SessionOptions::inter_op_num_threads)
      .def_readwrite("graph_optimization_level", &SessionOptions::graph_optimization_level)
      .def_readwrite("allow_spinning", &SessionOptions::allow_spinning)
      .def_readwrite("enable_mem_pattern", &SessionOptions::enable_mem_pattern)
      .def_readwrite("enable_cpu_mem_arena", &SessionOptions::enable_cpu_mem_arena)
      .def_readwrite("config_entries", &SessionOptions::config_entries);
  py::class_<BreakerOptions>(module, "BreakerOptions", "When a version is asked no more; see BreakerPolicy.")
      .def(py::init<>())
      .def_readwrite("window", &BreakerOptions::window)
      .def_readwrite("minimum_calls", &BreakerOptions::minimum_calls)
      .def_readwrite("failure_rate", &BreakerOptions::failure_rate)
      .def_readwrite("slow_call_duration", &BreakerOptions::slow_call_duration)
      .def_readwrite("slow_call_rate", &BreakerOptions::slow_call_rate)
      .def_readwrite("open_duration", &BreakerOptions::open_duration)
      .def_readwrite("max_open_duration", &BreakerOptions::max_open_duration)
      .def_readwrite("probes", &BreakerOptions::probes);
  py::class_<ContentLimits>(module, "ContentLimits", "What a model may consist of; see ModelLimits.")
      .def(py::init<>())
      .def_readwrite("max_model_bytes", &ContentLimits::max_model_bytes)
      .def_readwrite("max_tensor_bytes", &ContentLimits::max_tensor_bytes)
      .def_readwrite("max_nodes", &ContentLimits::max_nodes)
      .def_readwrite("max_graph_depth", &ContentLimits::max_graph_depth)
      .def_readwrite("domains", &ContentLimits::domains)
      .def_readwrite("operators", &ContentLimits::operators)
      .def_readwrite("custom_op_libraries", &ContentLimits::custom_op_libraries);
  py::class_<CacheOptions>(module, "CacheOptions", "The response cache of a version; see CacheConfig.")
      .def(py::init<>())
      .def_readwrite("capacity_bytes", &CacheOptions::capacity_bytes)
      .def_readwrite("ttl", &CacheOptions::ttl)
      .def_readwrite("ttl_jitter", &CacheOptions::ttl_jitter)
      .def_readwrite("policy", &CacheOptions::policy)
      .def_readwrite("stale_if_error", &CacheOptions::stale_if_error)
      .def_readwrite("stale_while_revalidate", &CacheOptions::stale_while_revalidate)
      .def_readwrite("last_good", &CacheOptions::last_good)
      .def_readwrite("single_flight", &CacheOptions::single_flight)
      .def_readwrite("on_leader_error", &CacheOptions::on_leader_error)
      .def_readwrite("scope", &CacheOptions::scope)
      .def_readwrite("force", &CacheOptions::force);
  py::class_<PredictionOptions>(module, "PredictionOptions", "How sure a classifier is; see PredictionConfig.")
      .def(py::init<>())
      .def_readwrite("values", &PredictionOptions::values)
      .def_readwrite("output", &PredictionOptions::output)
      .def_readwrite("classes", &PredictionOptions::classes);
  py::class_<ModelOptions>(module, "ModelOptions", "How a model is run; see ModelConfig.")
      .def(py::init<>())
      .def_readwrite("session", &ModelOptions::session)
      .def_readwrite("content", &ModelOptions::content)
      .def_readwrite("batching", &ModelOptions::batching)
      .def_readwrite("cache", &ModelOptions::cache)
      .def_readwrite("predictions", &ModelOptions::predictions)
      .def_readwrite("instances", &ModelOptions::instances)
      .def_readwrite("max_request_bytes", &ModelOptions::max_request_bytes)
      .def_readwrite("default_timeout", &ModelOptions::default_timeout)
      .def_readwrite("max_timeout", &ModelOptions::max_timeout)
      .def_readwrite("batch_check_rtol", &ModelOptions::batch_check_rtol)
      .def_readwrite("batch_check_atol", &ModelOptions::batch_check_atol)
      .def_readwrite("breaker", &ModelOptions::breaker)
      .def_readwrite("rules", &ModelOptions::rules);
}

}  // namespace anya::python
