// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <bit>
#include <exception>
#include <memory>
#include <new>
#include <utility>

#include "errors.h"

namespace anya::python {
namespace {

// The facts of a refusal; put into words by str(). Keeps what it needs by value, so it may outlive the model.
struct Detail {
  Status status;
  std::string model;
  std::shared_ptr<const ModelSchema> schema;
  std::uint64_t request = 0;

  [[nodiscard]] std::string sentence() const { return describe(status, model, schema.get()); }
};

// The exception class for a code, looked up by name the first time it is needed.
py::handle class_for(ErrorCode code) {
  using Classes = std::array<py::object, kErrorCodeCount>;
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Classes> storage;
  const Classes& classes = storage
                               .call_once_and_store_result([] {
                                 const py::object find = py::module_::import("anya_engine.errors").attr("class_for");
                                 Classes all;
                                 for (int i = 1; i < kErrorCodeCount; ++i) {
                                   const std::string_view name = code_name(static_cast<ErrorCode>(i));
                                   all[static_cast<std::size_t>(i)] = find(py::str(name.data(), name.size()));
                                 }
                                 return all;
                               })
                               .get_stored();
  return classes[static_cast<std::size_t>(code)];
}

const TensorSpec* tensor_of(const Detail& detail) {
  if (detail.schema == nullptr || detail.status.tensor < 0) return nullptr;
  const auto& all =
      detail.status.code == ErrorCode::kModelOutputInvalid ? detail.schema->outputs : detail.schema->inputs;
  const auto index = static_cast<std::size_t>(detail.status.tensor);
  return index < all.size() ? &all[index] : nullptr;
}

py::object field_of(const Detail& detail) {
  if (detail.status.reason == Reason::kTimeoutTooLong) return py::str("timeout");
  if (detail.status.reason == Reason::kPriorityOutOfRange) return py::str("priority");
  const TensorSpec* const spec = tensor_of(detail);
  return spec == nullptr ? py::object(py::none()) : py::str(spec->name);
}

// A value, or a limit of values, as Python's number of the tensor's kind.
py::object element_number(const Detail& detail, std::int64_t fact) {
  const TensorSpec* const spec = tensor_of(detail);
  switch (spec == nullptr ? DType::kUndefined : spec->dtype) {
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64:
      return py::float_(std::bit_cast<double>(fact));
    case DType::kUInt64:
      return py::int_(static_cast<std::uint64_t>(fact));
    default:
      return py::int_(fact);
  }
}

// Core facts are nanoseconds; whoever called gave seconds.
py::object seconds(std::int64_t nanos) { return py::float_(static_cast<double>(nanos) / 1e9); }

py::object fact_of(const Detail& detail, std::int64_t value, bool is_limit) {
  switch (detail.status.reason) {
    case Reason::kNotFinite:
    case Reason::kNotAllowed:
      return is_limit ? py::object(py::none()) : element_number(detail, value);
    case Reason::kBelowMinimum:
    case Reason::kAboveMaximum:
      return element_number(detail, value);
    case Reason::kTextNotUtf8:
    case Reason::kTextControl:
      return is_limit ? py::object(py::none()) : py::object(py::int_(value));
    case Reason::kTextNotNormal:
    case Reason::kNone:
    case Reason::kText:
    case Reason::kClosed:
    case Reason::kForked:
    case Reason::kCancelled:
    case Reason::kDeviceFailed:
    case Reason::kInjected:
      return py::none();
    case Reason::kExpiredAtDoor:
    case Reason::kExpiredInQueue:
    case Reason::kExpired:
    case Reason::kBreakerOpen:
      return is_limit ? py::object(py::none()) : seconds(value);
    case Reason::kQueueTimeout:
    case Reason::kCannotSuffice:
    case Reason::kTimeoutTooLong:
      return seconds(value);
    case Reason::kQueueDelay:
      return is_limit ? seconds(value) : py::object(py::int_(value));
    default:
      break;
  }
  if (detail.status.reason == Reason::kWrongDType) {
    const std::string_view name = dtype_name(static_cast<DType>(value));
    return py::str(name.data(), name.size());
  }
  return py::int_(value);
}

py::object predicted_wait(const Detail& detail) {
  const bool in_value = detail.status.reason == Reason::kCannotSuffice;
  const std::int64_t nanos = in_value ? detail.status.value : detail.status.predicted;
  if (nanos < 0) return py::none();
  return seconds(nanos);
}

}  // namespace

py::object make_error(const Status& status, const ModelInfo& model, std::uint64_t request) {
  // Names of tensors are needed for faults of tensors only; other refusals copy nothing.
  std::shared_ptr<const ModelSchema> schema;
  if (status.tensor >= 0) {
    schema = status.code == ErrorCode::kModelOutputInvalid
                 ? std::make_shared<const ModelSchema>(ModelSchema{{}, model.outputs})
                 : std::make_shared<const ModelSchema>(ModelSchema{model.inputs, {}});
  }
  const py::handle type = class_for(status.code);
  const py::object detail = py::cast(Detail{status, model.name + ":" + model.version, std::move(schema), request});
  // An exception is whole with its argument; AnyaError.__init__ would store what else is given, and nothing is. Calling
  // it is a fifth of what a refusal costs. Not for kinds of OSError, which their __init__ makes whole.
  auto* const raw = reinterpret_cast<PyTypeObject*>(type.ptr());
  if (raw->tp_new != reinterpret_cast<PyTypeObject*>(PyExc_Exception)->tp_new) return type(detail);
  PyObject* const made = raw->tp_new(raw, py::make_tuple(detail).ptr(), nullptr);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

void set_error(const Status& status, const ModelInfo& model, std::uint64_t request) {
  const py::object error = make_error(status, model, request);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
}

void set_error(ErrorCode code, const ModelInfo& model, const std::string& field, const std::string& sentence) {
  const py::object error =
      class_for(code)("model '" + model.name + ":" + model.version + "': " + sentence, py::arg("field") = field);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
}

void register_errors(py::module_& module) {
  py::class_<Detail>(module, "Detail", "The facts of a refusal; str() puts them into words.")
      .def("__str__", &Detail::sentence)
      .def("__repr__", &Detail::sentence)
      .def_property_readonly("field", &field_of, "The input at fault, or None.")
      .def_property_readonly(
          "value", [](const Detail& self) { return fact_of(self, self.status.value, false); },
          "What was given, or None; seconds where it is a time.")
      .def_property_readonly(
          "limit", [](const Detail& self) { return fact_of(self, self.status.limit, true); },
          "What would have been allowed, or None; seconds where it is a time.")
      .def_property_readonly(
          "index",
          [](const Detail& self) {
            return self.status.index < 0 ? py::object(py::none()) : py::object(py::int_(self.status.index));
          },
          "The first element at fault, counted in C order, or None.")
      .def_property_readonly(
          "request_id",
          [](const Detail& self) {
            return self.request == 0 ? py::object(py::none()) : py::object(py::int_(self.request));
          },
          "The request's number, or None.")
      .def_property_readonly("predicted_wait", &predicted_wait,
                             "Seconds that the request would have waited or taken; None when nobody knows.");
  py::register_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      const py::object made = error.field().empty()
                                  ? class_for(error.code())(error.what())
                                  : class_for(error.code())(error.what(), py::arg("field") = error.field());
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
    } catch (const std::bad_alloc&) {
      PyErr_SetString(class_for(ErrorCode::kOutOfMemory).ptr(), "the process is out of memory");
    }
  });
  module.def(
      "error_codes",
      [] {
        py::typing::List<py::str> names;
        for (int i = 1; i < kErrorCodeCount; ++i) {
          const std::string_view name = code_name(static_cast<ErrorCode>(i));
          names.append(py::str(name.data(), name.size()));
        }
        return names;
      },
      "The stable codes, in the core's order.");
}

}  // namespace anya::python
