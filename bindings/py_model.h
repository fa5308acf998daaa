// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "anya/engine.h"
#include "anya/model.h"
#include "anya/rollout_tally.h"
#include "anya/trace_events.h"
#include "bindings.h"
#include "py_request.h"

namespace anya::python {

// The engine as Python holds it. Members in this order: the pool outlives the engine, whose end hands requests back.
struct PyEngine {
  explicit PyEngine(EngineDependencies dependencies) : engine(std::make_unique<Engine>(std::move(dependencies))) {}
  ~PyEngine() {
    py::gil_scoped_release release;  // closing drains
    engine.reset();
  }
  PyEngine(const PyEngine&) = delete;
  PyEngine& operator=(const PyEngine&) = delete;

  TraceEvents trace_events;
  py::object trace_context;  // of the caller, 24 bytes or None; null: nobody traces
  RequestPool pool;
  std::unique_ptr<Engine> engine;
  bool is_held = false;  // by itself: a drain was interrupted, and nobody may wait for the rest in a destructor
};

// A loaded version as Python holds it, with what each call needs looked up once.
struct PyModel {
  PyModel(py::object engine_object, std::shared_ptr<Model> loaded);
  PyModel(const PyModel&) = default;
  ~PyModel();  // GIL held; the last to let go of a version frees it without

  py::object engine;  // keeps the pool alive
  PyEngine& owner;
  RequestPool& pool;
  std::shared_ptr<Model> model;
  std::uint32_t trace_model;       // its number in owner.trace_events
  std::shared_ptr<Model> twin_of;  // null: it is no twin
  bool has_cache;
  Model::Caching caching = Model::Caching::kUse;  // of what is asked through this object
  std::vector<py::object> input_names;            // interned
  std::vector<py::object> output_names;           // interned
  std::vector<char> checked;                      // per input: its values are looked at
  std::vector<py::object> output_types;           // NumPy dtypes; None for strings, which come as object arrays of str
  std::shared_ptr<RolloutTally> tally;            // counts what is asked through this object; null: nobody does
  std::uint8_t tally_arm = 0;
  std::uint64_t turned_away = 0;  // protected by the GIL
  Role role = Role::kStable;      // of the version, to what is asked through this object
};

// The arguments of every way to ask, in the order in which the package passes them:
// inputs, outputs, timeout, priority, key, tenant. The last five may be None.
inline constexpr Py_ssize_t kCallArguments = 6;

// `snapshot`: the caller does not wait, so its arrays are copied.
enum class Inputs : std::uint8_t { kBorrow, kSnapshot };

// Parses, admits and prepares a request. Null: Python's error is set, nothing was accepted. GIL held; released around
// copies and hashes of more than about 5 us. `self` is the Python object of `model`, which the request keeps alive.
// A request that comes back with a batcher has been accepted: it was answered from the cache, or ends by an equal
// request's run. Any other is to be run or queued.
PyRequest* make_request(PyObject* self, PyModel& model, PyObject* const* arguments, Inputs inputs,
                        Model::Caching caching);

// The inputs as the run had them, in arrays of their own, by name: for asking somebody else. Null: Python's error is
// set. REQUIRES: made with Inputs::kSnapshot. GIL held.
PyObject* take_inputs(const PyRequest& request);

// The answer of a request that ended well: a dict of arrays. Null: Python's error is set. GIL held.
PyObject* take_outputs(PyRequest& request);

// The same with what is known of it: (outputs, request_id, queue_time, compute_time, batch_size,
// what was changed by input or None, whether another run than its own answered, how stale in seconds or None).
PyObject* take_detailed(PyRequest& request);

// The hash of a routing key: of bytes as they are, of anything else as str() shows it. 0: Python's error is set.
std::uint64_t key_hash(PyObject* key, std::uint64_t salt);

// The PyModel behind a `_core.Model` object; no check.
PyModel& model_of(PyObject* self) noexcept;
// Adds a method that Python calls without building tuples; `name` must be a literal.
void add_fast_method(py::handle type, PyMethodDef* definition);

}  // namespace anya::python
