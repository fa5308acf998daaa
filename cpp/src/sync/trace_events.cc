// SPDX-License-Identifier: Apache-2.0
#include "anya/trace_events.h"

#include <algorithm>
#include <atomic>

#include "base/mutex.h"
#include "sync/mpmc_queue.h"

namespace anya {

struct TraceEvents::Impl {
  MpmcQueue<TraceEvent> queue{kCapacity};
  std::atomic<std::uint64_t> dropped{0};  // relaxed: stands for itself
  mutable Mutex mutex;
  std::vector<std::pair<std::string, std::string>> names GUARDED_BY(mutex);
};

TraceEvents::TraceEvents() : impl_(std::make_unique<Impl>()) {}
TraceEvents::~TraceEvents() = default;

void TraceEvents::push(const TraceEvent& event) noexcept {
  if (!impl_->queue.try_push(event)) impl_->dropped.fetch_add(1, std::memory_order_relaxed);
}

bool TraceEvents::pop(TraceEvent& event) noexcept { return impl_->queue.try_pop(event); }

std::uint64_t TraceEvents::dropped() const noexcept { return impl_->dropped.load(std::memory_order_relaxed); }

std::uint32_t TraceEvents::number_of(const std::string& name, const std::string& version) {
  MutexLock lock(impl_->mutex);
  const std::pair<std::string, std::string> wanted(name, version);
  const auto found = std::find(impl_->names.begin(), impl_->names.end(), wanted);
  const auto number = static_cast<std::uint32_t>(found - impl_->names.begin());
  if (found == impl_->names.end()) impl_->names.push_back(wanted);
  return number;
}

std::pair<std::string, std::string> TraceEvents::name_of(std::uint32_t number) const {
  MutexLock lock(impl_->mutex);
  return number < impl_->names.size() ? impl_->names[number] : std::pair<std::string, std::string>();
}

}  // namespace anya
