// SPDX-License-Identifier: Apache-2.0
//
// NumPy arrays in and out, through the parts of NumPy's C API that pybind11 has looked up.
#pragma once

#include <string>

#include "anya/session.h"
#include "anya/tensor.h"
#include "bindings.h"

namespace anya::python {

// Why an object cannot be an input: a sentence for the user; empty with no Python error set means "fine".
// Reads the descriptor of `object` (an array, or anything that makes one) into `view`, without touching its data, and
// returns a new reference to the array that holds the data. Null: `fault` says why, or Python's error is set (when the
// object's own code raised).
PyObject* read_descriptor(PyObject* object, DType wanted, TensorView& view, std::string& fault);

// NumPy's dtype for an element type; None for strings.
py::object numpy_type(DType dtype);
// A new uninitialised array and its memory. Null: Python's error is set.
PyObject* new_array(py::handle type, const Shape& shape, void** data);
// An array over what a run has made. Null: Python's error is set.
PyObject* wrap_output(OutputBuffer& output, py::handle type);

}  // namespace anya::python
