// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "anya/clock.h"
#include "anya/request.h"
#include "anya/stats.h"
#include "batching/cost_model.h"
#include "batching/waiting_line.h"

namespace anya {

// Whether two requests to one model may share a run: same shapes beyond the rows, same outputs.
bool may_share(const Request& a, const Request& b) noexcept;

// Decides which waiting requests run next, and when. PURE: no thread, no lock, no clock of its own; time is an
// argument.
//
// Requests of one level that may share a run (equal signature and shapes) wait in one bucket, in the order in which
// they are due. The bucket of the highest level whose first request is due first is served next, so other shapes never
// block it; a batch is filled up from lower levels of its shape.
// No level starves: while others of a higher one come, every kAgedEvery-th batch is led by the bucket whose first
// request has waited longest, whatever its level.
// A run takes no longer than half of the time that its first request had.
// A request that would be answered too late (its run as predicted, and a quarter more) is dropped only in favour of
// others: when more wait than the batch takes, and some of them are in time. For who goes before lower levels the run
// is made shorter first. Owned by one thread at a time (the batcher's scheduling lock). Holds the engine's reference of
// each request in it.
class BatchFormer {
 public:
  struct Limits {
    std::int64_t max_rows = 1;  // of one run; requests with more rows run alone
    Nanos max_delay = 0;
    bool batchable = false;  // false: one request per run
  };
  explicit BatchFormer(Limits limits) : limits_(limits) {}

  // Runs have at most so many rows from now on.
  void set_max_rows(std::int64_t rows) noexcept { limits_.max_rows = rows; }
  void reserve(std::size_t requests) { buckets_.reserve(requests); }  // so that add never allocates
  // REQUIRES: its level and order are set (QueuePolicies::apply).
  void add(Request* request);
  static constexpr std::uint64_t kAgedEvery = 16;

  struct Instances {
    std::uint32_t count = 1;          // all there are
    std::uint32_t idle = 1;           // that could take work now, the asking one included
    std::int64_t running_rows = 0;    // in the runs of the others
    const CostModel* cost = nullptr;  // what is known of run times; null: nothing
    Nanos per_run = 0;                // what handing out a batch costs besides its run
    Nanos hop = 0;                    // a run shorter than this is better run here than shared with another instance
    std::uint64_t turn = 0;           // counts the batches: some are used to learn what other sizes cost
    bool freed = false;               // the asking one has just finished a run
  };
  // Moves the next batch into `batch`, and requests found ended or expired on the way into `dead` (both are appended
  // to). Nothing in either and a time other than kNever: ask again then, or when another request has come.
  Nanos poll(Nanos now, Instances instances, std::vector<Request*>& batch, std::vector<Request*>& dead);

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  // Why the last batch is as large as it is; never kDelay, which is for who waited to say.
  [[nodiscard]] Dispatch dispatch() const noexcept { return dispatch_; }
  // The least wait in the lowest level of those in `batch` and those still waiting: higher levels wait little however
  // long the queue is.
  [[nodiscard]] Nanos least_wait(Nanos now, std::span<Request* const> batch) const noexcept;

 private:
  struct Bucket {
    WaitingLine line;
    std::int64_t rows = 0;
    std::uint8_t level = 0;
  };
  // What a batch is being made by.
  struct Filling {
    Nanos now = 0;
    Nanos in_time = 0;       // a deadline sooner than this cannot be met
    std::int64_t share = 1;  // enough rows
    std::int64_t rows = 0;   // so far
    std::size_t doomed = 0;  // the last so many of the dead are merely late
  };

  Bucket& bucket_for(const Request& request);
  std::size_t next_bucket(bool* passes_over, bool* aged) const noexcept;
  [[nodiscard]] std::size_t next_sharer(const Request& first) const noexcept;
  [[nodiscard]] std::int64_t waiting_rows(const Request& first) const noexcept;
  Request* pop(std::size_t at) noexcept;
  // False: the batch is full.
  bool fill_from(std::size_t at, Filling& filling, std::vector<Request*>& batch, std::vector<Request*>& dead) noexcept;
  [[nodiscard]] Dispatch why(const Filling& filling, const Request& first, bool cut) const noexcept;
  static std::int64_t in_half_its_time(const Request& first, const RowCosts* costs, std::int64_t share) noexcept;
  void shorten(const Request& first, const RowCosts& costs, Filling& filling) const noexcept;
  void rescue(Filling& filling, std::vector<Request*>& batch, std::vector<Request*>& dead) const noexcept;
  [[nodiscard]] std::int64_t most_rows(const RowCosts* costs, const Instances& instances) const noexcept;
  [[nodiscard]] std::int64_t share_of(std::int64_t waiting, const RowCosts* costs, const Instances& instances,
                                      std::int64_t most) const noexcept;
  [[nodiscard]] Nanos linger_until(Nanos now, const Request& first, std::int64_t waiting,
                                   std::int64_t most) const noexcept;

  Limits limits_;
  std::vector<Bucket> buckets_;  // none empty
  std::size_t size_ = 0;
  Dispatch dispatch_ = Dispatch::kIdle;
  std::uint64_t next_ticket_ = 0;
  std::uint64_t passed_over_ = 0;  // batches since the longest wait was last heeded while a higher level went first
  Nanos last_arrival_ = -1;        // of the newest request ever added; -1: none
  Nanos previous_arrival_ = -1;    // of the one before it
};

}  // namespace anya
