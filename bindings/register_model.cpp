// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "bindings.h"
#include "drift.h"
#include "errors.h"
#include "placing.h"
#include "py_model.h"
#include "waiting.h"

namespace anya::python {

Waited wait_for(PyRequest& request, Nanos until) {
  for (;;) {
    const Request::Wait result = without_gil([&] { return request.wait(until); });
    if (result == Request::Wait::kEnded) return Waited::kEnded;
    if (result == Request::Wait::kTimedOut) return Waited::kTimedOut;
    if (PyErr_CheckSignals() != 0) return Waited::kRaised;
  }
}

namespace {

// Runs or queues the request and waits for its end. False: Python's error is set.
bool answer(PyModel& model, PyRequest& request, bool& in_place) {
  bool ended = request.ended();  // from the cache
  std::size_t queued = request.batcher != nullptr ? 1 : 0;
  Status refusal;
  if (!ended) {
    PyThreadState* const state = PyEval_SaveThread();
    if (queued == 0) ended = in_place = model.model->run_here(request);
    Request* only = &request;
    if (!ended && queued == 0) queued = model.model->enqueue({&only, 1}, /*watch_deadlines=*/false, refusal);
    // The common case: one wait, no signal, no deadline passing; the rest goes through wait_for.
    if (!ended && queued == 1) ended = request.wait(request.deadline) == Request::Wait::kEnded;
    PyEval_RestoreThread(state);
  }
  if (!ended && queued == 0) {
    set_error(refusal, model.model->info(), request.id);
    return false;
  }
  while (!ended) {
    if (PyErr_CheckSignals() != 0) {
      model.model->conclude(request, ErrorCode::kCancelled, Reason::kCancelled);
      return false;
    }
    if (request.deadline != kNever && model.model->now() >= request.deadline) {
      // Ours, or decided by somebody else this very moment: either way the outcome is there or about to be.
      model.model->conclude(request, ErrorCode::kDeadlineExceeded, Reason::kExpired);
    }
    switch (wait_for(request, request.is_claimed() ? kNever : request.deadline)) {
      case Waited::kEnded:
        ended = true;
        break;
      case Waited::kTimedOut:
        break;
      case Waited::kRaised:
        model.model->conclude(request, ErrorCode::kCancelled, Reason::kCancelled);
        return false;
    }
  }
  if (request.status.ok()) return true;
  set_error(request.status, model.model->info(), request.id);
  return false;
}

// The caller is done with it. Who still watches for its deadline needs nothing of what a run in place, which is over,
// has read and written.
void let_go(PyModel& model, PyRequest& request, bool in_place) noexcept {
  if (in_place && request.deadline != kNever) request.drop_arrays();
  model.pool.put(&request);
}

bool right_count(Py_ssize_t count) {
  if (count == kCallArguments) return true;
  PyErr_SetString(PyExc_TypeError, "takes inputs, outputs, timeout, priority, key, tenant");
  return false;
}

// Contract of both: called by the package only, positionally; blocks with the GIL released; returns a new reference or
// null with Python's error set; what the caller lent is not read after the return.
PyObject* infer(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  if (!right_count(count)) return nullptr;
  PyModel& model = model_of(self);
  PyRequest* const request = make_request(self, model, arguments, Inputs::kBorrow, model.caching);
  if (request == nullptr) return nullptr;
  bool in_place = false;
  PyObject* const outputs = answer(model, *request, in_place) ? take_outputs(*request) : nullptr;
  let_go(model, *request, in_place);
  return outputs;
}

PyObject* infer_detailed(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  if (!right_count(count)) return nullptr;
  PyModel& model = model_of(self);
  PyRequest* const request = make_request(self, model, arguments, Inputs::kBorrow, model.caching);
  if (request == nullptr) return nullptr;
  bool in_place = false;
  PyObject* const detailed = answer(model, *request, in_place) ? take_detailed(*request) : nullptr;
  let_go(model, *request, in_place);
  return detailed;
}

// Asked before every request of a model with a circuit breaker and somebody to stand in: no exception is made of a
// refusal that nobody would see.
PyObject* turned_away(PyObject* self, PyObject* /*unused*/) {
  PyModel& model = model_of(self);
  if (!model.model->turns_away()) Py_RETURN_FALSE;
  ++model.turned_away;
  Py_RETURN_TRUE;
}

PyMethodDef turned_away_definition = {"turned_away", turned_away, METH_NOARGS, nullptr};
PyMethodDef infer_definition = {"infer", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(infer)),
                                METH_FASTCALL, nullptr};
PyMethodDef infer_detailed_definition = {"infer_detailed",
                                         reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(infer_detailed)),
                                         METH_FASTCALL, nullptr};

