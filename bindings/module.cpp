// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled core of anya_engine. Private: use the package's own names.";
  anya::python::register_errors(module);
  anya::python::register_rules(module);
  anya::python::register_options(module);
  anya::python::register_trust(module);
  anya::python::register_stats(module);
  anya::python::register_cache(module);
  anya::python::register_rollout(module);
  anya::python::register_drift(module);
  anya::python::register_model(module);
  anya::python::register_engine(module);
  anya::python::register_metrics(module);
  anya::python::register_future(module);
  anya::python::register_event_loop(module);
  anya::python::register_driver(module);
}
