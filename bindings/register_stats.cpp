// SPDX-License-Identifier: Apache-2.0
#include "anya/stats.h"
#include "bindings.h"
#include "reprs.h"

namespace anya::python {
namespace {

py::typing::Dict<py::str, py::int_> by_code(const std::array<std::uint64_t, kErrorCodeCount>& counts) {
  py::typing::Dict<py::str, py::int_> out;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::string_view name = code_name(static_cast<ErrorCode>(i));
    out[py::str(name.data(), name.size())] = counts[i];
  }
  return out;
}

py::str state_text(CircuitState state) {
  const std::string_view name = state_name(state);
  return {name.data(), name.size()};
}

// How print() shows it, of classes that have a repr().
template <typename T>
std::string show(const T& self) {
  return repr(self);
}

}  // namespace

void register_stats(py::module_& module) {
  py::class_<Exemplar>(module, "Exemplar", "An observation with the trace it belongs to.")
      .def_readonly("bucket", &Exemplar::bucket)
      .def_readonly("trace_id", &Exemplar::trace_id, "32 hex digits.")
      .def_readonly("value", &Exemplar::value);
  py::class_<HistogramSnapshot>(module, "HistogramSnapshot",
                                "A histogram: edges are upper bounds, +Inf comes after the last.")
      .def_readonly("edges", &HistogramSnapshot::edges)
      .def_readonly("counts", &HistogramSnapshot::counts)
      .def_readonly("sum", &HistogramSnapshot::sum)
      .def_readonly("exemplars", &HistogramSnapshot::exemplars, "At most one of each bucket, a recent one.")
      .def("__repr__", &show<HistogramSnapshot>);
  py::class_<RunTime>(module, "RunTime",
                      "What runs of so many rows take: measured at load, then learned from the runs themselves.")
      .def_readonly("rows", &RunTime::rows, "This many, or fewer but more than half.")
      .def_readonly("row_bytes", &RunTime::row_bytes,
                    "Input bytes of a row, this many or up to a quarter more; 0: the model has one shape.")
      .def_readonly("seconds", &RunTime::seconds, "Of a run.")
      .def_readonly("seconds_per_row", &RunTime::seconds_per_row)
      .def_readonly("observations", &RunTime::observations)
      .def("__repr__", &show<RunTime>);
  py::class_<TensorCount>(module, "TensorCount", "What the rules of one input or output have met.")
      .def_readonly("name", &TensorCount::name)
      .def_readonly("sanitized", &TensorCount::sanitized, "Values that were clipped, replaced or normalised.")
      .def_readonly("nonfinite", &TensorCount::nonfinite,
                    "NaN and infinities seen: each one changed or let through, and one of each refusal.")
      .def("__repr__", &show<TensorCount>);
  py::class_<CircuitEvent>(module, "CircuitEvent", "A change of a circuit breaker.")
      .def_readonly("number", &CircuitEvent::number, "From 1, in order.")
      .def_property_readonly(
          "to", [](const CircuitEvent& self) { return state_text(self.to); }, "The new state.")
      .def_property_readonly(
          "at", [](const CircuitEvent& self) { return static_cast<double>(self.at) * 1e-9; },
          "When, on the clock of time.monotonic().")
      .def_readonly("calls", &CircuitEvent::calls, "Calls that it was decided by; 0: time alone.")
      .def_readonly("failed", &CircuitEvent::failed, "Failed ones among them.")
      .def_readonly("slow", &CircuitEvent::slow, "Slow ones among them.")
      .def("__repr__", &show<CircuitEvent>);
  py::class_<CircuitStats>(module, "CircuitStats", "What a circuit breaker knows now.")
      .def_property_readonly(
          "state", [](const CircuitStats& self) { return state_text(self.state); },
          "\"closed\", \"half_open\" or \"open\".")
      .def_readonly("calls", &CircuitStats::calls, "In the window, since the last change.")
      .def_readonly("failed", &CircuitStats::failed, "Failed ones among them.")
      .def_readonly("slow", &CircuitStats::slow, "Slow ones among them.")
      .def_property_readonly(
          "opens_in", [](const CircuitStats& self) { return static_cast<double>(self.opens_in) * 1e-9; },
          "Seconds until an open one lets probes through.")
      .def_readonly("events", &CircuitStats::events, "The last changes, oldest first.")
      .def("__repr__", &show<CircuitStats>);
  py::class_<CacheStats>(module, "CacheStats", "Counters of a version's response cache, and what it holds.")
      .def_readonly("capacity_bytes", &CacheStats::capacity_bytes, "0: there is no cache.")
      .def_readonly("bytes", &CacheStats::bytes, "In use, all overheads counted.")
      .def_readonly("fixed_bytes", &CacheStats::fixed_bytes, "Of them, what an empty cache takes.")
      .def_readonly("entries", &CacheStats::entries)
      .def_readonly("hits", &CacheStats::hits, "Answered with a fresh answer.")
      .def_readonly("stale", &CacheStats::stale, "Answered within stale_while_revalidate.")
      .def_readonly("stale_on_error", &CacheStats::stale_on_error, "Answered within stale_if_error, not with an error.")
      .def_readonly("misses", &CacheStats::misses, "Not there, or not fresh enough; collisions included.")
      .def_readonly("coalesced", &CacheStats::coalesced, "Misses that were answered by an equal request's run.")
      .def_readonly("collisions", &CacheStats::collisions, "Questions that met another one of the same index.")
      .def_readonly("insertions", &CacheStats::insertions)
      .def_readonly("oversized", &CacheStats::oversized, "Answers larger than the whole cache.")
      .def_readonly("evicted_capacity", &CacheStats::evicted_capacity)
      .def_readonly("evicted_ttl", &CacheStats::evicted_ttl)
      .def_readonly("evicted_invalidate", &CacheStats::evicted_invalidate, "By cache_clear, or with their version.")
      .def_readonly("age", &CacheStats::age, "Seconds since they were made, of answers given.")
      .def("__repr__", &show<CacheStats>);
  py::class_<ModelStats>(module, "ModelStats", "Counters of one loaded version, read as one snapshot.")
      .def_readonly("name", &ModelStats::name)
      .def_readonly("version", &ModelStats::version)
      .def_readonly("accepted", &ModelStats::accepted)
      .def_property_readonly("ended", [](const ModelStats& self) { return by_code(self.ended); })
      .def_property_readonly(
          "ended_by_role",
          [](const ModelStats& self) {
            py::typing::Dict<py::str, py::typing::Dict<py::str, py::int_>> out;
            for (std::size_t i = 0; i < kRoleCount; ++i) {
              const std::string_view name = role_name(static_cast<Role>(i));
              out[py::str(name.data(), name.size())] = by_code(self.ended_by_role[i]);
            }
            return out;
          },
          "`ended`, taken apart by what the version was to the request: stable, canary, control, shadow.")
      .def_property_readonly("refused", [](const ModelStats& self) { return by_code(self.refused); })
      .def_readonly("in_flight", &ModelStats::in_flight)
      .def_readonly("queue_depth", &ModelStats::queue_depth)
      .def_readonly("max_queue_size", &ModelStats::max_queue_size, "Requests that may wait.")
      .def_readonly("memory_bytes", &ModelStats::memory_bytes, "Of the model's files.")
      .def_property_readonly(
          "dispatches",
          [](const ModelStats& self) {
            py::typing::Dict<py::str, py::int_> out;
            for (std::size_t i = 0; i < kDispatchCount; ++i) {
              const std::string_view name = dispatch_name(static_cast<Dispatch>(i));
              out[py::str(name.data(), name.size())] = self.dispatches[i];
            }
            return out;
          },
          "Batches by why they left when they did: idle, full, deadline, delay.")
      .def_readonly("instances", &ModelStats::instances)
      .def_readonly("instances_busy", &ModelStats::instances_busy)
      .def_readonly("batches", &ModelStats::batches)
      .def_readonly("rows", &ModelStats::rows)
      .def_readonly("in_place", &ModelStats::in_place)
      .def_readonly("splits", &ModelStats::splits)
      .def_readonly("terminated_runs", &ModelStats::terminated_runs)
      .def_readonly("stuck_runs", &ModelStats::stuck_runs)
      .def_readonly("row_limit", &ModelStats::row_limit)
      .def_readonly("failed", &ModelStats::failed)
      .def_readonly("circuit", &ModelStats::circuit)
      .def_readonly("request_duration", &ModelStats::request_duration)
      .def_readonly("queue_duration", &ModelStats::queue_duration)
      .def_readonly("compute_duration", &ModelStats::compute_duration)
      .def_readonly("batch_size", &ModelStats::batch_size)
      .def_readonly("confidence", &ModelStats::confidence, "Largest probabilities; no edges: nobody looks.")
      .def_readonly("margin", &ModelStats::margin, "How far they are above the next ones.")
      .def_readonly("entropy", &ModelStats::entropy, "Entropies over the largest possible one.")
      .def_readonly("predictions", &ModelStats::predictions, "Class and count; other and invalid come last.")
      .def_readonly("run_times", &ModelStats::run_times)
      .def_readonly("cache", &ModelStats::cache)
      .def_readonly("tensors", &ModelStats::tensors, "Inputs, then outputs, that have rules for values.")
      .def("__repr__", &show<ModelStats>);
}

}  // namespace anya::python
