// SPDX-License-Identifier: Apache-2.0
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anya/metrics.h"
#include "bindings.h"
#include "py_model.h"

namespace anya::python {
namespace {

using Families = std::vector<MetricFamily>;

MetricKind kind_of(const std::string& name) {
  for (const MetricKind kind : {MetricKind::kCounter, MetricKind::kGauge, MetricKind::kHistogram}) {
    if (kind_name(kind) == name) return kind;
  }
  throw py::value_error("a metric is a counter, a gauge or a histogram");
}

Merge merge_of(const std::string& name) {
  for (const Merge merge : {Merge::kSum, Merge::kMax, Merge::kMin}) {
    if (merge_name(merge) == name) return merge;
  }
  throw py::value_error("gauges side by side become their sum, max or min");
}

// What the engines have counted, equal versions summed. GIL not needed.
Families families_of(const std::vector<const Engine*>& engines, std::vector<ModelStats> all) {
  for (const Engine* engine : engines) {
    for (ModelStats& stats : engine->stats()) all.push_back(std::move(stats));
  }
  return metric_families(all);
}

std::vector<const Engine*> cores_of(const std::vector<PyEngine*>& engines) {
  std::vector<const Engine*> cores;
  for (const PyEngine* engine : engines) cores.push_back(engine->engine.get());
  return cores;
}

}  // namespace

void register_metrics(py::module_& module) {
  py::class_<MetricFamily>(module, "MetricFamily", "All series of one metric. Not thread-safe.")
      .def(py::init([](std::string name, const std::string& kind, std::string help, std::vector<std::string> labels,
                       const std::string& merge) {
             return MetricFamily{std::move(name), kind_of(kind), std::move(help), std::move(labels), {}, {},
                                 merge_of(merge)};
           }),
           py::arg("name"), py::arg("kind"), py::arg("help"), py::arg("label_names") = std::vector<std::string>{},
           py::arg("merge") = "sum",
           "`kind` is counter, gauge or histogram; a counter's name lacks its _total. `merge`: sum, max or min, what "
           "gauges of engines and processes side by side become where their labels are equal.")
      .def(
          "add",
          [](MetricFamily& self, std::vector<std::string> labels, double value) {
            if (labels.size() != self.label_names.size()) throw py::value_error("one value for each label");
            self.samples.emplace_back(std::move(labels), value);
          },
          py::arg("labels"), py::arg("value"), "One more series, by label values.")
      .def_readonly("name", &MetricFamily::name)
      .def_readonly("help", &MetricFamily::help)
      .def_readonly("label_names", &MetricFamily::label_names)
      .def_property_readonly("kind",
                             [](const MetricFamily& self) {
                               const std::string_view name = kind_name(self.kind);
                               return py::str(name.data(), name.size());
                             })
      .def_property_readonly("merge",
                             [](const MetricFamily& self) {
                               const std::string_view name = merge_name(self.merge);
                               return py::str(name.data(), name.size());
                             })
      .def_readonly("samples", &MetricFamily::samples, "Label values and value.")
      .def_readonly("histograms", &MetricFamily::histograms, "Label values and snapshot.");
  module.def(
      "metric_families",
      [](const std::vector<PyEngine*>& engines, std::vector<ModelStats> stats) {
        const std::vector<const Engine*> cores = cores_of(engines);
        const py::gil_scoped_release release;
        return families_of(cores, std::move(stats));
      },
      py::arg("engines"), py::arg("stats") = std::vector<ModelStats>{},
      "What the engines have counted, equal versions summed: the table that every scrape is of.");
  module.def(
      "families_beside_counters",
      [](const PyEngine& engine) {
        const py::gil_scoped_release release;
        return families_beside_counters(engine.engine->stats());
      },
      py::arg("engine"), "What counters in memory of others do not hold, and exemplars on histograms of nothing.");
  module.def(
      "merge_families",
      [](const std::vector<Families>& parts) {
        const py::gil_scoped_release release;
        return merge_families(parts);
      },
      py::arg("parts"), "One family of each name, equal series merged.");
  module.def(
      "metrics_text",
      [](const std::vector<PyEngine*>& engines, const std::vector<Families>& more, bool openmetrics) {
        const std::vector<const Engine*> cores = cores_of(engines);
        std::string text;
        {
          const py::gil_scoped_release release;
          std::vector<Families> parts = {families_of(cores, {})};
          parts.insert(parts.end(), more.begin(), more.end());
          text = metrics_text(parts, openmetrics);
        }
        return py::bytes(text);
      },
      py::arg("engines"), py::arg("more"), py::arg("openmetrics"),
      "The same as text, merged with other families. The GIL is released for all of it.");
  module.def("counters_size", &CounterMemory::size, "Bytes of the counters of a version.");
  module.def(
      "counters_layout",
      [] {
        std::string layout = "1";
        for (const std::size_t each : {CounterMemory::size(), static_cast<std::size_t>(kErrorCodeCount), kRoleCount,
                                       kDispatchCount, kDurationEdges.size(), kBatchEdges.size()}) {
          layout += "-" + std::to_string(each);
        }
        return layout;
      },
      "What the words among them mean: processes with unlike layouts cannot be summed.");
  module.def(
      "stats_of_counters",
      [](std::string name, std::string version, const py::buffer& everything, const py::buffer& alive,
         std::uint64_t instances, std::uint64_t max_queue_size, std::uint64_t memory_bytes,
         const std::optional<std::vector<std::string>>& classes) {
        const auto read = [&](const py::buffer& memory) {
          const py::buffer_info info = memory.request();
          return stats_in(
              {static_cast<const std::byte*>(info.ptr), static_cast<std::size_t>(info.size * info.itemsize)},
              classes ? &*classes : nullptr);
        };
        ModelStats stats = read(everything);
        const ModelStats now = read(alive);
        stats.name = std::move(name);
        stats.version = std::move(version);
        stats.in_flight = now.in_flight;
        stats.queue_depth = now.queue_depth;
        stats.instances_busy = now.instances_busy;
        stats.instances = instances;
        stats.max_queue_size = max_queue_size;
        stats.memory_bytes = memory_bytes;
        return stats;
      },
      py::arg("name"), py::arg("version"), py::arg("everything"), py::arg("alive"), py::arg("instances"),
      py::arg("max_queue_size"), py::arg("memory_bytes"), py::arg("classes"),
      "What counters say: counts of everything, gauges of what is alive.");
}

}  // namespace anya::python
