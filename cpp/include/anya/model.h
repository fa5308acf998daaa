// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "anya/drift.h"
#include "anya/faults.h"
#include "anya/options.h"
#include "anya/request.h"
#include "anya/stats.h"
#include "anya/status.h"
#include "anya/tensor.h"

namespace anya {

// What is known of a loaded version; constant.
struct ModelInfo {
  std::string name;
  std::string version;
  std::string digest;        // SHA-256 of what was parsed, hex
  std::string signer;        // the id of the key that signed it; "" where no signature was verified
  std::string quantization;  // by its operators: "dynamic", "static" or "none"
  std::vector<std::pair<std::string, std::string>> operator_libraries;  // name, and digest as a registry knows it
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  std::vector<std::string> providers;  // in force
  bool batchable = false;              // requests may share a run
  std::string batching_note;           // why, or why not
  int instances = 1;
  std::int64_t max_batch_size = 1;
  std::uint64_t memory_bytes = 0;  // of the model's files; ONNX Runtime's own use comes on top
  double load_seconds = 0;
  double warm_up_seconds = 0;  // of these, the runs on made-up rows
};

// One loaded version of a model: the door through which requests enter.
// Thread-safe. Kept alive by its holders (shared_ptr); runs until Engine::unload or the engine's close.
class Model {
 public:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] const ModelInfo& info() const noexcept;
  [[nodiscard]] const ModelSchema& schema() const noexcept;

  // Checks `inputs` (descriptors only: no data is touched) and the deadline, and fills what a run needs: rows,
  // signature, accepted_at, and in `outputs` dtype, and shape and bytes where they follow from the rows.
  // REQUIRES: one input per schema input; every output index is one of the schema's.
  // A failure is counted as a refusal. Never throws; never blocks.
  Status admit(Request& request) noexcept;

  // Whether the values of this input must go through check_values; constant. Strings always must.
  [[nodiscard]] bool checks_values(std::size_t input) const noexcept;
  // What to know of a string input before its text is encoded; constant.
  [[nodiscard]] TextLimits text_limits(std::size_t input) const noexcept;
  // Holds the values of an admitted input against its rule, in one pass with the copy.
  //   to == null:    reads view.data; *changed comes back as kNeedsCopy if a value must be changed and nothing else is
  //                  wrong so far: call again with memory.
  //   to == from:    the memory is the request's own and changed in place.
  //   otherwise:     copies to `to` (view.bytes) first, block by block; what is checked is what was copied.
  // *changed: how many values are not what was given. A failure names the first value at fault and is counted as a
  // refusal; changes are counted by input. Thread-safe; does not block; takes as long as reading the bytes.
  static constexpr std::uint64_t kNeedsCopy = UINT64_MAX;
  Status check_values(std::size_t input, const TensorView& view, void* to, std::uint64_t* changed) noexcept;
  // Strings that a binding has brought into normal form.
  void count_normalized(std::size_t input, std::uint64_t strings) noexcept;

  // ---- The response cache, between admission and the run. A model without one answers nothing from it.
  [[nodiscard]] bool has_cache() const noexcept;
  // kFresh: no stale answer is given, now or in place of an error. kBypass: the cache is neither asked nor filled.
  // kLater: nothing is asked yet, not even the queue; for `last_good`.
  enum class Caching : std::uint8_t { kUse, kFresh, kBypass, kLater };
  // Answers the request from the cache: it has ended then. Where it cannot, asks whether breaker and queue would let
  // the request in, as admit does without a cache; a failure is a refusal, counted. REQUIRES: admitted, inputs in
  // place; where there is memory for the outputs, the answer is written there. Takes as long as reading the inputs;
  // does not block.
  Status find_answer(Request& request, Caching caching) noexcept;
  // Right before the run, for a request that find_answer has not answered. True: it has been accepted and ends by an
  // equal request's run, perhaps it has; the caller has nothing to do but wait, and to end it at its deadline unless
  // `watch_deadlines`. False: run it; its inputs may lie in memory of the cache's now. Copies the inputs.
  bool join(Request& request, bool watch_deadlines) noexcept;
  // What `join` has let run will not be run. REQUIRES: request.flight, and it was never accepted.
  void give_up(Request& request) noexcept;
  // Fills in the answer to the same question that the cache still has, stale by `max_age` at most. False: there is
  // none. The request stays one that was never accepted and is counted nowhere. REQUIRES: admitted with
  // Caching::kLater.
  bool last_good(Request& request, Nanos max_age) noexcept;
  void clear_cache() noexcept;

