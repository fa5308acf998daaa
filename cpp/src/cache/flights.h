// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>

#include "anya/cache.h"
#include "anya/request.h"
#include "base/mutex.h"

namespace anya {

// One question on its way to an answer: who runs it, and who waits for that run.
class Flight {
 public:
  Flight(std::shared_ptr<const CacheKey> its_key, int its_level) : key(std::move(its_key)), level(its_level) {}
  const std::shared_ptr<const CacheKey> key;

 private:
  friend class Flights;
  // Guarded by the table's mutex.
  int level;            // of who runs it
  bool listed = false;  // others can find it
  Request* first = nullptr;
  Request* last = nullptr;
};

// The flights of one model: equal requests find each other here. Thread-safe; the one mutex is held for a look into a
// table. A request that waits is linked by next_waiting, with a reference of the flight's own.
class Flights {
 public:
  explicit Flights(std::size_t max_followers) : limit_(max_followers) {}

  // Joins the flight of the request's question, or begins one. True: the request waits for another one's run; `accept`
  // was called before anybody could end it. False: it is to run, and request.flight is its flight, which nobody else
  // can find where `may_share` is false, when a less urgent request has it or as many wait as may. Throws
  // std::bad_alloc; then nothing has changed.
  bool join(Request& request, int level, bool may_share, const std::function<void()>& accept);
  // Begins the flight of the request's question, whose key it holds. False: there is one.
  bool begin(Request& request, int level);
  [[nodiscard]] bool flies(const CacheQuestion& question) noexcept;
  // The flight that the request runs for, which is then no longer its own; null: it runs for none.
  [[nodiscard]] std::shared_ptr<Flight> take(Request& request) noexcept;
  // Ends a flight: who waited, linked by next_waiting, the first who came first.
  [[nodiscard]] Request* land(Flight& flight) noexcept;
  // Gives the flight to the first of those who wait and still live, which is to be run with the flight's reference; its
  // inputs lie in the key's memory from then on. Null: nobody waits, the flight has ended.
  [[nodiscard]] Request* hand_on(const std::shared_ptr<Flight>& flight) noexcept;

 private:
  Request* pop(Flight& flight) noexcept REQUIRES_LOCK(mutex_);
  void unlist(Flight& flight) noexcept REQUIRES_LOCK(mutex_);

  const std::size_t limit_;
  Mutex mutex_;
  std::unordered_map<std::uint64_t, std::shared_ptr<Flight>> listed_ GUARDED_BY(mutex_);  // by the key's hash
  std::size_t followers_ GUARDED_BY(mutex_) = 0;
};

}  // namespace anya
