// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "anya/options.h"
#include "ort/api.h"
#include "ort/handle.h"

namespace anya::ort {

// Options ready for one CreateSession. Not thread-safe.
struct PreparedOptions {
  SessionOptionsHandle raw;
  // Appended, by their full names, without the CPU provider, which ONNX Runtime always has and always asks last.
  std::vector<std::string> appended;
  // How many of the given providers come up to and including the first appended one; 0 when none was appended.
  std::size_t through_first = 0;
};

// The names ONNX Runtime was built with, "CPUExecutionProvider" among them.
std::vector<std::string> built_in_providers(const Api& api);

// Throws kConfigError for what no session can have: no provider, one named twice or after the CPU's, a negative thread
// count, an unknown optimization level, a config entry that would open a path or undo what keeps a model inside its
// verified bytes.
void validate(const SessionOptions& options);

// ONNX Runtime's options for `options`, with `providers` in place of its own list. A provider that cannot be had is
// passed over when another follows it; the last one throws kConfigError, naming the package that brings it.
PreparedOptions prepare_options(const Library& library, const SessionOptions& options,
                                std::span<const ProviderOptions> providers);

}  // namespace anya::ort
