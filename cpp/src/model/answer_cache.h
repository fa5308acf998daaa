// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "anya/cache.h"
#include "anya/clock.h"
#include "anya/request.h"
#include "anya/session.h"
#include "batching/batcher.h"
#include "cache/flights.h"

namespace anya {

// Between the requests of a model and its response cache: who is answered at once, who waits for an equal request's
// run, whose answer is kept, and who takes a run over whose leader has gone. Thread-safe; never blocks for a run.
// Outlived by everything it is given.
class AnswerCache final : public OutcomeWatcher {
 public:
  AnswerCache(const CacheOptions& options, std::array<std::uint64_t, 2> seed, Batcher& batcher, const Clock& clock,
              std::size_t max_followers);

  // The request has ended if the cache has its answer. A stale one is given while a new one is made. REQUIRES:
  // admitted, data in place.
  void look_up(Request& request, bool only_fresh) noexcept;
  // Ends the request with a stale answer in place of a refusal. False: there is none that may be given.
  bool answer_instead(Request& request, const Status& refusal) noexcept;
  // Fills in a fresh answer, or one that has been stale for `max_age` at most. The request is not ended.
  bool last_good(Request& request, Nanos max_age) noexcept;
  // For a request that look_up has not answered and that is about to run. True: it has been accepted, and ends by
  // another one's run or by this cache, perhaps already. False: it is to be run; its inputs now lie in memory that
  // nobody can change.
  bool join(Request& request) noexcept;
  // For a request that `join` has let run and that nobody will run.
  void give_up(Request& request) noexcept;

  void decided(Request& request) noexcept override;

  void clear() noexcept { cache_.clear(); }
  void close() noexcept { cache_.close(); }
  [[nodiscard]] CacheStats stats() const { return cache_.stats(); }

 private:
  void ask(Request& request) const;
  [[nodiscard]] ResponseCache::Found instead_of(const Status& failure, Request& request) noexcept;
  void refresh(const Request& asked, const std::shared_ptr<const CachedAnswer>& stale) noexcept;
  void deliver(Flight& flight, const Request& leader) noexcept;
  void fail(Flight& flight, const Status& status) noexcept;
  void hand_on(const std::shared_ptr<Flight>& flight) noexcept;
  [[nodiscard]] bool unchanged(const Request& leader) const;

  const bool by_tenant_;
  const bool single_flight_;
  const bool reruns_;
  const Nanos stale_if_error_;
  Batcher& batcher_;
  const Clock& clock_;
  ResponseCache cache_;
  Flights flights_;
};

}  // namespace anya
