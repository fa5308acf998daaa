// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "anya/engine.h"
#include "anya/trust.h"
#include "bindings.h"
#include "py_model.h"
#include "waiting.h"

namespace anya::python {
namespace {

std::unique_ptr<PyModel> load(const py::object& self, const std::string& name, const std::string& version,
                              const py::object& source, const ModelOptions& options, const py::object& read_schema,
                              std::optional<std::shared_ptr<Trust>> trust, const py::object& on_verdict,
                              const py::object& counters) {
  PyEngine& engine = self.cast<PyEngine&>();
  ModelSource from;
  if (py::isinstance<py::bytes>(source)) {
    char* data = nullptr;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(source.ptr(), &data, &size) != 0) throw py::error_already_set();
    from.bytes = {reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
  } else {
    from.path = source.cast<std::string>();
  }
  ModelOptions with = options;
  if (!read_schema.is_none()) {
    with.read_schema = [&read_schema](std::string_view toml) {
      py::gil_scoped_acquire acquire;
      return read_schema(py::bytes(toml.data(), toml.size())).cast<ModelRules>();
    };
  }
  with.trust = trust ? *trust : nullptr;
  if (!counters.is_none()) {
    const auto [bytes, owner] = hold_buffer(counters);
    with.counters = {bytes, owner};
  }
  if (!on_verdict.is_none()) {
    with.on_verdict = [&on_verdict](const TrustVerdict& verdict) {
      py::gil_scoped_acquire acquire;
      try {
        const std::string_view code = code_name(verdict.code);
        on_verdict(py::str(code.data(), code.size()), verdict.digest, verdict.signer, verdict.deprecated);
      } catch (py::error_already_set& error) {
        error.discard_as_unraisable("on_verdict");  // a log that fails decides nothing
      }
    };
  }
  std::shared_ptr<Model> model;
  {
    py::gil_scoped_release release;  // reading, hashing, opening, warming up
    model = engine.engine->load(name, version, from, with);
  }
  try {
    return std::make_unique<PyModel>(self, model);
  } catch (...) {
    py::gil_scoped_release release;
    engine.engine->unload(model);
    throw;
  }
}

// Waits in slices, so that handlers of signals run: who presses Control-C need not wait for a run that does not end.
void drain_and_close(const py::object& object) {
  constexpr Nanos kSlice = 100'000'000;
  PyEngine& self = object.cast<PyEngine&>();
  const Clock& clock = *self.engine->dependencies().clock;
  while (!without_gil([&] { return self.engine->drain(clock.now() + kSlice); })) {
    if (PyErr_CheckSignals() == 0) continue;
    if (!std::exchange(self.is_held, true)) object.inc_ref();
    throw py::error_already_set();
  }
  {
    const py::gil_scoped_release release;
    self.engine->close();
  }
  self.pool.take_returned();  // they hold their model, and so this
  if (std::exchange(self.is_held, false)) object.dec_ref();
}

}  // namespace

void register_engine(py::module_& module) {
  py::class_<PyEngine>(module, "Engine", "Loads models and drains them. Thread-safe.")
      .def(py::init([](const std::string& library) { return std::make_unique<PyEngine>(make_dependencies(library)); }),
           py::arg("library"), "Opens the ONNX Runtime library at this absolute path.")
      .def("load", &load, py::arg("name"), py::arg("version"), py::arg("source"), py::arg("options"),
           py::arg("read_schema") = py::none(), py::arg("trust") = py::none(), py::arg("on_verdict") = py::none(),
           py::arg("counters") = py::none(),
           "Loads and warms up a version from a path or bytes. `read_schema` makes rules of a schema.toml's verified "
           "bytes; what it raises ends the load. `trust` is what must hold of the origin; `on_verdict` is told once "
           "what was "
           "decided: code, digest, signer, whether it is deprecated. `counters`: writable memory of counters_size() "
           "bytes, aligned to 64, to count in. Blocks with the GIL released.")
      .def("close", &drain_and_close,
           "Drains everything; refuses what comes after. Idempotent. Blocks. What a signal's handler raises ends the "
           "waiting, not the draining; close() again waits on.")
      .def(
          "stats", [](const PyEngine& self) { return self.engine->stats(); }, "Counters of every loaded version.")
      .def(
          "trace",
          [](PyEngine& self, py::object context) {
            self.trace_context = context.is_none() ? py::object() : std::move(context);
          },
          py::arg("context"),
          "Asks this for every request, on its caller's thread: 16 bytes of a trace's id and 8 of a span's, or None; "
          "what becomes of those that have some is told by trace_events. None: no more.")
      .def(
          "trace_events",
          [](PyEngine& self) {
            py::typing::List<py::object> events;
            TraceEvent event;
            while (py::len(events) < TraceEvents::kCapacity && self.trace_events.pop(event)) {
              const std::string_view code = code_name(event.code);
              const std::string_view role = role_name(event.role);
              const auto [name, version] = self.trace_events.name_of(event.model);
              events.append(py::make_tuple(
                  (py::int_(event.context.trace_high) << py::int_(64)) | py::int_(event.context.trace_low),
                  event.context.span, event.request_id, name, version, event.instance,
                  py::str(code.data(), code.size()), py::str(role.data(), role.size()), event.batch_rows,
                  event.accepted_at, event.started_at, event.ended_at));
            }
            return events;
          },
          "What has ended since: trace, span, request, model, version, instance, code, role, rows of the run, and on "
          "time.monotonic_ns() when it was accepted, started (0: never) and ended.")
      .def_property_readonly(
          "trace_events_dropped", [](const PyEngine& self) { return self.trace_events.dropped(); },
          "Ends that nobody fetched in time.")
      .def_property_readonly(
          "is_owner_process", [](const PyEngine& self) { return self.engine->is_owner_process(); },
          "False in a forked child, where nothing works.")
      .def_property_readonly(
          "runtime_version", [](const PyEngine& self) { return self.engine->dependencies().runtime_version; },
          "ONNX Runtime's version.");
}

}  // namespace anya::python
