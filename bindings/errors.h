// SPDX-License-Identifier: Apache-2.0
//
// From the core's codes to the exception classes of anya_engine.errors.
#pragma once

#include <cstdint>
#include <string>

#include "anya/model.h"
#include "bindings.h"

namespace anya::python {

// A new exception object for the outcome of a request; its sentence is made when somebody reads it. GIL held.
// `request`: its number; 0: it has none.
py::object make_error(const Status& status, const ModelInfo& model, std::uint64_t request = 0);
// Sets it as Python's current error.
void set_error(const Status& status, const ModelInfo& model, std::uint64_t request = 0);
// Sets an InvalidInput (or another class by code) with a sentence of its own, naming the field at fault.
void set_error(ErrorCode code, const ModelInfo& model, const std::string& field, const std::string& sentence);

}  // namespace anya::python
