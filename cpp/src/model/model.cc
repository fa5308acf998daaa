// SPDX-License-Identifier: Apache-2.0
#include "anya/model.h"

#include <algorithm>
#include <array>
#include <utility>

#include <sys/random.h>

#include "model/checked_session.h"
#include "model/model_impl.h"
#include "model/prediction_reader.h"

namespace anya {
namespace {

constexpr double kLongest = 1e9;  // seconds: beyond it there is no limit

Nanos nanos_of(double seconds) {
  return seconds > 0 && seconds <= kLongest ? static_cast<Nanos>(seconds * 1e9) : kNever;
}

struct Looks {
  std::shared_ptr<ModelCounters> counters;
  std::shared_ptr<const RunObserver> observer;
};

std::shared_ptr<ModelCounters> counters_in(const CounterMemory& memory, std::size_t part) {
  if (memory.bytes.empty()) return std::make_shared<ModelCounters>();
  const std::size_t size = CounterMemory::size() / 2;
  if (memory.bytes.size() < 2 * size) return std::make_shared<ModelCounters>(memory.bytes.first(0), memory.owner);
  return std::make_shared<ModelCounters>(memory.bytes.subspan(part * size, size), memory.owner);
}

Batcher::Setup setup_of(const ModelInfo& info, const Admission& admission, BatchingOptions batching,
                        const std::vector<MeasuredRun>& run_times, const Timeouts& timeouts,
                        const std::optional<BreakerOptions>& breaker, const Looks& looks) {
  if (batching.queue_delay_target_microseconds == 0 && timeouts.usual != kNever) {
    batching.queue_delay_target_microseconds = std::max<std::int64_t>(1, timeouts.usual / 2000);
  }
  Batcher::Setup setup{.batching = batching,
                       .batchable = info.batchable,
                       .predictable = admission.rules().predictable,
                       .instances = info.instances,
                       .name = info.name,
                       .one_shape = admission.one_shape(),
                       .run_times = {},
                       .standing = std::make_shared<Standing>(breaker),
                       .counters = looks.counters,
                       .observer = looks.observer};
  for (const MeasuredRun& run : run_times) setup.run_times.emplace_back(run.rows, run.duration);
  return setup;
}

Admission::Rules with_shapes(Admission::Rules rules, const RuleBook& book) {
  rules.shapes = book.shapes();
  return rules;
}

// Answers are looked at only where a rule asks for it.
std::unique_ptr<Session> checked(std::unique_ptr<Session> session, RuleBook& book) {
  if (!book.checks_outputs()) return session;
  return std::make_unique<CheckedSession>(std::move(session), book);
}

std::array<std::uint64_t, 2> random_seed() {
  std::array<std::uint64_t, 2> seed{};
  if (getrandom(seed.data(), sizeof(seed), 0) != sizeof(seed)) {
    throw Error(ErrorCode::kUnavailable, "the system gives no random bytes for the cache's seed");
  }
  return seed;
}

void expire(Request& request, Nanos now) {
  constexpr ErrorCode kCode = ErrorCode::kDeadlineExceeded;
  if (request.deadline <= now) {
    Batcher::conclude(request, Status::failure(kCode, Reason::kExpired, request.timeout), now);
  } else if (request.running_on() == Request::kNotRunning) {
    const Status over = Status::failure(kCode, Reason::kQueueTimeout, now - request.accepted_at,
                                        request.leave_at - request.accepted_at);
    Batcher::conclude(request, over, now);
  }
}

}  // namespace

std::size_t CounterMemory::size() noexcept { return 2 * ModelCounters::bytes(); }

Timeouts timeouts_of(const ModelOptions& options) {
  const Nanos longest = nanos_of(options.max_timeout);
  return {std::min(nanos_of(options.default_timeout), longest), longest};
}

EngineShared::EngineShared(std::shared_ptr<const Clock> the_clock)
    : clock(std::move(the_clock)), timer(*clock, [this](Request& request) { expire(request, clock->now()); }) {}

Opened::Opened(std::unique_ptr<Session> bare, const ModelRules& model_rules)
    : rules(model_rules, bare->schema()), session(checked(std::move(bare), rules)) {}

Model::Impl::Impl(std::shared_ptr<EngineShared> the_shared, ModelInfo the_info, std::unique_ptr<Session> the_session,
                  Admission::Rules admission_rules, const BatchingOptions& batching,
                  const std::vector<MeasuredRun>& run_times, Timeouts the_timeouts, const ModelRules& model_rules,
                  const CacheOptions& cache_options, const std::optional<BreakerOptions>& breaker,
                  const PredictionOptions& prediction_options, const CounterMemory& memory)
    : shared(std::move(the_shared)),
      info(std::move(the_info)),
      opened(std::make_shared<Opened>(std::move(the_session), model_rules)),
      admission(opened->session->schema(), with_shapes(std::move(admission_rules), opened->rules)),
      timeouts(the_timeouts),
      classes(prediction_options.classes),
      predictions(PredictionReader::make(prediction_options, opened->session->schema())),
      counters(counters_in(memory, 0)),
      of_twins(counters_in(memory, 1)),
      batcher(*opened->session, *shared->clock,
              setup_of(info, admission, batching, run_times, timeouts, breaker, {counters, predictions})) {
  if (cache_options.capacity_bytes <= 0) return;
  try {
    cache = std::make_unique<AnswerCache>(cache_options, random_seed(), batcher, *shared->clock,
                                          static_cast<std::size_t>(batching.max_queue_size));
  } catch (...) {
    batcher.close();
    throw;
  }
}

namespace {

// Priority and timeout; fills the deadline.
Status check_terms(const Model::Impl& model, Request& request) noexcept {
  if (!model.batcher.policies().accepts(request.priority)) {
    return Status::failure(ErrorCode::kInvalidInput, Reason::kPriorityOutOfRange, request.priority,
                           model.batcher.policies().levels());
  }
  if (request.timeout == kNever) {
    request.timeout = model.timeouts.usual;
  } else if (request.timeout > model.timeouts.longest) {
    return Status::failure(ErrorCode::kInvalidInput, Reason::kTimeoutTooLong, request.timeout, model.timeouts.longest);
  }
  if (request.timeout == kNever) return {};
  if (request.timeout <= 0) {
    return Status::failure(ErrorCode::kDeadlineExceeded, Reason::kExpiredAtDoor, request.timeout);
  }
  if (__builtin_add_overflow(request.accepted_at, request.timeout, &request.deadline)) request.deadline = kNever;
  return {};
}

// As a rule nothing bars: two loads.
bool may_be_barred(const Model::Impl& model) noexcept { return model.batcher.standing().may_be_barred(); }

Status check_standing(const Model::Impl& model) noexcept {
  return may_be_barred(model) ? model.batcher.standing().barred(model.shared->clock->now()) : Status{};
}

Status check_queue(const Model::Impl& model, const Request& request) noexcept {
  return model.batcher.lets_all_in() ? Status{} : model.batcher.check(request);
}

}  // namespace

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Model::~Model() {
  if (impl_->shared->fork_guard.is_owner()) {
    close();
  } else {
    static_cast<void>(impl_.release());  // its threads do not exist here: leaking is the only safe end
  }
}

const ModelInfo& Model::info() const noexcept { return impl_->info; }
const ModelSchema& Model::schema() const noexcept { return impl_->opened->session->schema(); }
Nanos Model::now() const noexcept { return impl_->shared->clock->now(); }

Status Model::admit(Request& request) noexcept {
  if (!impl_->shared->fork_guard.is_owner()) return Status::failure(ErrorCode::kUnavailable, Reason::kForked);
  Status status = impl_->admission.check(request);
  // With a cache the breaker and the queue are asked after it: see find_answer.
  if (impl_->cache == nullptr && status.ok() && may_be_barred(*impl_)) status = check_standing(*impl_);
  if (status.ok()) {
    request.accepted_at = now();
    // As a rule it has no terms and nobody waits.
    const bool has_terms = request.priority != 0 || request.timeout != kNever || impl_->timeouts.usual != kNever;
    if (has_terms) status = check_terms(*impl_, request);
    if (impl_->cache == nullptr && status.ok()) status = check_queue(*impl_, request);
  }
  if (!status.ok()) impl_->batcher.count_refusal(status.code);
  return status;
}

bool Model::has_cache() const noexcept { return impl_->cache != nullptr; }

Status Model::find_answer(Request& request, Caching caching) noexcept {
  if (impl_->cache == nullptr || caching == Caching::kLater) return {};
  if (caching != Caching::kBypass) impl_->cache->look_up(request, caching == Caching::kFresh);
  if (request.ended()) return {};
  Status status = check_standing(*impl_);
  if (status.ok()) status = check_queue(*impl_, request);
  if (status.ok() || impl_->cache->answer_instead(request, status)) return {};
  impl_->batcher.count_refusal(status.code);
  return status;
}

bool Model::join(Request& request, bool watch_deadlines) noexcept {
  if (impl_->cache == nullptr || !impl_->cache->join(request)) return false;
  if (watch_deadlines && request.deadline != kNever) impl_->shared->timer.watch(request);
  return true;
}

bool Model::last_good(Request& request, Nanos max_age) noexcept {
  return impl_->cache != nullptr && impl_->cache->last_good(request, max_age);
}

void Model::give_up(Request& request) noexcept { impl_->cache->give_up(request); }

void Model::clear_cache() noexcept {
  if (impl_->cache != nullptr) impl_->cache->clear();
}

bool Model::checks_values(std::size_t input) const noexcept { return impl_->opened->rules.checks_values(input); }

TextLimits Model::text_limits(std::size_t input) const noexcept {
  TextLimits limits = impl_->opened->rules.text_limits(input);
  limits.max_request_bytes = impl_->admission.rules().max_request_bytes;
  return limits;
}

Status Model::check_values(std::size_t input, const TensorView& view, void* to, std::uint64_t* changed) noexcept {
  Status status = impl_->opened->rules.check_input(input, view, to, changed);
  if (!status.ok()) impl_->batcher.count_refusal(status.code);
  return status;
}

void Model::count_normalized(std::size_t input, std::uint64_t strings) noexcept {
  impl_->opened->rules.count_sanitized(input, strings);
}

bool Model::run_here(Request& request) noexcept {
  if (request.deadline != kNever) {
    // Nobody can interrupt one operator, so a caller with a deadline runs its own request only with room to spare.
    const Nanos slow = impl_->batcher.slow_run();
    if (slow == 0 || slow > (request.deadline - request.accepted_at) / 2) return false;
  }
  return impl_->batcher.run_here(request, &impl_->shared->timer);
}

Status Model::rehearse(Request& request) noexcept {
  try {
    const std::unique_ptr<RunControl> control = impl_->opened->session->make_run_control();
    return impl_->opened->session->run(*control, request.inputs, request.output_indices, request.outputs);
  } catch (const std::exception& error) {
    return Status::with_text(ErrorCode::kOutOfMemory, error.what());
  }
}

bool Model::run_here(std::span<Request* const> requests) noexcept {
  return impl_->batcher.run_here(requests, &impl_->shared->timer);
}

std::size_t Model::enqueue(std::span<Request*> requests, bool watch_deadlines, Status& refusal) noexcept {
  const std::size_t accepted = impl_->batcher.enqueue(requests);
  for (std::size_t i = 0; i < accepted; ++i) {
    const bool has_end = requests[i]->leave_at != kNever || (watch_deadlines && requests[i]->deadline != kNever);
    if (has_end) impl_->shared->timer.watch(*requests[i]);
  }
  if (accepted < requests.size()) refusal = requests[accepted]->status;
  return accepted;
}

bool Model::conclude(Request& request, ErrorCode code, Reason reason) const noexcept {
  const std::int64_t value = request.timeout == kNever ? 0 : request.timeout;
  return Batcher::conclude(request, Status::failure(code, reason, value), now());
}

void Model::count_refusal(ErrorCode code) noexcept { impl_->batcher.count_refusal(code); }

std::uint32_t Model::waiting() const noexcept { return impl_->batcher.waiting(); }
void Model::watch_drift(const DriftPlan* plan) {
  std::optional<DriftPlan> copy;
  if (plan != nullptr) {
    const ModelSchema& of = schema();
    for (const DriftTensor& tensor : plan->tensors) {
      if (tensor.index < (tensor.is_output ? of.outputs : of.inputs).size()) continue;
      throw Error(ErrorCode::kConfigError, "a drift plan names a tensor that the model does not have");
    }
    copy = *plan;
  }
  MutexLock lock(impl_->mutex);
  impl_->monitors.watch(copy, impl_->batcher, impl_->info.instances, *impl_->shared->clock);
  for (const auto& twin : impl_->twins) twin->watch_drift(plan);
}

DriftCounts Model::take_drift() {
  MutexLock lock(impl_->mutex);  // a twin's counts are in one of the two places
  DriftCounts counts = impl_->monitors.take();
  for (const auto& twin : impl_->twins) add(counts, twin->take_drift());
  return counts;
}

std::string Model::take_profile() {
  MutexLock lock(impl_->mutex);
  return std::exchange(impl_->profile, {});
}

void Model::set_profile(std::string profile) {
  MutexLock lock(impl_->mutex);
  impl_->profile = std::move(profile);
}
bool Model::turns_away() noexcept {
  if (impl_->cache != nullptr) return false;
  const Status status = check_standing(*impl_);
  if (!status.ok()) impl_->batcher.count_refusal(status.code);
  return !status.ok();
}
std::optional<CircuitStats> Model::circuit() const { return impl_->batcher.standing().circuit(now()); }
bool Model::failed() const noexcept { return impl_->batcher.standing().failed(); }
Nanos Model::expected_run() const noexcept { return impl_->batcher.expected_run(); }
bool Model::inject(std::shared_ptr<const Faults> faults) { return impl_->batcher.standing().inject(std::move(faults)); }

std::vector<std::shared_ptr<Model>> Model::Impl::refuse_twins() noexcept {
  MutexLock lock(mutex);
  closed = true;
  return twins;
}

bool Model::drain(Nanos until) noexcept {
  const auto twins = impl_->refuse_twins();
  const auto is_drained = [&](const auto& twin) { return twin->drain(until); };
  return std::ranges::all_of(twins, is_drained) && impl_->batcher.drain(until);
}

void Model::close() noexcept {
  for (const auto& twin : impl_->refuse_twins()) end_twin(twin);
  impl_->batcher.close();
  if (impl_->cache != nullptr) impl_->cache->close();
}

}  // namespace anya
