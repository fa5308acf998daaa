// SPDX-License-Identifier: Apache-2.0
#include "anya/rules.h"
#include "bindings.h"

namespace anya::python {

void register_rules(py::module_& module) {
  py::class_<AxisSpec>(module, "AxisSpec", "One axis of a stated shape: a size, a name, or neither (-1 and '').")
      .def(py::init([](std::int64_t size, std::string name) { return AxisSpec{size, std::move(name)}; }),
           py::arg("size"), py::arg("name"));
  py::class_<InputRule>(module, "InputRule", "What an input may hold; see anya_engine.InputRule.")
      .def(py::init<>())
      .def_readwrite("input", &InputRule::input)
      .def_readwrite("dtype", &InputRule::dtype)
      .def_readwrite("shape", &InputRule::shape)
      .def_readwrite("max_bytes", &InputRule::max_bytes)
      .def_readwrite("finite", &InputRule::finite)
      .def_readwrite("replace_with", &InputRule::replace_with)
      .def_readwrite("min", &InputRule::min)
      .def_readwrite("max", &InputRule::max)
      .def_readwrite("on_range", &InputRule::on_range)
      .def_readwrite("allowed", &InputRule::allowed)
      .def_readwrite("max_length", &InputRule::max_length)
      .def_readwrite("utf8", &InputRule::utf8)
      .def_readwrite("control", &InputRule::control)
      .def_readwrite("normalize", &InputRule::normalize)
      .def_readwrite("from_file", &InputRule::from_file);
  py::class_<OutputRule>(module, "OutputRule", "What an output may hold; see anya_engine.OutputRule.")
      .def(py::init<>())
      .def_readwrite("output", &OutputRule::output)
      .def_readwrite("dtype", &OutputRule::dtype)
      .def_readwrite("shape", &OutputRule::shape)
      .def_readwrite("finite", &OutputRule::finite)
      .def_readwrite("min", &OutputRule::min)
      .def_readwrite("max", &OutputRule::max)
      .def_readwrite("from_file", &OutputRule::from_file);
  py::class_<DimRule>(module, "DimRule", "Sizes of a named dimension; see anya_engine.DimRule.")
      .def(py::init<>())
      .def_readwrite("name", &DimRule::name)
      .def_readwrite("min", &DimRule::min)
      .def_readwrite("max", &DimRule::max)
      .def_readwrite("from_file", &DimRule::from_file);
  py::class_<ModelRules>(module, "ModelRules", "All rules of one model.")
      .def(py::init<>())
      .def_readwrite("inputs", &ModelRules::inputs)
      .def_readwrite("outputs", &ModelRules::outputs)
      .def_readwrite("dims", &ModelRules::dims)
      .def_readwrite("max_rows", &ModelRules::max_rows)
      .def_readwrite("max_rows_from_file", &ModelRules::max_rows_from_file);
}

}  // namespace anya::python
