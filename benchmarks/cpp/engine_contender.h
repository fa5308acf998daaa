// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/completion_queue.h"
#include "anya/model.h"
#include "contender.h"
#include "driver/load_request.h"
#include "questions.h"

namespace anya::bench {

// Ours: requests of one call go in together, and come back through a completion queue.
// Used by one thread. Borrows model and questions. REQUIRES: everything was collected before it ends.
class EngineContender final : public Contender {
 public:
  EngineContender(Model& model, const Questions& questions) : model_(model), questions_(questions) {}

  void ask(std::span<Ask* const> asks) override;
  void collect(std::vector<Ask*>& ended) override;

 private:
  void give_back(LoadRequest& request, bool answered, std::vector<Ask*>& ended) const;

  Model& model_;
  const Questions& questions_;
  LoadPool pool_;  // before the queue, which holds references
  CompletionQueue queue_;
  std::vector<Request*> outgoing_;
  std::vector<Ask*> refused_;
};

}  // namespace anya::bench
