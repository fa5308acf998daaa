// SPDX-License-Identifier: Apache-2.0
#include "py_model.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "arrays.h"
#include "errors.h"
#include "placing.h"
#include "texts.h"

namespace anya::python {
namespace {

constexpr double kLongestTimeout = 1e9;  // seconds, about 31 years: beyond it a deadline is a mistake

py::object interned(const std::string& name) {
  PyObject* text = PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size()));
  if (text == nullptr) throw py::error_already_set();
  PyUnicode_InternInPlace(&text);
  return py::reinterpret_steal<py::object>(text);
}

bool refuse(PyModel& model, const std::string& field, const std::string& sentence) {
  model.model->count_refusal(ErrorCode::kInvalidInput);
  set_error(ErrorCode::kInvalidInput, model.model->info(), field, sentence);
  return false;
}

// The position of a name, by identity first (names are interned), then by value; -1: unknown.
Py_ssize_t find_name(const std::vector<py::object>& names, PyObject* name) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].ptr() == name) return static_cast<Py_ssize_t>(i);
  }
  if (!PyUnicode_Check(name)) return -1;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (PyUnicode_Compare(names[i].ptr(), name) == 0) return static_cast<Py_ssize_t>(i);
  }
  return -1;
}

bool read_input(PyModel& model, PyRequest& request, std::size_t index, PyObject* object) {
  std::string fault;
  PyObject* const array =
      read_descriptor(object, model.model->schema().inputs[index].dtype, request.inputs[index], fault);
  if (array == nullptr) {
    if (PyErr_Occurred() != nullptr) return false;
    return refuse(model, model.model->schema().inputs[index].name,
                  "input '" + model.model->schema().inputs[index].name + "' " + fault);
  }
  request.given[index] = py::reinterpret_steal<py::object>(array);
  return true;
}

bool read_inputs(PyModel& model, PyRequest& request, PyObject* inputs) {
  const std::size_t count = model.input_names.size();
  request.inputs.resize(count);
  request.given.resize(count);
  py::object mapping;
  if (!PyDict_CheckExact(inputs)) {
    const bool is_mapping =
        PyDict_Check(inputs) || (PyMapping_Check(inputs) != 0 && PyObject_HasAttrString(inputs, "keys") != 0);
    if (!is_mapping) {
      if (count == 1) return read_input(model, request, 0, inputs);
      return refuse(model, "inputs",
                    "takes " + std::to_string(count) + " inputs (" + joined(model.input_names) +
                        "); pass a mapping of names to arrays");
    }
    mapping = py::reinterpret_steal<py::object>(PyObject_CallOneArg(reinterpret_cast<PyObject*>(&PyDict_Type), inputs));
    if (!mapping) return false;
    inputs = mapping.ptr();
  }
  for (std::size_t i = 0; i < count; ++i) {
    PyObject* const object = PyDict_GetItemWithError(inputs, model.input_names[i].ptr());
    if (object == nullptr) {
      if (PyErr_Occurred() != nullptr) return false;
      const std::string name = model.model->schema().inputs[i].name;
      return refuse(model, name,
                    "input '" + name + "' is missing; the model takes " + joined(model.input_names) + ", and got " +
                        names_in(inputs));
    }
    // A new reference: reading an input may run its own code, which may change the mapping.
    const py::object held = py::reinterpret_borrow<py::object>(object);
    if (!read_input(model, request, i, object)) return false;
  }
  if (static_cast<std::size_t>(PyDict_GET_SIZE(inputs)) == count) return true;
  PyObject* key = nullptr;
  PyObject* value = nullptr;
  Py_ssize_t at = 0;
  while (PyDict_Next(inputs, &at, &key, &value) != 0) {
    if (find_name(model.input_names, key) < 0) {
      return refuse(model, text_of(key),
                    "there is no input '" + text_of(key) + "'; the model takes " + joined(model.input_names));
    }
  }
  return true;
}

