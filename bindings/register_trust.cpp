// SPDX-License-Identifier: Apache-2.0
#include "anya/trust.h"
#include "bindings.h"

namespace anya::python {
namespace {

// Path and password.
using KeyFiles = std::vector<std::pair<std::string, std::string>>;

std::vector<PrivateKeyFile> key_files(const KeyFiles& keys) {
  std::vector<PrivateKeyFile> files;
  for (const auto& [path, password] : keys) files.push_back({path, password});
  return files;
}

py::typing::Dict<py::str, py::object> facts_of(const SignatureFacts& facts) {
  py::typing::Dict<py::str, py::object> out;
  out["path"] = facts.path;
  out["signer"] = facts.signer;
  out["files"] = facts.files;
  return out;
}

using FileFacts = std::tuple<std::string, std::uint64_t, std::string>;

std::pair<std::string, std::vector<FileFacts>> identity_of(ModelIdentity identify(const std::string&),
                                                           const std::string& path) {
  ModelIdentity identity;
  {
    py::gil_scoped_release release;
    identity = identify(path);
  }
  std::vector<FileFacts> files;
  for (const auto& file : identity.files) files.emplace_back(file.name, file.size, file.sha256);
  return {identity.digest, files};
}

void register_policy(py::module_& module) {
  py::class_<TrustOptions>(module, "TrustOptions", "What must hold of a model's origin; see TrustConfig.")
      .def(py::init<>())
      .def_readwrite("mode", &TrustOptions::mode)
      .def_readwrite("keys", &TrustOptions::keys)
      .def_readwrite("registry", &TrustOptions::registry)
      .def_readwrite("registry_keys", &TrustOptions::registry_keys)
      .def_readwrite("registry_threshold", &TrustOptions::registry_threshold)
      .def_readwrite("floor", &TrustOptions::floor);
  py::class_<TrustRegistry>(module, "TrustRegistry", "One reading of a registry. Immutable; thread-safe.")
      .def("check", &TrustRegistry::check, py::arg("name"), py::arg("digest"), py::arg("signer"),
           "Whether a loaded model may go on: raises why not; True when it is deprecated.")
      .def_property_readonly("version", &TrustRegistry::version);
  // Held by shared_ptr: a load under way keeps it.
  py::class_<Trust, std::shared_ptr<Trust>>(module, "Trust", "A policy with its keys read. Immutable; thread-safe.")
      .def(py::init([](const TrustOptions& options) { return std::make_shared<Trust>(options, machine_clock()); }),
           py::arg("options"), "Reads the keys; raises ConfigError for one that cannot be had.")
      .def("read_registry", &Trust::read_registry, py::call_guard<py::gil_scoped_release>(),
           "Reads the registry anew; raises TrustError or its like when it is not to be believed. Blocks on the disk.");
}

}  // namespace

void register_trust(py::module_& module) {
  register_policy(module);
  using Release = py::call_guard<py::gil_scoped_release>;
  module.def("generate_key", &generate_key, py::arg("path"), py::arg("curve"), py::arg("password"), Release(),
             "Writes a private key and, beside it, its public half; returns the key's id.");
  module.def("key_ids", &key_ids, py::arg("paths"), Release(), "The ids of public keys, each once.");
  module.def(
      "sign_model",
      [](const std::string& path, const std::string& key, const std::string& password) {
        SignatureFacts facts;
        {
          py::gil_scoped_release release;
          facts = sign_model(path, key, password);
        }
        return facts_of(facts);
      },
      py::arg("path"), py::arg("key"), py::arg("password"), "Signs a file or a directory; returns what was written.");
  module.def(
      "verify_model",
      [](const std::string& path, const std::vector<std::string>& keys) {
        SignatureFacts facts;
        {
          py::gil_scoped_release release;
          facts = verify_model(path, keys);
        }
        return facts_of(facts);
      },
      py::arg("path"), py::arg("keys"), "Holds a file or a directory, whole, against its signature.");
  module.def(
      "sign_statement",
      [](const py::bytes& statement, const std::string& key, const std::string& password) {
        const std::string text = statement;
        py::gil_scoped_release release;
        return sign_statement(text, key, password);
      },
      py::arg("statement"), py::arg("key"), py::arg("password"),
      "The signature file over any statement, well-formed or not.");
  module.def(
      "identify_model", [](const std::string& path) { return identity_of(identify_model, path); }, py::arg("path"),
      "A model's digest, and name, size and SHA-256 of each file that is parsed of it.");
  module.def(
      "identify_operator_library", [](const std::string& path) { return identity_of(identify_operator_library, path); },
      py::arg("path"), "The same of a library of operators, by its absolute path.");
  module.def(
      "sign_registry",
      [](const py::bytes& payload, const KeyFiles& keys) {
        const std::string text = payload;
        py::gil_scoped_release release;
        return sign_registry(text, key_files(keys));
      },
      py::arg("payload"), py::arg("keys"), "The text of a registry file, signed by (path, password) each.");
  module.def(
      "open_registry",
      [](const py::bytes& content, const std::vector<std::string>& keys, const KeyFiles& private_keys) {
        const std::string text = content;
        std::pair<std::string, std::vector<std::string>> opened;
        {
          py::gil_scoped_release release;
          opened = open_registry(text, keys, key_files(private_keys));
        }
        return std::make_pair(py::bytes(opened.first), opened.second);
      },
      py::arg("content"), py::arg("keys"), py::arg("private_keys"),
      "A registry file's payload, and the ids of those keys that signed it.");
  module.def(
      "add_signatures",
      [](const py::bytes& content, const KeyFiles& keys) {
        const std::string text = content;
        py::gil_scoped_release release;
        return add_signatures(text, key_files(keys));
      },
      py::arg("content"), py::arg("keys"), "The same registry file with more signatures.");
  module.def(
      "write_file",
      [](const std::string& path, const std::string& content, unsigned mode) {
        py::gil_scoped_release release;
        write_file(path, content, mode);
      },
      py::arg("path"), py::arg("content"), py::arg("mode"), "Writes in one step, flushed.");
}

}  // namespace anya::python
