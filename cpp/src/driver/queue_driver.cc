// SPDX-License-Identifier: Apache-2.0
#include "driver/queue_driver.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <random>

#include <poll.h>
#include <sys/prctl.h>

namespace anya {
namespace {

constexpr Nanos kMillisecond = 1'000'000;
constexpr Nanos kGlance = 50 * kMillisecond;  // how long a stop may go unnoticed
constexpr Nanos kSpin = 20'000;               // a sleep may end this much late, so the last bit is spent awake
constexpr Nanos kGrace = 100 * kMillisecond;  // how long after the window its overdue requests are still sent
// Gaps shorter than a sleep is late: staying awake for them would take a core from the model that is measured, and
// waking for each tenth of a millisecond takes a worker's core and caches away as often (measured: a seventh of what a
// saturated model answers). Requests leave in small bursts then, late by this much at most; their latency counts from
// when they were due.
constexpr Nanos kBreath = 500'000;
constexpr std::size_t kBurst = 64;  // requests sent at once before answers are looked at again

// Lets this thread's sleeps end on time: the kernel may otherwise add 50 us to save power.
class PreciseSleep {
 public:
  PreciseSleep() noexcept : before_(prctl(PR_GET_TIMERSLACK)) { prctl(PR_SET_TIMERSLACK, 1UL); }
  ~PreciseSleep() {
    if (before_ > 0) prctl(PR_SET_TIMERSLACK, static_cast<unsigned long>(before_));
  }
  PreciseSleep(const PreciseSleep&) = delete;
  PreciseSleep& operator=(const PreciseSleep&) = delete;

 private:
  const int before_;
};

// When requests are due, in nanoseconds from the start. The same seed gives the same schedule everywhere.
class Schedule {
 public:
  explicit Schedule(const LoadPlan& plan) : random_(plan.seed), gap_(1e9 / plan.rate), arrivals_(plan.arrivals) {
    advance();
  }
  [[nodiscard]] Nanos due() const noexcept { return static_cast<Nanos>(due_); }
  void advance() noexcept {
    // 1 - u is in (0, 1], so the logarithm is finite.
    const double u = static_cast<double>(random_() >> 11) * 0x1p-53;
    due_ += arrivals_ == Arrivals::kPoisson ? -std::log(1.0 - u) * gap_ : gap_;
  }

 private:
  std::mt19937_64 random_;
  const double gap_;
  const Arrivals arrivals_;
  double due_ = 0;
};

}  // namespace

QueueDriver::QueueDriver(Model& model, const LoadPlan& plan, LoadControl& control)
    : model_(model),
      plan_(plan),
      control_(control),
      window_(model.now() + plan.warm_up),
      end_(window_ + plan.duration) {
  outgoing_.reserve(plan.mode == LoadMode::kOpen ? kBurst : static_cast<std::size_t>(plan.concurrency));
}

// Prepares the next question, to leave with the next send().
void QueueDriver::add_question(Nanos asked_at) {
  LoadRequest* const request = pool_.get();
  request->asked_at = asked_at;
  request->measured = asked_at >= window_;  // the loops see to the end
  const Status status = request->prepare(model_, plan_.questions[next_question_]);
  next_question_ = (next_question_ + 1) % plan_.questions.size();
  if (status.ok()) {
    outgoing_.push_back(request);
    return;
  }
  recorder_.refused(status, request->measured, model_.now());
  request->release();
  if (status.code == ErrorCode::kUnavailable) closed_ = true;
}

void QueueDriver::send() {
  for (Request* request : outgoing_) static_cast<void>(request->notify_through(queue_));  // none has ended yet
  Status refusal;
  const std::size_t sent = model_.enqueue(outgoing_, /*watch_deadlines=*/true, refusal);
  in_flight_ += sent;
  peak_ = std::max(peak_, in_flight_);
  const bool all = sent == outgoing_.size();
  const Nanos now = all ? 0 : model_.now();
  for (std::size_t i = sent; i < outgoing_.size(); ++i) {
    auto* const request = static_cast<LoadRequest*>(outgoing_[i]);
    recorder_.refused(request->status, request->measured, now);
    request->release();  // what was to be the queue's
    request->release();  // ours
  }
  outgoing_.clear();
  if (!all && refusal.code == ErrorCode::kUnavailable) closed_ = true;
}

// REQUIRES: wait has said so. What is taken only after its signal leaves no signal to come, so that the queue may end.
void QueueDriver::collect() noexcept {
  Request* ended = queue_.take_all();
  const Nanos now = ended == nullptr ? 0 : model_.now();
  std::uint64_t count = 0;
  while (ended != nullptr) {
    auto* const request = static_cast<LoadRequest*>(ended);
    ended = ended->next_completed;
    recorder_.ended(*request, model_.schema(), now);
    request->release();  // the queue's
    request->release();  // ours
    ++count;
  }
  in_flight_ -= count;
  control_.ended.fetch_add(count, std::memory_order_relaxed);
}

void QueueDriver::drain() noexcept {
  for (Request* request : outgoing_) request->release();
  outgoing_.clear();
  while (in_flight_ > 0) {
    if (wait(model_.now() + kGlance)) collect();
  }
}

// Until an answer is there (true), or until this time.
bool QueueDriver::wait(Nanos until) noexcept {
  const Nanos left = until - model_.now();
  const Nanos sleep = std::clamp<Nanos>(left - kSpin, 0, kGlance);
  const timespec time{sleep / 1'000'000'000, sleep % 1'000'000'000};
  pollfd ready{queue_.descriptor(), POLLIN, 0};
  if (ppoll(&ready, 1, &time, nullptr) > 0) return true;
  if (left <= kSpin) {
    while (model_.now() < until) {
    }
  }
  return false;
}

LoadReport QueueDriver::closed_loop() {
  const auto wanted = static_cast<std::size_t>(plan_.concurrency);
  for (Nanos now = model_.now(); now < end_ && !stopped() && !closed_; now = model_.now()) {
    for (std::size_t missing = wanted - in_flight_; missing > 0; --missing) add_question(model_.now());
    send();
    // Who is refused asks again, but not at once: that would be a different load.
    if (wait(in_flight_ == wanted ? end_ : std::min(end_, now + kMillisecond))) collect();
  }
  drain();
  return report();
}

LoadReport QueueDriver::open_loop() {
  const PreciseSleep precise;
  const Nanos start = window_ - plan_.warm_up;
  Schedule schedule(plan_);
  const auto due = [&] { return start + schedule.due(); };
  const Nanos breath = plan_.rate > 1e9 / static_cast<double>(kSpin) ? kBreath : 0;
  while (due() < end_ && !stopped() && !closed_) {
    const Nanos now = model_.now();
    if (now >= end_ + kGrace) break;
    for (; due() <= now && due() < end_ && outgoing_.size() < kBurst; schedule.advance()) {
      if (due() >= window_) recorder_.late(now - due());
      add_question(due());
    }
    if (!outgoing_.empty()) send();
    if (wait(std::min(due() > now + breath ? due() : now + breath, end_))) collect();
  }
  for (; due() < end_ && !stopped() && !closed_; schedule.advance()) ++unsent_;
  drain();
  return report();
}

LoadReport QueueDriver::report() const {
  LoadReport report = recorder_.report(model_, window_);
  report.unsent = unsent_;
  report.peak_in_flight = peak_;
  report.stopped = stopped() || closed_;
  return report;
}

}  // namespace anya