  // The answer on this thread, if an instance is idle and the time left allows a run that nobody can interrupt.
  // True: the request has ended. False: nothing has happened. REQUIRES: admitted, data in place. Blocks for the run.
  bool run_here(Request& request) noexcept;
  // The same for a batch that an event loop has collected; only if it is known to be shorter than a hop to a worker.
  bool run_here(std::span<Request* const> requests) noexcept;
  // The answer on this thread, beside the instances: no outcome is counted and no run time learned. For warm-up and
  // comparisons. REQUIRES: admitted, data in place. Blocks for the run.
  Status rehearse(Request& request) noexcept;
  // Queues requests that were admitted; returns how many fit, and moves those to the front, in their order. The others
  // have not been accepted; the status of each says why, and `refusal` is that of the first.
  // `watch_deadlines`: the engine ends them at their deadline; otherwise the submitter, who waits, does.
  std::size_t enqueue(std::span<Request*> requests, bool watch_deadlines, Status& refusal) noexcept;
  // Ends a request that was accepted with this outcome, unless it has one. True if this call decided it.
  bool conclude(Request& request, ErrorCode code, Reason reason) const noexcept;

  // A refusal that was found outside admit (an unknown name, a wrong kind of object): counts it.
  void count_refusal(ErrorCode code) noexcept;
  [[nodiscard]] ModelStats stats() const;
  [[nodiscard]] std::uint32_t waiting() const noexcept;  // in the queue now
  // Counts what is asked and answered from now on, by a plan; null: no longer. What was counted by an earlier plan is
  // gone, but its memory goes with the model. Throws Error(kConfigError) for a plan that does not fit the model.
  void watch_drift(const DriftPlan* plan);
  // The bytes of the profile.json that lay beside the model, once; then, or without one, "".
  [[nodiscard]] std::string take_profile();
  void set_profile(std::string profile);  // for Engine
  // What was counted since it was last taken; nothing when nothing is counted.
  [[nodiscard]] DriftCounts take_drift();
  // Forgets what runs were learned to take, for a machine that has changed; back to what was measured at load.
  void reset_run_times() noexcept;
  [[nodiscard]] Nanos now() const noexcept;
  [[nodiscard]] std::optional<CircuitStats> circuit() const;
  // Whether it would refuse a request whatever it is; then that counts as a refusal. With a cache, never.
  bool turns_away() noexcept;
  [[nodiscard]] bool failed() const noexcept;              // its device is lost: all requests are refused
  [[nodiscard]] std::uint64_t succeeded() const noexcept;  // requests that ended well so far
  [[nodiscard]] Nanos expected_run() const noexcept;       // of one row; 0: nobody knows
  // What goes wrong on purpose in runs from now on; null: nothing does. For rehearsals; costs nothing without. False:
  // something does already, and still will.
  bool inject(std::shared_ptr<const Faults> faults);

  // A second queue with instances of its own on the same session: what is asked there meets nobody who asked here. Its
  // counts are part of stats(), and stay there after its end; this model's end is its end. Throws Error(kUnavailable)
  // when no threads can be had or this is closing; then nothing has changed.
  std::shared_ptr<Model> make_twin();
  // Drains a twin of this model and lets go of it. Idempotent. Blocks.
  void end_twin(const std::shared_ptr<Model>& twin) noexcept;

  // Drains: blocks until all that was accepted has ended. Idempotent. For Engine.
  void close() noexcept;
  // The same with an end to the waiting, on the engine's clock. True: all has ended; close() will not wait for it.
  [[nodiscard]] bool drain(Nanos until) noexcept;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace anya
