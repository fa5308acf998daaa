// SPDX-License-Identifier: Apache-2.0
//
// What the tests of this folder share: the real library, the models of make_ort_models.py, tensors in one line.
#pragma once

#include <array>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "anya/session.h"
#include "ort/ort_session.h"

namespace anya::ort::test {

inline std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string("the environment variable is missing: ") + name);
  return value;
}
inline std::string library_path() { return from_environment("ANYA_TEST_ORT_LIBRARY"); }

inline std::vector<std::byte> model_bytes(const std::string& name) {
  const std::string path = from_environment("ANYA_TEST_MODELS") + "/" + name + ".onnx";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("no test model " + path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline std::shared_ptr<Runtime> runtime() { return Runtime::open(library_path()); }

inline std::unique_ptr<Session> open(const std::string& name, const SessionOptions& options = {},
                                     std::span<const NamedBytes> external = {}) {
  return runtime()->open_session(model_bytes(name), external, options);
}

template <typename T>
TensorView view(DType dtype, Shape shape, const std::vector<T>& data) {
  return {dtype, shape, data.data(), data.size() * sizeof(T)};
}
inline TensorView floats(Shape shape, const std::vector<float>& data) { return view(DType::kFloat32, shape, data); }
inline TensorView ints(Shape shape, const std::vector<std::int64_t>& data) { return view(DType::kInt64, shape, data); }

template <typename T>
OutputBuffer buffer(DType dtype, Shape shape, std::vector<T>* data) {
  return {dtype, shape, data->data(), data->size() * sizeof(T), nullptr};
}
inline OutputBuffer floats_into(Shape shape, std::vector<float>* data) { return buffer(DType::kFloat32, shape, data); }

template <typename T>
std::vector<T> values(const OutputBuffer& out) {
  const auto* const first = static_cast<const T*>(out.data);
  return {first, first + out.bytes / sizeof(T)};
}

// One run with a control of its own.
inline Status run(Session& session, const std::vector<TensorView>& inputs, const std::vector<std::uint32_t>& indices,
                  std::vector<OutputBuffer>* outputs) {
  const std::unique_ptr<RunControl> control = session.make_run_control();
  return session.run(*control, inputs, indices, *outputs);
}

inline std::string text(const Status& status) { return status.text ? *status.text : ""; }
inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace anya::ort::test