bool read_outputs(PyModel& model, PyRequest& request, PyObject* outputs) {
  const std::size_t count = model.output_names.size();
  if (outputs == Py_None) {
    request.output_indices.resize(count);
    for (std::size_t i = 0; i < count; ++i) request.output_indices[i] = static_cast<std::uint32_t>(i);
    return true;
  }
  if (PyUnicode_Check(outputs)) return refuse(model, "outputs", "outputs is a string; pass a list of names");
  const py::object list =
      py::reinterpret_steal<py::object>(PySequence_Fast(outputs, "outputs is no sequence of names"));
  if (!list) {
    PyErr_Clear();
    return refuse(model, "outputs", "outputs is no sequence of names");
  }
  const Py_ssize_t wanted = PySequence_Fast_GET_SIZE(list.ptr());
  if (wanted == 0) return refuse(model, "outputs", "outputs is empty; the model gives " + joined(model.output_names));
  for (Py_ssize_t i = 0; i < wanted; ++i) {
    PyObject* const name = PySequence_Fast_GET_ITEM(list.ptr(), i);
    const Py_ssize_t index = find_name(model.output_names, name);
    if (index < 0) {
      return refuse(model, text_of(name),
                    "there is no output '" + text_of(name) + "'; the model gives " + joined(model.output_names));
    }
    for (const std::uint32_t other : request.output_indices) {
      if (other == static_cast<std::uint32_t>(index))
        return refuse(model, text_of(name), "output '" + text_of(name) + "' is asked for twice");
    }
    request.output_indices.push_back(static_cast<std::uint32_t>(index));
  }
  return true;
}

bool read_terms(PyModel& model, PyRequest& request, PyObject* timeout, PyObject* priority, PyObject* key,
                PyObject* tenant) {
  if (timeout != Py_None) {
    const double seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      return refuse(model, "timeout",
                    "timeout is a " + std::string(Py_TYPE(timeout)->tp_name) + "; pass seconds as a float");
    }
    if (!(seconds >= 0.0 && seconds <= kLongestTimeout)) {
      return refuse(model, "timeout", "timeout is " + text_of(timeout) + "; it takes seconds from 0 to 1e9, or None");
    }
    request.timeout = static_cast<Nanos>(seconds * 1e9);
  }
  if (priority != Py_None) {
    const long level = PyLong_Check(priority) ? PyLong_AsLong(priority) : -1;
    if (level < 1 || level > 255) {
      PyErr_Clear();
      return refuse(model, "priority",
                    "priority is " + text_of(priority) + "; it takes an integer from 1 (highest) to 255");
    }
    request.priority = static_cast<int>(level);
  }
  if (key != Py_None) {
    request.key_hash = key_hash(key, 0);
    if (request.key_hash == 0) return false;
  }
  if (tenant != Py_None) {
    Py_ssize_t size = 0;
    const char* const text = PyUnicode_Check(tenant) ? PyUnicode_AsUTF8AndSize(tenant, &size) : nullptr;
    if (text == nullptr) {
      PyErr_Clear();
      return refuse(model, "tenant", "tenant is a " + std::string(Py_TYPE(tenant)->tp_name) + "; pass a string");
    }
    request.tenant.assign(text, static_cast<std::size_t>(size));
  }
  return true;
}

bool place_outputs(PyModel& model, PyRequest& request) {
  request.arrays.resize(request.outputs.size());
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    OutputBuffer& output = request.outputs[i];
    const std::uint32_t index = request.output_indices[i];
    if (output.bytes == 0 || output.dtype == DType::kString) continue;  // made by the run
    request.arrays[i] = new_array(model.output_types[index], output.shape, &output.data);
    if (request.arrays[i] == nullptr) return false;
    request.hold(request.arrays[i]);
  }
  return true;
}

// From here on the request is in, or ready to be run. False: Python's error is set.
bool ask_cache(PyModel& model, PyRequest& request, Inputs inputs, Model::Caching caching) {
  std::size_t bytes = request.text_bytes;
  for (const TensorView& input : request.inputs) bytes += input.bytes;
  const auto unlocked = [&](auto&& body) {
    if (bytes < kReleaseFrom) return body();
    py::gil_scoped_release release;
    return body();
  };
  if (!place_outputs(model, request)) return false;
  if (const Status status = unlocked([&] { return model.model->find_answer(request, caching); }); !status.ok()) {
    set_error(status, model.model->info(), request.id);
    return false;
  }
  if (request.ended()) return true;
  if (caching == Model::Caching::kUse || caching == Model::Caching::kFresh)
    unlocked([&] { return model.model->join(request, inputs == Inputs::kSnapshot); });
  return true;
}

