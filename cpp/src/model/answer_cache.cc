// SPDX-License-Identifier: Apache-2.0
#include "model/answer_cache.h"

#include <algorithm>
#include <new>
#include <utility>

#include "model/refresh.h"
#include "rules/finite.h"

namespace anya {
namespace {

// What became of the leader's own terms, not of its question: another one may fare better.
bool is_own_fate(ErrorCode code) noexcept {
  return code == ErrorCode::kCancelled || code == ErrorCode::kDeadlineExceeded || code == ErrorCode::kOverloaded ||
         code == ErrorCode::kUnavailable;
}

// Failures that an older answer is better than.
bool may_be_stale_instead(const Status& failure) noexcept {
  const ErrorCode code = failure.code;
  // Not when it is being closed: then nobody is to be answered any more.
  if (code == ErrorCode::kUnavailable) {
    return failure.reason == Reason::kBreakerOpen || failure.reason == Reason::kDeviceFailed;
  }
  return code == ErrorCode::kExecutionError || code == ErrorCode::kOutOfMemory || code == ErrorCode::kOverloaded ||
         code == ErrorCode::kDeadlineExceeded || code == ErrorCode::kModelOutputInvalid;
}

bool is_worth_keeping(std::span<const OutputBuffer> outputs) noexcept {
  return std::ranges::all_of(outputs, [](const OutputBuffer& output) {
    return output.data == nullptr ? output.bytes == 0 : rules::all_finite(output.dtype, output.data, output.bytes);
  });
}

}  // namespace

AnswerCache::AnswerCache(const CacheOptions& options, std::array<std::uint64_t, 2> seed, Batcher& batcher,
                         const Clock& clock, std::size_t max_followers)
    : by_tenant_(options.scope != "shared"),
      single_flight_(options.single_flight),
      reruns_(options.on_leader_error == "rerun"),
      stale_if_error_(static_cast<Nanos>(options.stale_if_error * 1e9)),
      batcher_(batcher),
      clock_(clock),
      cache_(options, seed),
      flights_(max_followers) {}

void AnswerCache::ask(Request& request) const {
  cache_.ask(by_tenant_ ? std::string_view(request.tenant) : std::string_view(), request.output_indices, request.inputs,
             request.cache_question);
}

void AnswerCache::look_up(Request& request, bool only_fresh) noexcept try {
  request.only_fresh = only_fresh;
  ask(request);
  ResponseCache::Found found = cache_.find(request.cache_question, request.accepted_at, request.outputs, only_fresh);
  if (!found.any()) {
    request.watcher = this;
    return;
  }
  if (found.stale_age >= 0) refresh(request, found.answer);
  batcher_.answer(request, std::move(found.answer), found.stale_age);
} catch (const std::exception&) {
  // No memory for the question, or no MAC: it is run, and not kept.
}

ResponseCache::Found AnswerCache::instead_of(const Status& failure, Request& request) noexcept {
  if (stale_if_error_ <= 0 || request.only_fresh || !may_be_stale_instead(failure)) return {};
  return cache_.find_after_error(request.cache_question, clock_.now(), stale_if_error_);
}

bool AnswerCache::last_good(Request& request, Nanos max_age) noexcept try {
  ask(request);
  ResponseCache::Found found = cache_.find_after_error(request.cache_question, clock_.now(), max_age);
  request.ended_at = request.accepted_at;  // it takes no time of anybody's
  request.answer = std::move(found.answer);
  request.stale_age = found.stale_age;
  return request.answer != nullptr;
} catch (const std::exception&) {
  return false;  // no memory for the question, or no MAC
}

bool AnswerCache::answer_instead(Request& request, const Status& refusal) noexcept {
  if (request.watcher == nullptr) return false;
  ResponseCache::Found found = instead_of(refusal, request);
  if (found.answer == nullptr) return false;
  request.watcher = nullptr;
  batcher_.answer(request, std::move(found.answer), found.stale_age);
  return true;
}

bool AnswerCache::join(Request& request) noexcept try {
  if (request.watcher == nullptr) return false;
  const int level = batcher_.policies().level_of(request.priority);
  if (flights_.join(request, level, single_flight_, [&] { batcher_.accept(request); })) return true;
  request.key->lend(request.inputs);
  if (!single_flight_) return false;
  // The run that answered this question may have ended between our look and our flight.
  ResponseCache::Found found = cache_.find_again(request.cache_question, request.accepted_at);
  if (found.answer == nullptr) return false;
  const std::shared_ptr<Flight> flight = flights_.take(request);
  request.watcher = nullptr;
  const std::shared_ptr<const CachedAnswer> answer = found.answer;
  batcher_.answer(request, std::move(found.answer), -1);
  for (Request* next = flights_.land(*flight); next != nullptr;) {
    Request* const follower = std::exchange(next, next->next_waiting);
    Batcher::conclude(*follower, answer, clock_.now());
    follower->release();
  }
  return true;
} catch (const std::bad_alloc&) {
  request.watcher = nullptr;
  return false;
}

void AnswerCache::give_up(Request& request) noexcept {
  if (const std::shared_ptr<Flight> flight = flights_.take(request)) hand_on(flight);
}

void AnswerCache::decided(Request& request) noexcept {
  if (const std::shared_ptr<Flight> flight = flights_.take(request)) {
    if (request.status.ok()) {
      deliver(*flight, request);
    } else if (reruns_ || is_own_fate(request.status.code)) {
      hand_on(flight);
    } else {
      fail(*flight, request.status);
    }
  }
  if (request.answer != nullptr) return;
  ResponseCache::Found found = instead_of(request.status, request);
  if (found.answer == nullptr) return;
  request.status = Status{};
  request.answer = std::move(found.answer);
  request.stale_age = found.stale_age;
}

// A large question has no copy that the run could have read: has the caller changed its array meanwhile?
bool AnswerCache::unchanged(const Request& leader) const {
  if (!leader.cache_question.by_mac) return true;
  CacheQuestion again;
  cache_.ask(by_tenant_ ? std::string_view(leader.tenant) : std::string_view(), leader.output_indices, leader.inputs,
             again);
  return again.mac == leader.cache_question.mac;
}

void AnswerCache::deliver(Flight& flight, const Request& leader) noexcept {
  std::shared_ptr<const CachedAnswer> answer;
  try {
    if (unchanged(leader)) {
      answer = std::make_shared<CachedAnswer>(leader.outputs);
      // Before the flight ends: whoever finds no flight any more finds the answer.
      if (is_worth_keeping(leader.outputs)) cache_.insert(flight.key, answer, leader.ended_at);
    }
  } catch (const std::exception&) {
    answer.reset();
  }
  const Status no_answer =
      Status::with_text(ErrorCode::kOutOfMemory, "no memory to share the answer of an equal request");
  for (Request* next = flights_.land(flight); next != nullptr;) {
    Request* const follower = std::exchange(next, next->next_waiting);
    if (answer == nullptr) {
      Batcher::conclude(*follower, no_answer, leader.ended_at);
    } else if (Batcher::conclude(*follower, answer, leader.ended_at)) {
      cache_.count_coalesced();
    }
    follower->release();
  }
}

void AnswerCache::fail(Flight& flight, const Status& status) noexcept {
  for (Request* next = flights_.land(flight); next != nullptr;) {
    Request* const follower = std::exchange(next, next->next_waiting);
    Batcher::conclude(*follower, status, clock_.now());
    follower->release();
  }
}

void AnswerCache::hand_on(const std::shared_ptr<Flight>& flight) noexcept {
  while (Request* const next = flights_.hand_on(flight)) {
    const bool queued = batcher_.requeue(*next);
    if (!queued && flights_.take(*next) != nullptr) {
      // Not through `decided`, which would hand on again, one call inside the other.
      Batcher::conclude(*next, Status(next->status), clock_.now());
    }
    next->release();
    if (queued) return;
  }
}

void AnswerCache::refresh(const Request& asked, const std::shared_ptr<const CachedAnswer>& stale) noexcept try {
  if (asked.cache_question.by_mac || flights_.flies(asked.cache_question)) return;
  if (Standing& standing = batcher_.standing(); standing.may_be_barred() && !standing.barred(clock_.now()).ok()) return;
  auto request = std::make_unique<Refresh>(asked, std::make_shared<CacheKey>(asked.cache_question));
  const int lowest = batcher_.policies().levels() > 0 ? batcher_.policies().levels() : QueuePolicies::kLowest;
  request->priority = lowest;
  request->accepted_at = asked.accepted_at;
  request->watcher = this;
  request->answer = stale;  // nothing better can be given if it fails
  if (!flights_.begin(*request, lowest)) return;
  Refresh* const own = request.release();
  if (!batcher_.requeue(*own)) give_up(*own);
  own->release();
} catch (const std::bad_alloc&) {
  // The stale answer stands.
}

}  // namespace anya
