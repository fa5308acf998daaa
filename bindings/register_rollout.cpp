// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "anya/rollout_tally.h"
#include "bindings.h"
#include "py_model.h"

namespace anya::python {
namespace {

Nanos nanos(double seconds) { return static_cast<Nanos>(seconds * 1e9); }

struct HeldBuffer {
  explicit HeldBuffer(const py::object& memory) : info(memory.cast<py::buffer>().request(true)) {}
  HeldBuffer(const HeldBuffer&) = delete;
  HeldBuffer& operator=(const HeldBuffer&) = delete;
  py::buffer_info info;
};

std::shared_ptr<RolloutTally> make_tally(const py::object& memory, double window) {
  const auto [bytes, owner] = hold_buffer(memory);
  return std::make_shared<RolloutTally>(bytes, owner, nanos(window));
}

py::tuple counts_of(const RolloutTally::Counts& counts) {
  return py::make_tuple(counts.units, counts.bad, counts.at_risk, counts.first_bad);
}

py::object look(const RolloutTally& self, std::uint64_t window) {
  const RolloutTally::Block block = self.look(window);
  py::list arms;
  for (const auto& kinds : block.counts) {
    py::list of_arm;
    for (const auto& counts : kinds) of_arm.append(counts_of(counts));
    arms.append(py::tuple(of_arm));
  }
  py::list durations;
  for (const auto& each : block.durations) {
    durations.append(py::make_tuple(each.stratum, py::cast(each.runs[0]), py::cast(each.runs[1])));
  }
  return py::make_tuple(py::tuple(arms), durations, block.untracked);
}

// key_position(key, salt): the hash as a share of its range. Called for every routed request, so no pybind11 here.
PyObject* key_position(PyObject* /*module*/, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "key_position takes a key and a salt");
    return nullptr;
  }
  const unsigned long long salt = PyLong_AsUnsignedLongLong(arguments[1]);
  if (salt == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr) return nullptr;
  const std::uint64_t hash = key_hash(arguments[0], salt);
  return hash == 0 ? nullptr : PyFloat_FromDouble(static_cast<double>(hash >> 11U) * 0x1p-53);
}

PyMethodDef functions[] = {
    {"key_position", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&key_position)), METH_FASTCALL,
     "key_position(key: object, salt: int) -> float\n\n"
     "Where a routing key lies in [0, 1): evenly spread, the same in every process, another for another salt."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

std::pair<std::span<std::byte>, std::shared_ptr<void>> hold_buffer(const py::object& memory) {
  const std::shared_ptr<HeldBuffer> held(new HeldBuffer(memory), [](HeldBuffer* buffer) {
    const py::gil_scoped_acquire acquire;
    delete buffer;
  });
  const auto size = static_cast<std::size_t>(held->info.size * held->info.itemsize);
  return {{static_cast<std::byte*>(held->info.ptr), size}, held};
}

void register_rollout(py::module_& module) {
  py::class_<RolloutTally, std::shared_ptr<RolloutTally>>(
      module, "RolloutTally", "What two versions answered, counted by window of time. Thread-safe.")
      .def(py::init(&make_tally), py::arg("memory"), py::arg("window"),
           "Counts in this writable buffer, which other processes may share; `window` in seconds.")
      .def_static("size", &RolloutTally::bytes, "Bytes that the buffer must have.")
      .def_static(
          "edges",
          [] {
            std::vector<double> edges;
            for (std::size_t at = 0; at + 1 < RolloutTally::kDurations; ++at) {
              edges.push_back(static_cast<double>(RolloutTally::edge_of(at)) * 1e-9);
            }
            return edges;
          },
          "Where each bucket of durations but the last ends, in seconds.")
      .def(
          "window_at", [](const RolloutTally& self, double now) { return self.window_at(nanos(now)); }, py::arg("now"),
          "The number of the window that this moment of time.monotonic() is in.")
      .def(
          "reported",
          [](RolloutTally& self, bool is_new, std::size_t metric, const py::object& key, bool bad, double now) {
            const std::uint64_t hash = key.is_none() ? 0 : key_hash(key.ptr(), 0);
            if (hash == 0 && !key.is_none()) throw py::error_already_set();
            self.reported(is_new ? RolloutTally::Arm::kNew : RolloutTally::Arm::kOld, metric, hash, bad, nanos(now));
          },
          py::arg("is_new"), py::arg("metric"), py::arg("key"), py::arg("bad"), py::arg("now"),
          "Counts what the service says about a key; metrics are numbered from 1.")
      .def("look", &look, py::arg("window"),
           "The counts of a window: by version (old, new) and kind (units, bad, at_risk, first_bad); durations as "
           "(stratum, old, new); and how many answers were left out.")
      .def("clear", &RolloutTally::clear, py::arg("window"),
           "Forgets the counts of a window, which makes room for the eighth after it.");
  if (PyModule_AddFunctions(module.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace anya::python