// The arrays of an answer that others share: copies, so that whoever writes into them changes nobody's.
PyObject* copy_outputs(const PyRequest& request) {
  const PyModel& model = *request.model;
  PyObject* const dict = PyDict_New();
  if (dict == nullptr) return nullptr;
  for (std::size_t i = 0; i < request.output_indices.size(); ++i) {
    const std::uint32_t index = request.output_indices[i];
    OutputBuffer output = request.answer->outputs()[i];
    PyObject* array = nullptr;
    if (output.dtype == DType::kString) {
      array = wrap_output(output, model.output_types[index]);
    } else {
      void* data = nullptr;
      array = new_array(model.output_types[index], output.shape, &data);
      if (array != nullptr && output.bytes >= kReleaseFrom) {
        py::gil_scoped_release release;
        std::memcpy(data, output.data, output.bytes);
      } else if (array != nullptr && output.bytes > 0) {
        std::memcpy(data, output.data, output.bytes);
      }
    }
    const int set = array == nullptr ? -1 : PyDict_SetItem(dict, model.output_names[index].ptr(), array);
    Py_XDECREF(array);
    if (set != 0) {
      Py_DECREF(dict);
      return nullptr;
    }
  }
  return dict;
}

}  // namespace

namespace {

// Asks whether the caller stands in a trace. Whoever cannot answer that is not traced.
void read_trace(const PyModel& model, PyRequest& request) {
  PyObject* const context = PyObject_CallNoArgs(model.owner.trace_context.ptr());
  if (context == nullptr) {
    PyErr_Clear();
    return;
  }
  if (PyBytes_Check(context) && PyBytes_GET_SIZE(context) == 24) {
    const char* const bytes = PyBytes_AS_STRING(context);
    const auto word = [bytes](std::size_t at) {
      std::uint64_t big_endian = 0;
      std::memcpy(&big_endian, bytes + at, sizeof(big_endian));
      return __builtin_bswap64(big_endian);
    };
    request.trace = {word(0), word(8), word(16)};
    request.trace_model = model.trace_model;
    request.trace_events = &model.owner.trace_events;
  }
  Py_DECREF(context);
}

}  // namespace

PyModel::PyModel(py::object engine_object, std::shared_ptr<Model> loaded)
    : engine(std::move(engine_object)),
      owner(engine.cast<PyEngine&>()),
      pool(owner.pool),
      model(std::move(loaded)),
      trace_model(owner.trace_events.number_of(model->info().name, model->info().version)),
      has_cache(model->has_cache()) {
  for (const TensorSpec& spec : model->schema().inputs) {
    input_names.push_back(interned(spec.name));
    checked.push_back(model->checks_values(input_names.size() - 1) ? 1 : 0);
    static_cast<void>(numpy_type(spec.dtype));  // a type that NumPy cannot hold shows now, not at the first request
  }
  for (const TensorSpec& spec : model->schema().outputs) {
    output_names.push_back(interned(spec.name));
    output_types.push_back(numpy_type(spec.dtype));
  }
}

PyModel::~PyModel() {
  if (model.use_count() > 1 && twin_of == nullptr) return;
  const py::gil_scoped_release release;  // a session takes as long as its memory is large
  model.reset();
  twin_of.reset();
}

std::uint64_t key_hash(PyObject* key, std::uint64_t salt) {
  if (PyBytes_Check(key)) {
    return Engine::key_hash({PyBytes_AS_STRING(key), static_cast<std::size_t>(PyBytes_GET_SIZE(key))}, salt);
  }
  const py::object text = py::reinterpret_steal<py::object>(PyObject_Str(key));
  Py_ssize_t size = 0;
  const char* const bytes = text ? PyUnicode_AsUTF8AndSize(text.ptr(), &size) : nullptr;
  return bytes == nullptr ? 0 : Engine::key_hash({bytes, static_cast<std::size_t>(size)}, salt);
}