py::tuple spec_of(const TensorSpec& spec) {
  py::list shape;
  for (std::size_t axis = 0; axis < spec.shape.rank(); ++axis) {
    if (spec.shape[axis] >= 0) {
      shape.append(spec.shape[axis]);
    } else if (axis < spec.symbols.size() && !spec.symbols[axis].empty()) {
      shape.append(spec.symbols[axis]);
    } else {
      shape.append(py::none());
    }
  }
  const std::string_view type = dtype_name(spec.dtype);
  return py::make_tuple(spec.name, py::str(type.data(), type.size()), py::tuple(shape));
}

py::typing::Dict<py::str, py::object> info_of(const PyModel& self) {
  const ModelInfo& info = self.model->info();
  py::list inputs;
  for (const TensorSpec& spec : info.inputs) inputs.append(spec_of(spec));
  py::list outputs;
  for (const TensorSpec& spec : info.outputs) outputs.append(spec_of(spec));
  py::typing::Dict<py::str, py::object> out;
  out["name"] = info.name;
  out["version"] = info.version;
  out["digest"] = info.digest;
  out["signer"] = info.signer;
  out["quantization"] = info.quantization;
  out["operator_libraries"] = info.operator_libraries;
  out["inputs"] = py::tuple(inputs);
  out["outputs"] = py::tuple(outputs);
  out["providers"] = py::tuple(py::cast(info.providers));
  out["batchable"] = info.batchable;
  out["batching_note"] = info.batching_note;
  out["instances"] = info.instances;
  out["max_batch_size"] = info.max_batch_size;
  out["memory_bytes"] = info.memory_bytes;
  out["warm_up_seconds"] = info.warm_up_seconds;
  out["load_seconds"] = info.load_seconds;
  return out;
}

}  // namespace

PyObject* take_detailed(PyRequest& request) {
  PyObject* const outputs = take_outputs(request);
  if (outputs == nullptr) return nullptr;
  const Nanos started = request.started_at == 0 ? request.ended_at : request.started_at;
  PyObject* const sanitized = sanitized_of(request);
  if (sanitized == nullptr) {
    Py_DECREF(outputs);
    return nullptr;
  }
  PyObject* const stale =
      request.stale_age < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(static_cast<double>(request.stale_age) * 1e-9);
  return Py_BuildValue("(NKddLNON)", outputs, static_cast<unsigned long long>(request.id),
                       static_cast<double>(started - request.accepted_at) * 1e-9,
                       static_cast<double>(request.ended_at - started) * 1e-9,
                       static_cast<long long>(request.batch_rows), sanitized,
                       request.by_other || request.answer != nullptr ? Py_True : Py_False, stale);
}

