// SPDX-License-Identifier: Apache-2.0
//
// The one include of pybind11, and the table of what is bound. Must come first in every file of this folder.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include "anya/status.h"

namespace anya::python {

namespace py = pybind11;

void register_errors(py::module_& module);
void register_rules(py::module_& module);  // before the options, which hold rules
void register_options(py::module_& module);
void register_trust(py::module_& module);
void register_stats(py::module_& module);
void register_drift(py::module_& module);  // before the model, which is watched by a plan
// Memory of Python's, writable, that stays where it is as long as somebody has this. GIL held; the last may let go of
// it without.
std::pair<std::span<std::byte>, std::shared_ptr<void>> hold_buffer(const py::object& memory);

void register_metrics(py::module_& module);
void register_model(py::module_& module);  // before the engine, whose signatures name it
void register_cache(py::module_& module);
void register_rollout(py::module_& module);  // before the model, which counts for one
void register_engine(py::module_& module);
void register_future(py::module_& module);
void register_event_loop(py::module_& module);
void register_driver(py::module_& module);

}  // namespace anya::python
