// SPDX-License-Identifier: Apache-2.0
//
// A library that answers like ONNX Runtime 1.17.3: the test of the version floor opens it.
#include <cstdint>

namespace {

struct Base {
  const void* (*get_api)(std::uint32_t);
  const char* (*version)();
};

const void* no_table(std::uint32_t) { return nullptr; }
const char* old_version() { return "1.17.3"; }

constexpr Base kBase = {&no_table, &old_version};

}  // namespace

extern "C" __attribute__((visibility("default"))) const Base* OrtGetApiBase();
extern "C" const Base* OrtGetApiBase() { return &kBase; }
