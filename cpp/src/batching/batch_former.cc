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

// A request without a priority stands in the middle of 1..255: others can go before it and after it.
constexpr int kMiddle = 128;

// One batch of so many is a step smaller, another a step larger than the best known, since what a size costs can
// change.
constexpr std::uint64_t kExploreEvery = 128;
constexpr std::uint64_t kLearnEvery = 4;
int level(const Request& request) noexcept { return request.priority != 0 ? request.priority : kMiddle; }

bool comes_before(const Request& a, const Request& b) noexcept {
  return level(a) != level(b) ? level(a) < level(b) : a.accepted_at < b.accepted_at;
}

}  // namespace

BatchFormer::Bucket& BatchFormer::bucket_for(const Request& request) {
  for (Bucket& bucket : buckets_) {
    // Without batching the buckets only order: one is enough.
    if (!limits_.batchable || may_share(*bucket.head, request)) return bucket;
  }
  return buckets_.emplace_back();
}

void BatchFormer::add(Request* request) {
  request->next_waiting = nullptr;
  Bucket& bucket = bucket_for(*request);
  if (bucket.head == nullptr) {
    bucket.head = bucket.tail = request;
  } else if (level(*request) >= level(*bucket.tail)) {
    bucket.tail->next_waiting = request;
    bucket.tail = request;
  } else {
    Request** link = &bucket.head;
    while (level(**link) <= level(*request)) link = &(*link)->next_waiting;
    request->next_waiting = *link;
    *link = request;
  }
  bucket.rows += std::max<std::int64_t>(1, request->rows);
  ++size_;
  previous_arrival_ = last_arrival_;
  last_arrival_ = request->accepted_at;
}

BatchFormer::Bucket* BatchFormer::next_bucket() noexcept {
  Bucket* first = nullptr;
  for (Bucket& bucket : buckets_) {
    if (first == nullptr || comes_before(*bucket.head, *first->head)) first = &bucket;
  }
  return first;
}

Request* BatchFormer::pop(Bucket& bucket) noexcept {
  Request* const request = bucket.head;
  bucket.head = request->next_waiting;
  request->next_waiting = nullptr;
  bucket.rows -= std::max<std::int64_t>(1, request->rows);
  --size_;
  if (bucket.head == nullptr) {
    bucket = buckets_.back();  // the caller's reference is stale from here on; order among buckets carries no meaning
    buckets_.pop_back();
  }
  return request;
}

// Waiting pays only while others arrive: another request than the oldest must have come within the last delay.
Nanos BatchFormer::linger_until(Nanos now, const Bucket& bucket, std::int64_t most) const noexcept {
  if (!limits_.batchable || limits_.max_delay <= 0 || bucket.rows >= most) return now;
  const Nanos another = size_ > 1 ? last_arrival_ : previous_arrival_;
  if (another < 0) return now;
  return std::min(bucket.head->accepted_at, another) + limits_.max_delay;
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

Nanos BatchFormer::poll(Nanos now, Instances instances, std::vector<Request*>& batch, std::vector<Request*>& dead) {
  const auto is_dead = [now](const Request& request) { return request.is_claimed() || request.deadline <= now; };
  for (;;) {
    Bucket* bucket = next_bucket();
    if (bucket == nullptr) return kNever;
    if (is_dead(*bucket->head)) {
      dead.push_back(pop(*bucket));
      continue;
    }
    const RowCosts* const costs = instances.cost == nullptr ? nullptr : &instances.cost->of(bucket->head->cost_class);
    const std::int64_t most = most_rows(costs, instances);
    if (instances.freed && instances.idle <= 1) {
      const Nanos until = linger_until(now, *bucket, most);
      if (until > now) return dead.empty() ? until : kNever;
    }
    const std::int64_t share = share_of(bucket->rows, costs, instances, most);
    std::int64_t rows = 0;
    do {
      const bool last = bucket->head->next_waiting == nullptr;
      Request* const request = pop(*bucket);
      if (is_dead(*request)) {
        dead.push_back(request);
      } else {
        batch.push_back(request);
        rows += std::max<std::int64_t>(1, request->rows);
      }
      if (last) break;  // the bucket is gone
    } while (limits_.batchable && rows < share &&
             rows + std::max<std::int64_t>(1, bucket->head->rows) <= limits_.max_rows);
    return kNever;
  }
}

}  // namespace anya