PyRequest* make_request(PyObject* self, PyModel& model, PyObject* const* arguments, Inputs inputs,
                        Model::Caching caching) {
  PyRequest* const request = model.pool.get();
  request->model = &model;
  request->tally = model.tally.get();
  request->tally_arm = model.tally_arm;
  request->role = caching == Model::Caching::kBypass ? Role::kShadow : model.role;  // copies alone go past the cache
  if (model.owner.trace_context) read_trace(model, *request);
  request->hold(Py_NewRef(self));
  const auto prepare = [&] {
    if (!read_terms(model, *request, arguments[2], arguments[3], arguments[4], arguments[5])) return false;
    if (!read_outputs(model, *request, arguments[1])) return false;
    if (!read_inputs(model, *request, arguments[0])) return false;
    if (const Status status = model.model->admit(*request); !status.ok()) {
      set_error(status, model.model->info(), request->id);
      return false;
    }
    if (!place_inputs(model, *request, inputs == Inputs::kSnapshot)) return false;
    return model.has_cache ? ask_cache(model, *request, inputs, caching) : place_outputs(model, *request);
  };
  bool ready = false;
  try {
    ready = prepare();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    set_error(ErrorCode::kOutOfMemory, model.model->info(), "inputs", "no memory for the request");
  }
  if (ready) return request;
  model.pool.put(request);
  return nullptr;
}

PyObject* take_outputs(PyRequest& request) {
  if (request.answer != nullptr) return copy_outputs(request);
  const PyModel& model = *request.model;
  PyObject* const answer = PyDict_New();
  if (answer == nullptr) return nullptr;
  for (std::size_t i = 0; i < request.outputs.size(); ++i) {
    const std::uint32_t index = request.output_indices[i];
    PyObject* array = request.arrays[i];
    int set = 0;
    if (array != nullptr && request.outputs[i].owner == nullptr) {  // else it came out in another shape
      set = PyDict_SetItem(answer, model.output_names[index].ptr(), array);
    } else {
      array = wrap_output(request.outputs[i], model.output_types[index]);
      set = array == nullptr ? -1 : PyDict_SetItem(answer, model.output_names[index].ptr(), array);
      Py_XDECREF(array);
    }
    if (set != 0) {
      Py_DECREF(answer);
      return nullptr;
    }
  }
  return answer;
}

PyObject* take_inputs(const PyRequest& request) {
  const PyModel& model = *request.model;
  py::object inputs = py::reinterpret_steal<py::object>(PyDict_New());
  for (std::size_t i = 0; inputs && i < request.inputs.size(); ++i) {
    const TensorView& view = request.inputs[i];
    py::object array;
    if (view.dtype == DType::kString) {
      OutputBuffer text{view.dtype, view.shape, const_cast<void*>(view.data), view.bytes, nullptr};
      array = py::reinterpret_steal<py::object>(wrap_output(text, py::none()));
    } else {
      void* data = nullptr;
      array = py::reinterpret_steal<py::object>(new_array(numpy_type(view.dtype), view.shape, &data));
      if (array && view.bytes > 0) std::memcpy(data, view.data, view.bytes);
    }
    if (!array || PyDict_SetItem(inputs.ptr(), model.input_names[i].ptr(), array.ptr()) != 0) return nullptr;
  }
  return inputs.release().ptr();
}

PyModel& model_of(PyObject* self) noexcept {
  // One base, one holder: pybind11 keeps the value's address first ("simple layout").
  return *static_cast<PyModel*>(reinterpret_cast<py::detail::instance*>(self)->simple_value_holder[0]);
}

void add_fast_method(py::handle type, PyMethodDef* definition) {
  PyObject* const method = PyDescr_NewMethod(reinterpret_cast<PyTypeObject*>(type.ptr()), definition);
  if (method == nullptr) throw py::error_already_set();
  type.attr(definition->ml_name) = py::reinterpret_steal<py::object>(method);
}

}  // namespace anya::python
