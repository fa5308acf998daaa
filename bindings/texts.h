// SPDX-License-Identifier: Apache-2.0
//
// Names as error messages show them. GIL held; none of them fails.
#pragma once

#include <string>
#include <vector>

#include <pybind11/pybind11.h>

namespace anya::python {

// Of a str, at most 120 bytes; "?" for what is no UTF-8.
inline std::string text_of_string(PyObject* string) {
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(string, &size);
  if (text == nullptr) {
    PyErr_Clear();
    return "?";
  }
  return std::string(text, static_cast<std::size_t>(size)).substr(0, 120);
}

// Of anything, which may run its __str__.
inline std::string text_of(PyObject* object) {
  const auto text = pybind11::reinterpret_steal<pybind11::object>(PyObject_Str(object));
  if (text) return text_of_string(text.ptr());
  PyErr_Clear();
  return "?";
}

inline std::string joined(const std::vector<pybind11::object>& names) {
  std::string all;
  for (const pybind11::object& name : names) all += (all.empty() ? "'" : ", '") + text_of_string(name.ptr()) + "'";
  return all;
}

// The keys of a dictionary, the first few. Runs no code of theirs, which might change it.
inline std::string names_in(PyObject* dictionary) {
  constexpr int kMost = 8;
  std::string names;
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t at = 0;
  for (int i = 0; PyDict_Next(dictionary, &at, &key, &value) != 0; ++i) {
    if (i == kMost) return names + ", …";
    names += names.empty() ? "" : ", ";
    names += PyUnicode_CheckExact(key) ? "'" + text_of_string(key) + "'" : "what is no name";
  }
  return names.empty() ? "nothing" : names;
}

}  // namespace anya::python
