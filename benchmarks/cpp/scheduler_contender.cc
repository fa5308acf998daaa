// SPDX-License-Identifier: Apache-2.0
#include "scheduler_contender.h"

#include <algorithm>
#include <chrono>
#include <memory>

namespace anya::bench {

SchedulerContender::SchedulerContender(Session& session, const Questions& questions, std::size_t max_rows, Nanos delay)
    : session_(session),
      questions_(questions),
      max_rows_(max_rows),
      delay_(delay),
      instance_([this] { serve(); }),
      scheduler_([this] { schedule(); }) {}

SchedulerContender::~SchedulerContender() {
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  arrived_.notify_all();
  freed_.notify_all();
  handed_.notify_all();
  scheduler_.join();
  instance_.join();
}

void SchedulerContender::ask(std::span<Ask* const> asks) {
  for (Ask* ask : asks) {
    {
      const std::scoped_lock lock(mutex_);
      waiting_.push_back(ask);
    }
    arrived_.notify_one();
  }
}

void SchedulerContender::collect(std::vector<Ask*>& ended) {
  std::unique_lock lock(responses_mutex_);
  responded_.wait(lock, [this] { return !responses_.empty(); });
  ended.insert(ended.end(), responses_.begin(), responses_.end());
  responses_.clear();
}

void SchedulerContender::schedule() {
  std::unique_lock lock(mutex_);
  while (true) {
    arrived_.wait(lock, [this] { return stopped_ || !waiting_.empty(); });
    if (delay_ > 0) {
      arrived_.wait_for(lock, std::chrono::nanoseconds(delay_),
                        [this] { return stopped_ || waiting_.size() >= max_rows_; });
    }
    freed_.wait(lock, [this] { return stopped_ || !busy_; });
    if (stopped_) return;
    const auto rows = static_cast<std::ptrdiff_t>(std::min(max_rows_, waiting_.size()));
    batch_.assign(waiting_.begin(), waiting_.begin() + rows);
    waiting_.erase(waiting_.begin(), waiting_.begin() + rows);
    busy_ = true;
    handed_.notify_one();
  }
}

void SchedulerContender::serve() {
  const std::unique_ptr<RunControl> control = session_.make_run_control();
  const std::size_t in = questions_.input_width();
  const std::size_t out = questions_.output_width();
  std::vector<float> rows(max_rows_ * in);
  std::vector<float> answers(max_rows_ * out);
  std::vector<Ask*> batch;
  while (true) {
    {
      std::unique_lock lock(mutex_);
      handed_.wait(lock, [this] { return stopped_ || !batch_.empty(); });
      if (batch_.empty()) return;
      batch.swap(batch_);
    }
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const std::span<const float> row = questions_.rows(batch[i]->question, 1);
      std::copy(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * in));
    }
    const TensorView view{DType::kFloat32,
                          Shape{static_cast<std::int64_t>(batch.size()), static_cast<std::int64_t>(in)}, rows.data(),
                          batch.size() * in * sizeof(float)};
    const Status status = run_rows(session_, *control, view, std::span(answers).first(batch.size() * out));
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const float* const answer = answers.data() + i * out;
      batch[i]->answer.clear();
      if (status.ok()) batch[i]->answer.assign(answer, answer + out);
    }
    {
      const std::scoped_lock lock(mutex_);
      busy_ = false;
    }
    freed_.notify_one();
    for (Ask* ask : batch) respond(ask);
    batch.clear();
  }
}

void SchedulerContender::respond(Ask* ask) {
  bool first = false;
  {
    const std::scoped_lock lock(responses_mutex_);
    first = responses_.empty();
    responses_.push_back(ask);
  }
  if (first) responded_.notify_one();
}

}  // namespace anya::bench
