// SPDX-License-Identifier: Apache-2.0
#include "batching/batch_former.h"

#include <algorithm>

namespace anya {

// Signatures are hashes; equal ones are confirmed here. Signature 0 stands for the model's one fixed shape.
bool may_share(const Request& a, const Request& b) noexcept {
  if (a.signature != b.signature) return false;
  if (a.signature == 0) return true;
  if (a.output_indices != b.output_indices || a.inputs.size() != b.inputs.size()) return false;
  for (std::size_t i = 0; i < a.inputs.size(); ++i) {
    const Shape& left = a.inputs[i].shape;
    const Shape& right = b.inputs[i].shape;
    if (left.rank() != right.rank()) return false;
    for (std::size_t axis = 1; axis < left.rank(); ++axis) {
      if (left[axis] != right[axis]) return false;
    }
  }
  return true;
}

namespace {

// One batch of so many is a step smaller, another a step larger than the best known, since what a size costs can
// change.
constexpr std::uint64_t kExploreEvery = 128;
constexpr std::uint64_t kLearnEvery = 4;
// A run takes longer than its mean about half the time; a quarter more leaves room.
constexpr Nanos with_room(Nanos run) noexcept { return run + run / 4; }

std::int64_t rows_of(const Request& request) noexcept { return std::max<std::int64_t>(1, request.rows); }

}  // namespace

BatchFormer::Bucket& BatchFormer::bucket_for(const Request& request) {
  for (Bucket& bucket : buckets_) {
    // Without batching the buckets only order: one to a level is enough.
    if (bucket.level == request.level && (!limits_.batchable || may_share(bucket.line.front(), request))) return bucket;
  }
  Bucket& bucket = buckets_.emplace_back();
  bucket.level = request.level;
  return bucket;
}

void BatchFormer::add(Request* request) {
  request->ticket = next_ticket_++;
  Bucket& bucket = bucket_for(*request);
  bucket.line.push(*request);
  bucket.rows += rows_of(*request);
  ++size_;
  previous_arrival_ = last_arrival_;
  last_arrival_ = request->accepted_at;
}

// *passes_over: a bucket of a lower level has waited longer. *aged: so it is its turn, and this is it.
// REQUIRES: some request waits.
std::size_t BatchFormer::next_bucket(bool* passes_over, bool* aged) const noexcept {
  std::size_t due = 0;
  std::size_t oldest = 0;
  for (std::size_t at = 1; at < buckets_.size(); ++at) {
    const Bucket& bucket = buckets_[at];
    const Request& first = bucket.line.front();
    const int above = bucket.level - buckets_[due].level;
    if (above < 0 || (above == 0 && WaitingLine::comes_before(first, buckets_[due].line.front()))) due = at;
    const Request& longest = buckets_[oldest].line.front();
    if (first.accepted_at < longest.accepted_at ||
        (first.accepted_at == longest.accepted_at && first.ticket < longest.ticket)) {
      oldest = at;
    }
  }
  *passes_over = buckets_[oldest].level > buckets_[due].level;
  *aged = *passes_over && passed_over_ + 1 >= kAgedEvery;
  return *aged ? oldest : due;
}

// The bucket that fills a batch up next; buckets_.size(): none.
std::size_t BatchFormer::next_sharer(const Request& first) const noexcept {
  std::size_t next = buckets_.size();
  for (std::size_t at = 0; at < buckets_.size(); ++at) {
    if (next != buckets_.size() && buckets_[at].level >= buckets_[next].level) continue;
    if (may_share(buckets_[at].line.front(), first)) next = at;
  }
  return next;
}

std::int64_t BatchFormer::waiting_rows(const Request& first) const noexcept {
  std::int64_t rows = 0;
  for (const Bucket& bucket : buckets_) {
    if (may_share(bucket.line.front(), first)) rows += bucket.rows;
  }
  return rows;
}

Request* BatchFormer::pop(std::size_t at) noexcept {
  Bucket& bucket = buckets_[at];
  Request& request = bucket.line.pop();
  bucket.rows -= rows_of(request);
  --size_;
  if (bucket.line.empty()) {
    bucket = buckets_.back();  // order among buckets carries no meaning
    buckets_.pop_back();
  }
  return &request;
}

Nanos BatchFormer::least_wait(Nanos now, std::span<Request* const> batch) const noexcept {
  Nanos least = kNever;
  int lowest = 0;
  const auto look_at = [&](const Request& request) {
    const Nanos waited = now - request.accepted_at;
    least = request.level > lowest ? waited : request.level == lowest ? std::min(least, waited) : least;
    lowest = std::max<int>(lowest, request.level);
  };
  for (const Request* request : batch) look_at(*request);
  for (const Bucket& bucket : buckets_) {
    if (bucket.level > lowest) look_at(bucket.line.front());
  }
  return least;
}

// Waiting pays only while others arrive: another request than the oldest must have come within the last delay.
Nanos BatchFormer::linger_until(Nanos now, const Request& first, std::int64_t waiting,
                                std::int64_t most) const noexcept {
  if (!limits_.batchable || limits_.max_delay <= 0 || waiting >= most) return now;
  const Nanos another = size_ > 1 ? last_arrival_ : previous_arrival_;
  if (another < 0) return now;
  return std::min(first.accepted_at, another) + limits_.max_delay;
}

// No further than pays.
std::int64_t BatchFormer::most_rows(const RowCosts* costs, const Instances& instances) const noexcept {
  std::int64_t paying = costs == nullptr ? INT64_MAX : costs->paying_rows(instances.per_run, instances.hop);
  if (instances.turn % kExploreEvery == kExploreEvery - 1 && paying < limits_.max_rows) paying *= 2;
  return std::max<std::int64_t>(1, std::min(limits_.max_rows, paying));
}

std::int64_t BatchFormer::share_of(std::int64_t waiting, const RowCosts* costs, const Instances& instances,
                                   std::int64_t most) const noexcept {
  // Everybody's share of what is in flight: else one instance could end up with 63 rows of 64 and its neighbour run
  // the other one over and over.
  const std::int64_t count = std::max<std::int64_t>(1, instances.count);
  std::int64_t share = (waiting + instances.running_rows + count - 1) / count;
  // Half of that, if it costs no more: then there is a next batch ready while the answers of this one are handed out
  // and their askers come back.
  if (costs != nullptr && costs->half_is_as_good(share, instances.per_run)) share = (share + 1) / 2;
  if (costs != nullptr) share = std::max(share, costs->rows_within(instances.hop));
  share = std::clamp<std::int64_t>(share, 1, most);
  // What half of it costs must be learned sooner than it would change.
  const bool half_is_new = costs != nullptr && costs->is_known(share) && !costs->is_known((share + 1) / 2);
  const std::uint64_t every = half_is_new ? kLearnEvery : kExploreEvery;
  return instances.turn % every == every / 2 ? (share + 1) / 2 : share;
}

namespace {

bool is_dead(const Request& request, Nanos now) noexcept {
  return request.is_claimed() || request.deadline <= now || request.leave_at <= now;
}

}  // namespace

bool BatchFormer::fill_from(std::size_t at, Filling& filling, std::vector<Request*>& batch,
                            std::vector<Request*>& dead) noexcept {
  for (;;) {
    const Bucket& bucket = buckets_[at];
    if (!batch.empty() && (!limits_.batchable || filling.rows >= filling.share ||
                           filling.rows + rows_of(bucket.line.front()) > limits_.max_rows)) {
      return false;
    }
    const std::size_t buckets = buckets_.size();
    Request* const request = pop(at);
    if (is_dead(*request, filling.now)) {
      dead.push_back(request);
      // What is merely late stays at the end.
      if (filling.doomed > 0) std::swap(dead.back(), dead[dead.size() - 1 - filling.doomed]);
    } else if (request->deadline < filling.in_time) {
      request->predicted_run = filling.in_time - filling.now;
      dead.push_back(request);
      ++filling.doomed;
    } else {
      batch.push_back(request);
      filling.rows += rows_of(*request);
    }
    if (buckets_.size() < buckets) return true;  // the bucket is empty
  }
}

// No run takes more than half of the time that its first request had: who comes while it runs has to wait for it, and
// then to run as long.
std::int64_t BatchFormer::in_half_its_time(const Request& first, const RowCosts* costs, std::int64_t share) noexcept {
  if (costs == nullptr || first.deadline == kNever) return share;
  const Nanos half = (first.deadline - first.accepted_at) / 2;
  while (share > 1 && with_room(costs->at_least(share)) > half) share /= 2;
  return share;
}

// Who goes before others is not given up for the length of its own run, where a shorter one will do.
void BatchFormer::shorten(const Request& first, const RowCosts& costs, Filling& filling) const noexcept {
  if (!limits_.batchable || first.deadline >= filling.in_time) return;
  const auto goes_after = [&first](const Bucket& bucket) { return bucket.level > first.level; };
  if (std::ranges::none_of(buckets_, goes_after)) return;
  for (std::int64_t rows = filling.share / 2; rows >= rows_of(first); rows /= 2) {
    const Nanos in_time = filling.now + with_room(costs.at_least(rows));
    if (first.deadline < in_time) continue;
    filling.share = rows;
    filling.in_time = in_time;
    return;
  }
}

// Nobody is in time: those with most time left run after all, else nothing would be learned any more.
void BatchFormer::rescue(Filling& filling, std::vector<Request*>& batch, std::vector<Request*>& dead) const noexcept {
  while (filling.doomed > 0) {
    Request* const request = dead.back();
    if (!batch.empty() &&
        (!limits_.batchable || filling.rows >= filling.share || filling.rows + rows_of(*request) > limits_.max_rows)) {
      return;
    }
    request->predicted_run = 0;
    batch.push_back(request);
    filling.rows += rows_of(*request);
    dead.pop_back();
    --filling.doomed;
  }
}

Dispatch BatchFormer::why(const Filling& filling, const Request& first, bool cut) const noexcept {
  const bool leaves_others = limits_.batchable ? next_sharer(first) < buckets_.size() : size_ > 0;
  if (leaves_others) return cut ? Dispatch::kDeadline : Dispatch::kFull;
  return limits_.batchable && filling.rows >= limits_.max_rows ? Dispatch::kFull : Dispatch::kIdle;
}

Nanos BatchFormer::poll(Nanos now, Instances instances, std::vector<Request*>& batch, std::vector<Request*>& dead) {
  while (!buckets_.empty()) {
    bool passes_over = false;
    bool aged = false;
    const std::size_t leading = next_bucket(&passes_over, &aged);
    const Request& first = buckets_[leading].line.front();
    if (is_dead(first, now)) {
      dead.push_back(pop(leading));
      continue;
    }
    const RowCosts* const costs = instances.cost == nullptr ? nullptr : &instances.cost->of(first.cost_class);
    const std::int64_t most = most_rows(costs, instances);
    const std::int64_t waiting = limits_.batchable ? waiting_rows(first) : static_cast<std::int64_t>(size_);
    if (instances.freed && instances.idle <= 1) {
      const Nanos until = linger_until(now, first, waiting, most);
      if (until > now) return dead.empty() ? until : kNever;
    }
    Filling filling;
    filling.now = now;
    const std::int64_t share = share_of(waiting, costs, instances, most);
    filling.share = in_half_its_time(first, costs, share);
    const std::int64_t taken = limits_.batchable ? filling.share : 1;
    if (costs != nullptr && waiting > taken * std::max<std::int64_t>(1, instances.idle)) {
      filling.in_time = now + with_room(costs->at_least(taken));
      shorten(first, *costs, filling);
    }
    bool more = fill_from(leading, filling, batch, dead);
    while (more && limits_.batchable) {
      const Request* const any = !batch.empty() ? batch.front() : dead.back();
      const std::size_t next = next_sharer(*any);
      more = next < buckets_.size() && fill_from(next, filling, batch, dead);
    }
    const bool cut = filling.share < share;
    if (batch.empty()) rescue(filling, batch, dead);
    if (!batch.empty()) dispatch_ = why(filling, *batch.front(), cut);
    if (!batch.empty() && passes_over) passed_over_ = aged ? 0 : passed_over_ + 1;
    return kNever;
  }
  return kNever;
}

}  // namespace anya
