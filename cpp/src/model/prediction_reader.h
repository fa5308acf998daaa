// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "anya/options.h"
#include "anya/session.h"
#include "batching/run_observer.h"

namespace anya {

// Reads how sure a classifier was out of its answers. Every vector along the last axis of the output is one prediction;
// an output of one axis has one number for each row. Thread-safe.
class PredictionReader final : public RunObserver {
 public:
  // Null: the options ask for nothing. Throws Error(kConfigError): there is no such output, or it holds no fractions.
  static std::shared_ptr<const PredictionReader> make(const PredictionOptions& options, const ModelSchema& schema);
  PredictionReader(std::uint32_t output, bool logits) : output_(output), logits_(logits) {}

  void answered(std::span<Request* const> requests, ModelCounters& counters) const noexcept override;

 private:
  class Rows;
  void read(const Request& request, Rows& rows) const noexcept;

  const std::uint32_t output_;  // of the schema
  const bool logits_;
};

}  // namespace anya
