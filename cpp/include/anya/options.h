// SPDX-License-Identifier: Apache-2.0
//
// Every knob of the core and its default, in one place. src/anya_engine/config.py repeats names and defaults; a test
// compares the two. Durations are nanoseconds unless the field's name says otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anya/rules.h"

namespace anya {

class Trust;
struct TrustVerdict;

// How the requests of a priority level wait. Names are Triton's.
struct QueuePolicyOptions {
  // What happens to a request whose time in the queue is over. "REJECT": it ends with kDeadlineExceeded. Triton's DELAY
  // does not exist here.
  std::string timeout_action = "REJECT";
  // How long a request may wait for its run; 0: as long as its own timeout lets it.
  std::int64_t default_timeout_microseconds = 0;
  // Whether a request's own timeout, when it ends sooner than that, moves it forward in its level. It ends the request
  // in any case.
  bool allow_timeout_override = false;
  // Requests of the level waiting at most; 0: the bound of the whole queue alone.
  std::int64_t max_queue_size = 0;
};

// How requests share a run. Names are Triton's; where the meaning differs, the comment says so.
struct BatchingOptions {
  // Rows in one run at most; 1 turns batching off. A request with more rows runs alone, in one run.
  std::int64_t max_batch_size = 64;
  // How long an instance that has just been freed may wait for more company, and only while another request arrived
  // within the last such delay. A request that finds an instance idle never waits (in Triton it would).
  std::int64_t max_queue_delay_microseconds = 0;
  // Requests waiting at most; one more is refused with kOverloaded (Triton's 0 = unbounded does not exist here).
  std::int64_t max_queue_size = 1024;
  // A batch that an event loop submits runs on the loop's own thread when it is predicted to take less than this: a hop
  // to a worker and back costs about as much; 2 more for each request in it, half of what the loop spends on it anyway.
  // A request by itself: four times this, since a loop asked so seldom is slow to hop, too.
  // 0: never.
  std::int64_t max_in_place_microseconds = 50;
  // Requests may name a priority from 1 (highest) to this; 0: from 1 to 255.
  std::int64_t priority_levels = 0;
  // The level of a request that names none; 0: the middle one, which is 128 of 255.
  std::int64_t default_priority_level = 0;
  // How requests wait, and how those of some levels do.
  QueuePolicyOptions default_queue_policy;
  std::vector<std::pair<int, QueuePolicyOptions>> priority_queue_policy;
  // When no request has waited less than this for an interval, the queue holds more than it can serve in time: what
  // would have to wait longer is refused until the waits are half of it. 0: half of the model's default_timeout;
  // without one, never.
  std::int64_t queue_delay_target_microseconds = 0;
  std::int64_t queue_delay_interval_microseconds = 100000;
  // True: batch even if the load-time check says that rows depend on their company. Answers may then differ.
  bool force = false;
};

// When a version is asked no more for a while; durations in seconds. A call is a request that was run.
struct BreakerOptions {
  // The last so many calls are looked at; before there are minimum_calls of them, nothing is decided.
  std::int64_t window = 100;
  std::int64_t minimum_calls = 20;
  // Shares of failed and of slow calls from which on it opens; a call is slow when its run takes longer than
  // slow_call_duration. 0: none is.
  double failure_rate = 0.5;
  double slow_call_duration = 0;
  double slow_call_rate = 0.8;
  // How long it stays open; twice as long after each round of probes that fails, up to max_open_duration.
  double open_duration = 5.0;
  double max_open_duration = 60.0;
  // Requests let through when that time is over: they decide.
  std::int64_t probes = 5;
};

struct ProviderOptions {
  std::string name = "CPUExecutionProvider";
  std::vector<std::pair<std::string, std::string>> options;  // ONNX Runtime's own keys
};

// A library of operators as ONNX Runtime opens it; `name` for messages.
struct OperatorLibraryPath {
  std::string name;
  std::string path;
};

struct SessionOptions {
  std::vector<ProviderOptions> providers = {{}};
  int intra_op_num_threads = 1;
  int inter_op_num_threads = 1;
  // "disable", "basic", "extended", "all"
  std::string graph_optimization_level = "all";
  // Threads of ONNX Runtime's own pool spin while they wait. Off: an embedded library must not burn its host's cores.
  bool allow_spinning = false;
  bool enable_mem_pattern = true;
  bool enable_cpu_mem_arena = true;
  std::vector<std::pair<std::string, std::string>> config_entries;  // ONNX Runtime's session.* keys, passed as they are
  std::vector<OperatorLibraryPath> operator_libraries;              // verified ones: a load fills it, whatever is here
};

// What a model may consist of, held against its bytes before ONNX Runtime sees them.
struct ContentLimits {
  std::int64_t max_model_bytes = (std::int64_t{1} << 31) - 1;  // the .onnx file; protobuf's own limit
  std::int64_t max_tensor_bytes = std::int64_t{64} << 30;      // all tensors together, external ones included
  std::int64_t max_nodes = 1'000'000;
  std::int64_t max_graph_depth = 32;  // graphs inside graphs: bodies of If, Loop, Scan
  // Operators may be of these domains, or functions of the model itself. Those that load code or files are never run.
  std::vector<std::string> domains = {"ai.onnx", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training",
                                      "com.microsoft"};
  // Nothing but these operators, "Relu" or "com.microsoft.Gelu"; none: all of the domains.
  std::vector<std::string> operators;
  // Libraries that bring operators: absolute path, and SHA-256 in lower-case hex.
  std::vector<std::pair<std::string, std::string>> custom_op_libraries;
};

// The response cache of one loaded version.
struct CacheOptions {
  // Of keys, answers and all that is kept to find them; 0: no cache.
  std::int64_t capacity_bytes = 0;
  // Seconds until an answer is stale; 0: never.
  double ttl = 0;
  // Each answer's own time to live differs from `ttl` by up to this share of it, so that what came together does not
  // go together.
  double ttl_jitter = 0.1;
  // Who goes when it is full: "s3fifo" keeps what was asked again, "lru" what was asked last.
  std::string policy = "s3fifo";
  // Seconds beyond `ttl` in which a stale answer is given when the request itself fails, and in which it is given at
  // once while a run of lowest priority makes a new one.
  double stale_if_error = 0;
  double stale_while_revalidate = 0;
  // Seconds beyond `ttl` for which stale answers are kept for Model::last_good.
  double last_good = 0;
  // Equal requests in flight share one run. When that run fails: "fail" ends all of them with its error, "rerun" lets
  // the next one run.
  bool single_flight = true;
  std::string on_leader_error = "fail";
  // Who shares answers: "tenant", those of one tenant; "shared", everybody.
  std::string scope = "tenant";
  // Cache a model that gives random answers all the same.
  bool force = false;
};

// How sure a classifier is: which output says so, and how.
struct PredictionOptions {
  // What the output holds: "probabilities" or "logits"; "": nobody looks.
  std::string values;
  // Its name; "": the first one that holds floats.
  std::string output;
  // What the classes are called; of those without a name, the number is. Beyond the fiftieth they are "other".
  std::vector<std::string> classes;
};

// Where a version counts; what is there when it is loaded is counted on. Two parts of half the size: the version's own,
// and that of a control slice. Empty: memory of its own.
struct CounterMemory {
  std::span<std::byte> bytes;  // aligned to 64; `size` of them
  std::shared_ptr<void> owner;
  [[nodiscard]] static std::size_t size() noexcept;
};

struct ModelOptions {
  SessionOptions session;
  ContentLimits content;
  // What must hold of its origin before it is parsed; null: nothing.
  std::shared_ptr<const Trust> trust;
  // Told once per load what was decided of its origin and content, good or bad. Must not throw.
  std::function<void(const TrustVerdict&)> on_verdict;
  BatchingOptions batching;
  CacheOptions cache;
  PredictionOptions predictions;
  CounterMemory counters;
  // Runs at once; 0: usable cores / intra_op_num_threads. All share one session, so weights are held once.
  int instances = 0;
  // A request above it is refused from its descriptor, before its data is touched.
  std::int64_t max_request_bytes = std::int64_t{256} << 20;
  // Seconds. The timeout of a request that names none, and the longest that one may name (and has, if it names none and
  // there is no default); 0: none.
  double default_timeout = 0;
  double max_timeout = 0;
  // The batched-equals-alone check at load: |together - alone| <= atol + rtol * |alone|.
  double batch_check_rtol = 1e-3;
  double batch_check_atol = 1e-5;
  // None: its requests are never refused for what became of others.
  std::optional<BreakerOptions> breaker;
  // What requests and answers may hold, when the model has no schema.toml.
  ModelRules rules;
  // The rules in force when it has one: called once, with that file's verified bytes, before the session is opened.
  // What it throws ends the load. Without it such a model is refused: rules are not ignored silently.
  std::function<ModelRules(std::string_view schema_toml)> read_schema;
};

}  // namespace anya
