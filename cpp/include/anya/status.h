// SPDX-License-Identifier: Apache-2.0
//
// How things fail. Two zones, two types:
//   cold path (construction, load, configuration): throw Error, a code and a sentence;
//   hot path (everything reachable from a request): return Status, a code and its facts as plain numbers, no
//   allocation.
//     The sentence is made only when somebody asks for it (describe).
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace anya {

// One value per class of the Python exception tree (src/anya_engine/errors.py); `code_name` gives the stable string.
enum class ErrorCode : std::uint8_t {
  kOk = 0,
  // configuration and lifecycle
  kConfigError,
  kApplyError,
  kModelNotFound,
  kModelLoadError,
  kModelInvalid,
  // trust: everything wrong before a model's bytes are verified
  kTrustError,
  kUnsafeFile,
  kSignatureMissing,
  kSignatureMalformed,
  kSignatureInvalid,
  kUntrustedKey,
  kHashMismatch,
  kFileMissing,
  kUnsignedFile,
  kRevoked,
  kRegistryExpired,
  kRegistryRollback,
  // requests
  kInvalidInput,
  kInputTooLarge,
  kOverloaded,
  kDeadlineExceeded,
  kCancelled,
  kUnavailable,
  kExecutionError,
  kOutOfMemory,
  kModelOutputInvalid,
};
inline constexpr int kErrorCodeCount = static_cast<int>(ErrorCode::kModelOutputInvalid) + 1;

// "INVALID_INPUT" and so on: stable, part of the public contract.
std::string_view code_name(ErrorCode code) noexcept;

// Which sentence a refusal on the hot path stands for; `value`, `limit` and `index` of Status mean what the comment
// says.
enum class Reason : std::uint8_t {
  kNone,
  kText,            // the sentence is in `text`
  kQueueFull,       // value: requests waiting; limit: max_queue_size
  kClosed,          // the model or the engine is closed
  kForked,          // used in a child of the process that made the engine
  kExpiredAtDoor,   // value: nanoseconds of the timeout
  kExpiredInQueue,  // value: nanoseconds of the timeout
  kExpired,         // value: nanoseconds of the timeout; queued or running
  kCancelled,
  kBreakerOpen,         // value: nanoseconds until it lets somebody through
  kDeviceFailed,        // the device is lost to this process; `text`: what was said of it, for the run that met it
  kInjected,            // a fault that a test asked for
  kQueueTimeout,        // value: nanoseconds waited; limit: nanoseconds that the level's policy allows
  kCannotSuffice,       // value: nanoseconds predicted until the answer; limit: nanoseconds left
  kLevelFull,           // value: requests of the level waiting; limit: its max_queue_size
  kQueueDelay,          // value: requests waiting ahead; limit: nanoseconds of the target; `predicted`
  kTimeoutTooLong,      // value: nanoseconds asked; limit: nanoseconds of max_timeout
  kPriorityOutOfRange,  // value: the priority given; limit: priority_levels
  kRequestTooLarge,     // value: bytes asked; limit: max_request_bytes
  // Inputs against the schema; `tensor` is the input's index.
  kWrongDType,      // value: the DType given; limit: the DType wanted
  kWrongRank,       // value: rank given; limit: rank wanted
  kWrongDimension,  // axis; value: size given; limit: size wanted
  kEmptyDimension,  // axis: a dimension of 0
  kRowsDisagree,    // value: rows of this input; limit: rows of the first
  kSymbolDisagree,  // axis; value: size given; limit: size of the same named dimension elsewhere in the request
  // Against the model's rules (anya/rules.h); `tensor` is the input's index, or the output's under kModelOutputInvalid.
  kTensorTooLarge,     // value: bytes of the input; limit: its max_bytes
  kTooManyRows,        // axis; value: rows; limit: max_rows
  kDimensionTooSmall,  // axis; value: size given; limit: least size of the named dimension
  kDimensionTooLarge,  // axis; value: size given; limit: greatest size of the named dimension
  // Values: `index` is the first one at fault, counted in C order; value and limit are of the tensor's element type,
  // floating ones as the bits of a double, unsigned ones as their bits.
  kNotFinite,
  kBelowMinimum,
  kAboveMaximum,
  kNotAllowed,  // limit: how many values are allowed, a plain number
  // Strings: `index` is the string at fault.
  kTextTooLong,    // value: characters; limit: max_length
  kTextNotUtf8,    // value: the byte of the string where it goes wrong
  kTextControl,    // value: the code point of the control character
  kTextNotNormal,  // not in Unicode's normal form C
};

// The outcome of one request. Copyable; allocates only for kText.
struct Status {
  ErrorCode code = ErrorCode::kOk;
  Reason reason = Reason::kNone;
  std::int64_t value = 0;
  std::int64_t limit = 0;
  std::int16_t tensor = -1;  // index into the schema's inputs; -1: none
  std::int16_t axis = -1;
  std::int64_t index = -1;  // of an element; -1: none
  std::shared_ptr<const std::string> text;
  std::int64_t predicted = -1;  // kOverloaded: nanoseconds that the request would have waited; -1: nobody knows

  [[nodiscard]] bool ok() const noexcept { return code == ErrorCode::kOk; }

  static Status failure(ErrorCode code, Reason reason, std::int64_t value = 0, std::int64_t limit = 0) noexcept {
    return Status{code, reason, value, limit, -1, -1, -1, nullptr, -1};
  }
  static Status with_text(ErrorCode code, std::string text);
};

struct ModelSchema;

// The sentence for a status: what, the limit, the value, the way out. `model` is "name:version"; `schema` names the
// tensors and may be null.
std::string describe(const Status& status, std::string_view model, const ModelSchema* schema = nullptr);

// Thrown on the cold path only; never crosses a thread.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string field = {})
      : std::runtime_error(message), code_(code), field_(std::move(field)) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  // The path of the configuration's field at fault, or "".
  [[nodiscard]] const std::string& field() const noexcept { return field_; }

 private:
  ErrorCode code_;
  std::string field_;
};

}  // namespace anya
