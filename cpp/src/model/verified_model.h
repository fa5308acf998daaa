// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "anya/engine.h"
#include "anya/options.h"
#include "anya/session.h"
#include "anya/trust.h"
#include "integrity/model_files.h"
#include "integrity/operator_library.h"
#include "onnx/wire_walk.h"

namespace anya {

// A model's bytes, read once, hashed, held against signature and registry, walked: what may be given to ONNX Runtime.
// Owns the bytes; `external` points into them. Move-only.
struct VerifiedModel {
  integrity::ModelFiles files;
  onnx::ModelWalk walk;
  std::vector<NamedBytes> external;
  std::vector<integrity::OperatorLibrary> libraries;
  TrustVerdict verdict;
  std::string profile;  // of the directory's profile.json; "": there is none
};

// Reads, verifies and walks, in this order; files of weights are read and verified when the walk has named them. Blocks
// on the disk. Throws Error; `options.on_verdict` has been told by then, once, either way. Thread-safe.
VerifiedModel verify_model_bytes(const ModelSource& source, const ModelOptions& options,
                                 const integrity::ReadLimits& limits = {});

}  // namespace anya
