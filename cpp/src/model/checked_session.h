// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "anya/session.h"
#include "model/rule_book.h"

namespace anya {

// A session whose answers are held against the rules of its model's outputs: a run with a wrong one has failed, and
// like every failed run of several requests it is run again in halves until only the culprit fails. Made only for
// models that have such rules. Thread-safe like the session it owns; `rules` outlives it.
class CheckedSession final : public Session {
 public:
  CheckedSession(std::unique_ptr<Session> session, RuleBook& rules) : session_(std::move(session)), rules_(rules) {}

  [[nodiscard]] const ModelSchema& schema() const noexcept override { return session_->schema(); }
  [[nodiscard]] const std::vector<std::string>& providers() const noexcept override { return session_->providers(); }
  [[nodiscard]] std::unique_ptr<RunControl> make_run_control() override { return session_->make_run_control(); }

  Status run(RunControl& control, std::span<const TensorView> inputs, std::span<const std::uint32_t> output_indices,
             std::span<OutputBuffer> outputs) noexcept override {
    Status status = session_->run(control, inputs, output_indices, outputs);
    for (std::size_t i = 0; status.ok() && i < outputs.size(); ++i) {
      status = rules_.check_output(output_indices[i], outputs[i].shape, outputs[i].data);
    }
    return status;
  }

 private:
  const std::unique_ptr<Session> session_;
  RuleBook& rules_;
};

}  // namespace anya
