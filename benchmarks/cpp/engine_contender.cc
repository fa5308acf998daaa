// SPDX-License-Identifier: Apache-2.0
#include "engine_contender.h"

namespace anya::bench {

void EngineContender::ask(std::span<Ask* const> asks) {
  outgoing_.clear();
  for (Ask* ask : asks) {
    LoadRequest* const request = pool_.get();
    request->id = reinterpret_cast<std::uintptr_t>(ask);  // the core reads no id
    const TensorView row = questions_.view(ask->question, 1);
    if (request->prepare(model_, {&row, 1}).ok()) {
      static_cast<void>(request->notify_through(queue_));  // has not ended yet
      outgoing_.push_back(request);
    } else {
      give_back(*request, false, refused_);
      request->release();
    }
  }
  Status refusal;
  const std::size_t sent = model_.enqueue(outgoing_, /*watch_deadlines=*/false, refusal);
  for (std::size_t i = sent; i < outgoing_.size(); ++i) {
    auto* const request = static_cast<LoadRequest*>(outgoing_[i]);
    give_back(*request, false, refused_);
    request->release();  // what was to be the queue's
    request->release();  // ours
  }
}

void EngineContender::collect(std::vector<Ask*>& ended) {
  if (!refused_.empty()) {
    ended.insert(ended.end(), refused_.begin(), refused_.end());
    refused_.clear();
    return;
  }
  queue_.wait(kNever);
  Request* next = queue_.take_all();
  while (next != nullptr) {
    auto* const request = static_cast<LoadRequest*>(next);
    next = next->next_completed;
    give_back(*request, request->status.ok(), ended);
    request->release();  // the queue's
    request->release();  // ours
  }
}

void EngineContender::give_back(LoadRequest& request, bool answered, std::vector<Ask*>& ended) const {
  auto* const ask = reinterpret_cast<Ask*>(static_cast<std::uintptr_t>(request.id));
  ask->answer.clear();
  if (answered) {
    const auto* const data = static_cast<const float*>(request.outputs[0].data);
    ask->answer.assign(data, data + request.outputs[0].bytes / sizeof(float));
  }
  ended.push_back(ask);
}

}  // namespace anya::bench
