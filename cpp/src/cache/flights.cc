// SPDX-License-Identifier: Apache-2.0
#include "cache/flights.h"

#include <utility>

namespace anya {

bool Flights::join(Request& request, int level, bool may_share, const std::function<void()>& accept) {
  if (may_share) {
    MutexLock lock(mutex_);
    const auto found = listed_.find(request.cache_question.hash);
    if (found != listed_.end() && found->second->key->matches(request.cache_question)) {
      Flight& flight = *found->second;
      // Who is more urgent than the run it would wait for runs by itself, as does who finds no room.
      may_share = false;
      if (flight.level <= level && followers_ < limit_) {
        request.by_other = true;
        accept();
        request.retain();
        request.next_waiting = nullptr;
        (flight.first == nullptr ? flight.first : flight.last->next_waiting) = &request;
        flight.last = &request;
        ++followers_;
        return true;
      }
    }
  }
  // Copied outside the lock: who comes meanwhile with the same question makes a flight of its own, or has just done so.
  request.key = std::make_shared<CacheKey>(request.cache_question);
  request.flight = std::make_shared<Flight>(request.key, level);
  if (may_share) {
    MutexLock lock(mutex_);
    request.flight->listed = listed_.try_emplace(request.cache_question.hash, request.flight).second;
  }
  return false;
}

bool Flights::begin(Request& request, int level) {
  request.flight = std::make_shared<Flight>(request.key, level);
  MutexLock lock(mutex_);
  request.flight->listed = listed_.try_emplace(request.cache_question.hash, request.flight).second;
  if (!request.flight->listed) request.flight.reset();
  return request.flight != nullptr;
}

bool Flights::flies(const CacheQuestion& question) noexcept {
  MutexLock lock(mutex_);
  return listed_.contains(question.hash);
}

std::shared_ptr<Flight> Flights::take(Request& request) noexcept {
  MutexLock lock(mutex_);
  return std::exchange(request.flight, nullptr);
}

Request* Flights::pop(Flight& flight) noexcept {
  Request* const first = flight.first;
  if (first == nullptr) return nullptr;
  flight.first = first->next_waiting;
  first->next_waiting = nullptr;
  --followers_;
  return first;
}

void Flights::unlist(Flight& flight) noexcept {
  if (!std::exchange(flight.listed, false)) return;
  listed_.erase(flight.key->hash());
}

Request* Flights::land(Flight& flight) noexcept {
  MutexLock lock(mutex_);
  unlist(flight);
  for (const Request* each = flight.first; each != nullptr; each = each->next_waiting) --followers_;
  flight.last = nullptr;
  return std::exchange(flight.first, nullptr);
}

Request* Flights::hand_on(const std::shared_ptr<Flight>& flight) noexcept {
  // Released without the lock: whoever is the last to let go of a request runs its owner's code.
  Request* dead = nullptr;
  Request* next = nullptr;
  {
    MutexLock lock(mutex_);
    while ((next = pop(*flight)) != nullptr && next->is_claimed()) {
      next->next_waiting = dead;
      dead = next;
    }
    if (next == nullptr) {
      unlist(*flight);
    } else {
      // Whoever ends it from now on finds the flight; whoever has ended it before was seen to have claimed it.
      next->by_other = false;
      next->flight = flight;
      next->key = flight->key;
      next->key->lend(next->inputs);
    }
  }
  while (dead != nullptr) std::exchange(dead, dead->next_waiting)->release();
  return next;
}

}  // namespace anya
