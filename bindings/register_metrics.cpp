// SPDX-License-Identifier: Apache-2.0
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

// What the engines have counted, equal versions summed. GIL not needed.
Families families_of(const std::vector<const Engine*>& engines) {
  std::vector<ModelStats> all;
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
      .def(py::init([](std::string name, const std::string& kind, std::string help, std::vector<std::string> labels) {
             return MetricFamily{std::move(name), kind_of(kind), std::move(help), std::move(labels), {}, {}};
           }),
           py::arg("name"), py::arg("kind"), py::arg("help"), py::arg("label_names") = std::vector<std::string>{},
           "`kind` is counter, gauge or histogram; a counter's name lacks its _total.")
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
      .def_readonly("samples", &MetricFamily::samples, "Label values and value.")
      .def_readonly("histograms", &MetricFamily::histograms, "Label values and snapshot.");
  module.def(
      "metric_families",
      [](const std::vector<PyEngine*>& engines) {
        const std::vector<const Engine*> cores = cores_of(engines);
        const py::gil_scoped_release release;
        return families_of(cores);
      },
      py::arg("engines"), "What the engines have counted, equal versions summed: the table that every scrape is of.");
  module.def(
      "metrics_text",
      [](const std::vector<PyEngine*>& engines, const std::vector<Families>& more, bool openmetrics) {
        const std::vector<const Engine*> cores = cores_of(engines);
        std::string text;
        {
          const py::gil_scoped_release release;
          std::vector<Families> parts = {families_of(cores)};
          parts.insert(parts.end(), more.begin(), more.end());
          text = metrics_text(parts, openmetrics);
        }
        return py::bytes(text);
      },
      py::arg("engines"), py::arg("more"), py::arg("openmetrics"),
      "The same as text, with other families behind it. The GIL is released for all of it.");
}

}  // namespace anya::python
