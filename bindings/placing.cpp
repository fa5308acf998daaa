// SPDX-License-Identifier: Apache-2.0
#include "placing.h"

#include <cstring>
#include <string>
#include <utility>

#include "errors.h"

namespace anya::python {
namespace {

using py::detail::array_proxy;
using py::detail::npy_api;

// Counts and sets the refusal that a binding has found by itself.
bool refuse(PyModel& model, std::size_t input, ErrorCode code, Reason reason, std::int64_t index, std::int64_t value,
            std::int64_t limit) {
  Status status = Status::failure(code, reason, value, limit);
  if (reason != Reason::kRequestTooLarge) status.tensor = static_cast<std::int16_t>(input);
  status.index = index;
  model.model->count_refusal(code);
  set_error(status, model.model->info());
  return false;
}

// Text that cannot be one is the caller's mistake; anything else (no memory) is what it is. Python's error is set.
bool refuse_text(PyModel& model, std::size_t input) {
  if (PyErr_ExceptionMatches(PyExc_TypeError) == 0 && PyErr_ExceptionMatches(PyExc_UnicodeError) == 0) return false;
  const py::error_already_set error;
  const std::string& name = model.model->schema().inputs[input].name;
  const std::string words = py::str(error.value()).cast<std::string>().substr(0, 120);
  model.model->count_refusal(ErrorCode::kInvalidInput);
  set_error(ErrorCode::kInvalidInput, model.model->info(), name, "input '" + name + "': " + words);
  return false;
}

void note_change(PyRequest& request, std::size_t input, std::uint64_t changed) {
  if (changed == 0) return;
  request.changed.resize(request.inputs.size());
  request.changed[input] += changed;
}

// Holds the values against the model's rule, which reads so many bytes; `to` as in Model::check_values.
bool check(PyModel& model, PyRequest& request, std::size_t input, const TensorView& view, std::size_t bytes, void* to,
           std::uint64_t* changed) {
  Status status;
  if (bytes >= kReleaseFrom) {
    py::gil_scoped_release release;
    status = model.model->check_values(input, view, to, changed);
  } else {
    status = model.model->check_values(input, view, to, changed);
  }
  if (!status.ok()) {
    set_error(status, model.model->info());
    return false;
  }
  if (*changed != Model::kNeedsCopy) note_change(request, input, *changed);
  return true;
}

PyObject* copy_of(PyObject* array) { return npy_api::get().PyArray_NewCopy_(array, 0 /* C order */); }

// The array stays where it is: the caller waits, or it is a copy of ours (`own`), which may be changed.
bool check_in_place(PyModel& model, PyRequest& request, std::size_t input, TensorView& view, PyObject* array,
                    bool own) {
  std::uint64_t changed = 0;
  if (!check(model, request, input, view, view.bytes, own ? array_proxy(array)->data : nullptr, &changed)) return false;
  if (changed != Model::kNeedsCopy) return true;
  PyObject* const copy = copy_of(array);
  if (copy == nullptr) return false;
  request.hold(copy);
  view.data = array_proxy(copy)->data;
  return check(model, request, input, view, view.bytes, array_proxy(copy)->data, &changed);
}

bool place_numbers(PyModel& model, PyRequest& request, std::size_t input, TensorView& view, PyObject* array,
                   std::byte* to) {
  constexpr int kUsable = npy_api::NPY_ARRAY_C_CONTIGUOUS_ | npy_api::NPY_ARRAY_ALIGNED_;
  const bool own = (array_proxy(array)->flags & kUsable) != kUsable;
  if (own) {
    PyObject* const copy = copy_of(array);
    Py_DECREF(array);
    if (copy == nullptr) return false;
    array = copy;
  }
  view.data = array_proxy(array)->data;
  const bool checked = model.checked[input] != 0;
  if (to == nullptr || own) {
    request.hold(array);
    return !checked || check_in_place(model, request, input, view, array, own);
  }
  const py::object held = py::reinterpret_steal<py::object>(array);
  if (checked) {
    std::uint64_t changed = 0;
    if (!check(model, request, input, view, view.bytes, to, &changed)) return false;
  } else if (view.bytes >= kReleaseFrom) {
    py::gil_scoped_release release;
    std::memcpy(to, view.data, view.bytes);
  } else {
    std::memcpy(to, view.data, view.bytes);
  }
  view.data = to;
  return true;
}

// In Unicode's normal form C: 1, not: 0, Python's error: -1. Plain ASCII always is.
int is_normal(PyObject* text, const py::object& unicodedata) {
  if (PyUnicode_IS_ASCII(text)) return 1;
  PyObject* const answer = PyObject_CallMethod(unicodedata.ptr(), "is_normalized", "sO", "NFC", text);
  if (answer == nullptr) return -1;
  const int truth = PyObject_IsTrue(answer);
  Py_DECREF(answer);
  return truth;
}

// What one string input has come to so far.
struct TextState {
  TextLimits limits;
  py::object unicodedata;
  std::uint64_t bytes = 0;
  std::uint64_t changed = 0;
};

// A str for bytes that have to be looked at as text; what is no UTF-8 stays bytes, and the rule decides.
py::object as_text(PyObject* item) {
  py::object text = py::reinterpret_steal<py::object>(
      PyUnicode_DecodeUTF8(PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item), "strict"));
  if (text) return text;
  PyErr_Clear();
  return py::reinterpret_borrow<py::object>(item);
}

bool place_string(PyModel& model, PyRequest& request, std::size_t input, std::size_t index, PyObject* given,
                  TextState& state) {
  const auto at = static_cast<std::int64_t>(index);
  py::object item = py::reinterpret_borrow<py::object>(given);
  if (!PyUnicode_Check(given) && !PyBytes_Check(given)) {
    PyErr_Format(PyExc_TypeError, "element %zu is a %s, not str or bytes", index, Py_TYPE(given)->tp_name);
    return refuse_text(model, input);
  }
  // What is too long is refused by its length, before it is encoded. A character has at least one byte.
  const Py_ssize_t least = PyUnicode_Check(given) ? PyUnicode_GET_LENGTH(given) : PyBytes_GET_SIZE(given);
  if (PyUnicode_Check(given) && least > state.limits.max_length) {
    return refuse(model, input, ErrorCode::kInvalidInput, Reason::kTextTooLong, at, least, state.limits.max_length);
  }
  const auto too_large = [&](std::uint64_t bytes) {
    if (state.bytes + bytes > static_cast<std::uint64_t>(state.limits.max_bytes)) {
      return !refuse(model, input, ErrorCode::kInputTooLarge, Reason::kTensorTooLarge, at,
                     static_cast<std::int64_t>(state.bytes + bytes), state.limits.max_bytes);
    }
    if (request.text_bytes + bytes > static_cast<std::uint64_t>(state.limits.max_request_bytes)) {
      return !refuse(model, input, ErrorCode::kInputTooLarge, Reason::kRequestTooLarge, at,
                     static_cast<std::int64_t>(request.text_bytes + bytes), state.limits.max_request_bytes);
    }
    return false;
  };
  if (too_large(static_cast<std::uint64_t>(least))) return false;
  if (state.unicodedata) {
    if (PyBytes_Check(given)) item = as_text(given);
    const int normal = PyUnicode_Check(item.ptr()) ? is_normal(item.ptr(), state.unicodedata) : 1;
    if (normal < 0) return false;
    if (normal == 0) {
      if (state.limits.normalize == TextLimits::Normalize::kReject) {
        return refuse(model, input, ErrorCode::kInvalidInput, Reason::kTextNotNormal, at, 0, 0);
      }
      item = py::reinterpret_steal<py::object>(
          PyObject_CallMethod(state.unicodedata.ptr(), "normalize", "sO", "NFC", item.ptr()));
      if (!item) return false;
      ++state.changed;
    }
  }
  Py_ssize_t size = 0;
  const char* text = nullptr;
  if (PyUnicode_Check(item.ptr())) {
    text = PyUnicode_AsUTF8AndSize(item.ptr(), &size);
    if (text == nullptr) return refuse_text(model, input);
  } else {
    text = PyBytes_AS_STRING(item.ptr());
    size = PyBytes_GET_SIZE(item.ptr());
  }
  if (too_large(static_cast<std::uint64_t>(size))) return false;
  request.texts.emplace_back(text, static_cast<std::size_t>(size));
  state.bytes += static_cast<std::uint64_t>(size);
  request.text_bytes += static_cast<std::uint64_t>(size);
  return true;
}

bool place_strings(PyModel& model, PyRequest& request, std::size_t input, PyObject* array) {
  const py::object held = py::reinterpret_steal<py::object>(array);
  TensorView& view = request.inputs[input];
  TextState state;
  state.limits = model.model->text_limits(input);
  // Strings of one width: what they will take is in the descriptor.
  const int kind = py::detail::array_descriptor_proxy(array_proxy(array)->descr)->type_num;
  if (kind == npy_api::NPY_STRING_ || kind == npy_api::NPY_UNICODE_) {
    const auto width = static_cast<std::uint64_t>(held.attr("itemsize").cast<py::ssize_t>());
    std::uint64_t bytes = 0;
    const std::uint64_t count = view.bytes / sizeof(std::string_view);
    if (__builtin_mul_overflow(width, count, &bytes) ||
        bytes > static_cast<std::uint64_t>(state.limits.max_request_bytes)) {
      const std::int64_t shown = bytes > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(bytes);
      return refuse(model, input, ErrorCode::kInputTooLarge, Reason::kRequestTooLarge, -1, shown,
                    state.limits.max_request_bytes);
    }
  }
  if (state.limits.normalize != TextLimits::Normalize::kAllow) {
    state.unicodedata = py::module_::import("unicodedata");
  }
  const py::object flat = py::reinterpret_steal<py::object>(PyObject_CallMethod(array, "ravel", nullptr));
  if (!flat) return false;
  const py::object list = py::reinterpret_steal<py::object>(PyObject_CallMethod(flat.ptr(), "tolist", nullptr));
  if (!list) return refuse_text(model, input);
  const auto count = static_cast<std::size_t>(PyList_GET_SIZE(list.ptr()));
  request.texts.reserve(request.texts.size() + count);
  for (std::size_t i = 0; i < count; ++i) {
    if (!place_string(model, request, input, i, PyList_GET_ITEM(list.ptr(), static_cast<Py_ssize_t>(i)), state)) {
      return false;
    }
  }
  view.bytes = count * sizeof(std::string_view);
  if (state.changed > 0) {
    note_change(request, input, state.changed);
    model.model->count_normalized(input, state.changed);
  }
  return true;  // view.data is set once all texts of the request are in place
}

// The vector of texts has stopped moving: now their addresses hold, and they can be looked at.
bool finish_strings(PyModel& model, PyRequest& request) {
  request.views.assign(request.texts.begin(), request.texts.end());
  std::size_t next = 0;
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    TensorView& view = request.inputs[i];
    if (view.dtype != DType::kString) continue;
    view.data = request.views.data() + next;
    next += view.bytes / sizeof(std::string_view);
    std::uint64_t changed = 0;
    if (!check(model, request, i, view, request.text_bytes, nullptr, &changed)) return false;
  }
  return true;
}

}  // namespace

