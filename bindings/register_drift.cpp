// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <string_view>
#include <vector>

#include "anya/drift.h"
#include "bindings.h"
#include "drift.h"

namespace anya::python {
namespace {

template <typename T>
py::bytes bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

DType dtype_named(const std::string& name) {
  for (int number = 0; number < 32; ++number) {
    const auto dtype = static_cast<DType>(number);
    if (element_size(dtype) != 0 && dtype_name(dtype) == name) return dtype;
  }
  throw Error(ErrorCode::kConfigError, "there is no element type '" + name + "'");
}

// `data`: the elements' bytes, or for strings a sequence of bytes objects.
py::bytes numbers(const DriftTensor& tensor, const std::string& dtype, const std::vector<std::int64_t>& shape,
                  const py::object& data) {
  TensorView view;
  view.dtype = dtype_named(dtype);
  if (shape.size() > kMaxRank) throw Error(ErrorCode::kConfigError, "a tensor of too many axes");
  view.shape = Shape(shape);
  std::vector<std::string> texts;
  std::vector<std::string_view> views;
  if (view.dtype == DType::kString) {
    texts = data.cast<std::vector<std::string>>();
    views.assign(texts.begin(), texts.end());
    view.data = views.data();
    view.bytes = views.size() * sizeof(std::string_view);
    return bytes_of(drift_numbers(tensor, view));
  }
  const py::buffer_info info = data.cast<py::buffer>().request();
  if (PyBuffer_IsContiguous(info.view(), 'C') == 0) throw Error(ErrorCode::kConfigError, "elements must be contiguous");
  view.data = info.ptr;
  view.bytes = static_cast<std::size_t>(info.size * info.itemsize);
  std::vector<double> made;
  {
    const py::gil_scoped_release release;
    made = drift_numbers(tensor, view);
  }
  return bytes_of(made);
}

}  // namespace

py::object taken_drift(const DriftCounts& counts) {
  std::vector<std::uint64_t> odd;
  std::vector<double> sums;
  for (const DriftTally& tally : counts.tallies) {
    odd.insert(odd.end(), {tally.nan, tally.pos_inf, tally.neg_inf});
    sums.insert(sums.end(), {tally.sum, tally.squares, tally.min, tally.max});
  }
  return py::make_tuple(bytes_of(counts.bins), bytes_of(odd), bytes_of(sums), counts.rows, counts.sampled_rows);
}

void register_drift(py::module_& module) {
  py::enum_<DriftKind>(module, "DriftKind", "How a row of a tensor becomes numbers; see _features.")
      .value("columns", DriftKind::kColumns)
      .value("dense", DriftKind::kDense)
      .value("embedding", DriftKind::kEmbedding)
      .value("classes", DriftKind::kClasses)
      .value("tokens", DriftKind::kTokens)
      .value("text", DriftKind::kText);
  py::class_<DriftFeature>(module, "DriftFeature", "One histogram over one of those numbers.")
      .def(py::init<>())
      .def_readwrite("source", &DriftFeature::source)
      .def_readwrite("edges", &DriftFeature::edges)
      .def_readwrite("keys", &DriftFeature::keys)
      .def_readwrite("key_bins", &DriftFeature::key_bins)
      .def_readwrite("bins", &DriftFeature::bins)
      .def_readwrite("center", &DriftFeature::center);
  py::class_<DriftTensor>(module, "DriftTensor", "What is counted of an input or output.")
      .def(py::init<>())
      .def_readwrite("is_output", &DriftTensor::is_output)
      .def_readwrite("index", &DriftTensor::index)
      .def_readwrite("kind", &DriftTensor::kind)
      .def_readwrite("numbers", &DriftTensor::numbers)
      .def_readwrite("channels", &DriftTensor::channels)
      .def_readwrite("channels_last", &DriftTensor::channels_last)
      .def_readwrite("centroid", &DriftTensor::centroid)
      .def_readwrite("features", &DriftTensor::features);
  py::class_<DriftPlan>(module, "DriftPlan", "What is counted of a model.")
      .def(py::init<>())
      .def_readwrite("tensors", &DriftPlan::tensors)
      .def_readwrite("sample_rate", &DriftPlan::sample_rate)
      .def_readwrite("budget", &DriftPlan::budget);
  module.def("drift_numbers", &numbers, py::arg("tensor"), py::arg("dtype"), py::arg("shape"), py::arg("data"),
             "The numbers of every row of a tensor, as live rows are made into them: float64 [rows, numbers].");
}

}  // namespace anya::python
