// SPDX-License-Identifier: Apache-2.0
//
// A model and its twins: one session, queues of their own, counted as one.
#include <algorithm>
#include <utility>

#include "model/model_impl.h"

namespace anya {
namespace {

Batcher::Setup twin_setup_of(Batcher::Setup setup, std::shared_ptr<ModelCounters> counters) {
  setup.counters = std::move(counters);
  return setup;
}

}  // namespace

Model::Impl::Impl(TwinOf of)
    : shared(of.model.shared),
      info(of.model.info),
      opened(of.model.opened),
      admission(of.model.admission),
      timeouts(of.model.timeouts),
      counters(std::move(of.counters)),
      batcher(*opened->session, *shared->clock, twin_setup_of(of.model.batcher.setup(), counters)) {}

ModelStats Model::Impl::counted(const ModelCounters& of) const {
  ModelStats stats;
  of.read(stats);
  stats.queue_depth = stats.instances_busy = 0;  // batchers know
  if (predictions != nullptr) of.read_predictions(stats, classes);
  return stats;
}

ModelStats Model::stats() const {
  ModelStats stats;
  stats.name = impl_->info.name;
  stats.version = impl_->info.version;
  stats.memory_bytes = impl_->info.memory_bytes;
  stats.tensors = impl_->opened->rules.read();
  impl_->batcher.read(stats);
  if (impl_->predictions != nullptr) impl_->counters->read_predictions(stats, impl_->classes);
  if (impl_->of_twins != nullptr) {
    MutexLock lock(impl_->mutex);
    ModelStats twins = impl_->counted(*impl_->of_twins);
    for (const auto& twin : impl_->twins) {
      if (twin->impl_->counters != impl_->of_twins) add(twins, impl_->counted(*twin->impl_->counters));
      twin->impl_->batcher.add_gauges(twins);
    }
    add(stats, twins);
    add(stats, impl_->of_past_twins);
  }
  if (impl_->cache != nullptr) stats.cache = impl_->cache->stats();
  return stats;
}

std::uint64_t Model::succeeded() const noexcept {
  MutexLock lock(impl_->mutex);
  std::uint64_t sum = impl_->batcher.succeeded() + impl_->of_past_twins.ended[0];
  if (impl_->of_twins != nullptr) sum += impl_->of_twins->succeeded();
  for (const auto& twin : impl_->twins) {
    if (twin->impl_->counters != impl_->of_twins) sum += twin->succeeded();
  }
  return sum;
}
void Model::reset_run_times() noexcept {
  impl_->batcher.reset_run_times();
  MutexLock lock(impl_->mutex);
  for (const auto& twin : impl_->twins) twin->reset_run_times();
}

std::shared_ptr<Model> Model::make_twin() {
  MutexLock lock(impl_->mutex);
  if (impl_->closed) {
    throw Error(ErrorCode::kUnavailable,
                "model '" + impl_->info.name + ":" + impl_->info.version + "' is being unloaded");
  }
  // One at a time counts in the twins' memory: a batcher that closes waits until nothing of its memory is in flight.
  const bool is_taken = std::any_of(impl_->twins.begin(), impl_->twins.end(),
                                    [&](const auto& other) { return other->impl_->counters == impl_->of_twins; });
  auto counters = is_taken ? std::make_shared<ModelCounters>() : impl_->of_twins;
  auto twin = std::make_shared<Model>(std::make_unique<Impl>(Impl::TwinOf{*impl_, std::move(counters)}));
  if (const auto& plan = impl_->monitors.plan()) twin->watch_drift(&*plan);
  impl_->twins.push_back(twin);
  return twin;
}

void Model::end_twin(const std::shared_ptr<Model>& twin) noexcept {
  twin->close();
  MutexLock lock(impl_->mutex);
  if (std::erase(impl_->twins, twin) == 0) return;  // somebody else was quicker
  if (twin->impl_->counters != impl_->of_twins) add(impl_->of_past_twins, impl_->counted(*twin->impl_->counters));
  impl_->monitors.keep(twin->take_drift());
}

}  // namespace anya