bool place_inputs(PyModel& model, PyRequest& request, bool snapshot) {
  std::size_t total = 0;
  if (snapshot) {
    for (const TensorView& view : request.inputs) total += (view.bytes + 63) / 64 * 64;
    request.copies.resize(total);
  }
  std::byte* to = snapshot ? request.copies.data() : nullptr;
  bool strings = false;
  for (std::size_t i = 0; i < request.given.size(); ++i) {
    TensorView& view = request.inputs[i];
    const std::size_t bytes = view.bytes;  // before strings say what they take
    PyObject* const array = request.given[i].release().ptr();
    if (view.dtype == DType::kString) {
      strings = true;
      if (!place_strings(model, request, i, array)) return false;
    } else if (!place_numbers(model, request, i, view, array, to)) {
      return false;
    }
    if (snapshot) to += (bytes + 63) / 64 * 64;
  }
  return !strings || finish_strings(model, request);
}

PyObject* sanitized_of(const PyRequest& request) {
  if (request.changed.empty()) return Py_NewRef(Py_None);
  py::dict counts;
  for (std::size_t i = 0; i < request.changed.size(); ++i) {
    if (request.changed[i] > 0) counts[request.model->input_names[i]] = request.changed[i];
  }
  return counts.release().ptr();
}

}  // namespace anya::python