namespace {

py::object rehearse(const py::object& self, const py::object& inputs) {
  PyModel& model = model_of(self.ptr());
  PyObject* const none = Py_None;
  PyObject* const arguments[] = {inputs.ptr(), none, none, none, none, none};
  PyRequest* const request = make_request(self.ptr(), model, arguments, Inputs::kBorrow, Model::Caching::kBypass);
  if (request == nullptr) throw py::error_already_set();
  {
    const py::gil_scoped_release release;
    request->status = model.model->rehearse(*request);
  }
  if (!request->status.ok()) set_error(request->status, model.model->info());
  PyObject* const outputs = request->status.ok() ? take_outputs(*request) : nullptr;
  model.pool.put(request);
  if (outputs == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(outputs);
}

py::object fresh(const py::object& self) {
  const PyModel& model = model_of(self.ptr());
  if (!model.has_cache || model.caching == Model::Caching::kFresh) return self;
  auto strict = std::make_unique<PyModel>(model);
  strict->caching = Model::Caching::kFresh;
  py::object made = py::cast(std::move(strict));
  py::detail::keep_alive_impl(made, self);  // who waits for its last user must see this one
  return made;
}

py::object last_good(const py::object& self, const py::object& inputs, const py::object& outputs,
                     const py::object& tenant, double max_age) {
  PyModel& model = model_of(self.ptr());
  if (!model.has_cache) return py::none();
  PyObject* const none = Py_None;
  PyObject* const arguments[] = {inputs.ptr(), outputs.ptr(), none, none, none, tenant.ptr()};
  PyRequest* const request = make_request(self.ptr(), model, arguments, Inputs::kBorrow, Model::Caching::kLater);
  if (request == nullptr) throw py::error_already_set();
  const bool found =
      without_gil([&] { return model.model->last_good(*request, static_cast<Nanos>(std::min(max_age, 1e9) * 1e9)); });
  PyObject* const detailed = found ? take_detailed(*request) : Py_NewRef(Py_None);
  model.pool.put(request);
  if (detailed == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(detailed);
}

}  // namespace

void register_model(py::module_& module) {
  py::class_<PyModel> type(module, "Model", "A loaded version. Thread-safe.");
  type.def_property_readonly("name", [](const PyModel& self) { return self.model->info().name; }, "The model's name.");
  type.def_property_readonly("version", [](const PyModel& self) { return self.model->info().version; }, "Its version.");
  type.def_property_readonly(
      "waiting", [](const PyModel& self) { return self.model->waiting(); }, "Requests in its queue.");
  type.def_property_readonly(
      "failed", [](const PyModel& self) { return self.model->failed(); },
      "Its device is lost: all requests are refused.");
  type.def_property_readonly(
      "succeeded", [](const PyModel& self) { return self.model->succeeded(); }, "Requests that ended well so far.");
  type.def_property_readonly(
      "expected_run", [](const PyModel& self) { return static_cast<double>(self.model->expected_run()) * 1e-9; },
      "Seconds that a run of one row is expected to take; 0: nobody knows.");
  type.def_readonly("turned_away_count", &PyModel::turned_away, "How often turned_away() was true.");
  type.def(
      "circuit", [](const PyModel& self) { return self.model->circuit(); },
      "What its circuit breaker knows now; None: it has none.");
  type.def(
      "inject",
      [](PyModel& self, const std::optional<std::string>& code, double delay, double rate, bool device_lost) {
        auto faults = std::make_shared<Faults>();
        faults->rate = rate;
        faults->delay = static_cast<Nanos>(delay * 1e9);
        faults->device_lost = device_lost;
        for (int i = 1; code.has_value() && i < kErrorCodeCount; ++i) {
          if (code_name(static_cast<ErrorCode>(i)) == *code) faults->code = static_cast<ErrorCode>(i);
        }
        return self.model->inject(std::move(faults));
      },
      py::arg("code"), py::arg("delay"), py::arg("rate"), py::arg("device_lost"),
      "Makes this share of its requests fail with a code, or take so many seconds longer. False: something does "
      "already.");
  type.def(
      "inject_nothing", [](PyModel& self) { static_cast<void>(self.model->inject(nullptr)); },
      "Ends what inject began.");
  type.def("info", &info_of, "What is known of it, as a dict.");
  type.def(
      "watch_drift", [](PyModel& self, const DriftPlan* plan) { self.model->watch_drift(plan); },
      py::arg("plan").none(true), "Counts what is asked and answered from now on; None: no longer.");
  type.def(
      "take_profile",
      [](PyModel& self) -> std::optional<py::bytes> {
        const std::string profile = self.model->take_profile();
        return profile.empty() ? std::nullopt : std::optional<py::bytes>(profile);
      },
      "The bytes of the profile.json that lay beside the model, once.");
  type.def(
      "take_drift",
      [](PyModel& self) {
        DriftCounts counts;
        {
          const py::gil_scoped_release release;  // a look may be under way
          counts = self.model->take_drift();
        }
        return taken_drift(counts);
      },
      "What was counted since it was last taken.");
  type.def("stats", [](const PyModel& self) { return self.model->stats(); }, "Its counters, one snapshot.");
  type.def(
      "reset_run_times", [](PyModel& self) { self.model->reset_run_times(); },
      "Forgets what runs were learned to take.");
  type.def(
      "clear_cache", [](PyModel& self) { self.model->clear_cache(); }, py::call_guard<py::gil_scoped_release>(),
      "Forgets every cached answer.");
  type.def("fresh", &fresh,
           "The same version; what is asked through this object is never answered with what is stale.");
  type.def(
      "last_good", &last_good, py::arg("inputs"), py::arg("outputs"), py::arg("tenant"), py::arg("max_age"),
      "What the cache still has of an answer to this, as infer_detailed returns it, at most so many seconds stale; "
      "None: nothing. No request of its own: counted with the cache alone.");
  type.def("rehearse", &rehearse, py::arg("inputs"),
           "The answer, counted nowhere: for warm-up and comparisons. Blocks without the GIL.");
  type.def(
      "counted",
      [](const PyModel& self, std::shared_ptr<RolloutTally> tally, bool is_new) {
        auto arm = std::make_unique<PyModel>(self);
        arm->tally = std::move(tally);
        arm->tally_arm = static_cast<std::uint8_t>(is_new ? RolloutTally::Arm::kNew : RolloutTally::Arm::kOld);
        if (is_new) arm->role = Role::kCanary;
        return arm;
      },
      py::arg("tally"), py::arg("is_new"), py::keep_alive<0, 1>(),  // who waits for its last user must see this one
      "The same version; what is asked through this object is counted in a tally.");
  type.def(
      "twin",
      [](const PyModel& self) {
        std::shared_ptr<Model> made;
        {
          const py::gil_scoped_release release;  // starts threads
          made = self.model->make_twin();
        }
        auto twin = std::make_unique<PyModel>(self.engine, std::move(made));
        twin->twin_of = self.model;
        twin->role = Role::kControl;
        return twin;
      },
      py::keep_alive<0, 1>(),
      "The same version on the same session, with a queue and instances of its own; its counts are the version's.");
  type.def(
      "unload",
      [](PyModel& self) {
        if (self.twin_of != nullptr) {
          self.twin_of->end_twin(self.model);
        } else {
          self.engine.cast<PyEngine&>().engine->unload(self.model);
        }
      },
      py::call_guard<py::gil_scoped_release>(), "Refuses new requests, drains, stops its threads. Blocks.");
  // The first line is the signature that the stub generator reads.
  infer_definition.ml_doc =
      "infer(self: anya_engine._core.Model, inputs: object, outputs: object, timeout: object, priority: object, "
      "key: object, tenant: object) -> dict[str, numpy.ndarray]\n\n"
      "The answer, by output name. Blocks without the GIL.";
  infer_detailed_definition.ml_doc =
      "infer_detailed(self: anya_engine._core.Model, inputs: object, outputs: object, timeout: object, priority: "
      "object, "
      "key: object, tenant: object) -> tuple[dict[str, numpy.ndarray], int, float, float, int, "
      "dict[str, int] | None, bool, float | None]\n\n"
      "The answer, the request's number, its seconds in the queue and in the run, the rows of that run, what was "
      "changed, whether another run than its own answered, by how many seconds that answer is stale.";
  turned_away_definition.ml_doc =
      "turned_away(self: anya_engine._core.Model) -> bool\n\n"
      "Whether a request would be refused whatever it is (breaker open, device lost); then it counts as refused.";
  add_fast_method(type, &turned_away_definition);
  add_fast_method(type, &infer_definition);
  add_fast_method(type, &infer_detailed_definition);
}

}  // namespace anya::python
