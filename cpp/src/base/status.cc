// SPDX-License-Identifier: Apache-2.0
#include "anya/status.h"

#include <cstdio>
#include <utility>
#include <vector>

#include "anya/tensor.h"

namespace anya {
namespace {

// 20 ms reads better than 20000000 ns; the smallest unit that keeps three digits after the point exact enough.
std::string duration(std::int64_t nanos) {
  char text[48];
  const auto value = static_cast<double>(nanos);
  if (nanos >= 1'000'000'000) {
    std::snprintf(text, sizeof text, "%.3f s", value / 1e9);
  } else if (nanos >= 1'000'000) {
    std::snprintf(text, sizeof text, "%.3f ms", value / 1e6);
  } else if (nanos >= 1'000) {
    std::snprintf(text, sizeof text, "%.3f us", value / 1e3);
  } else {
    std::snprintf(text, sizeof text, "%lld ns", static_cast<long long>(nanos));
  }
  return text;
}

// "input 'x'", or "an input" when nobody knows the names.
std::string fault(const Status& status, const ModelSchema* schema) {
  const auto index = static_cast<std::size_t>(status.tensor);
  if (schema == nullptr || status.tensor < 0 || index >= schema->inputs.size()) return "an input";
  return "input '" + schema->inputs[index].name + "'";
}

std::string expected_shape(const Status& status, const ModelSchema* schema) {
  const auto index = static_cast<std::size_t>(status.tensor);
  if (schema == nullptr || status.tensor < 0 || index >= schema->inputs.size()) return "";
  return " (its shape is " + schema->inputs[index].shape.to_string() + ")";
}

std::string symbol_name(const Status& status, const ModelSchema* schema) {
  const auto index = static_cast<std::size_t>(status.tensor);
  const auto axis = static_cast<std::size_t>(status.axis);
  if (schema == nullptr || status.tensor < 0 || status.axis < 0 || index >= schema->inputs.size()) return "";
  const std::vector<std::string>& symbols = schema->inputs[index].symbols;
  return axis < symbols.size() ? " ('" + symbols[axis] + "')" : "";
}

// ", the predicted wait is 20 ms", when there is a prediction.
std::string wait_in_words(const Status& status) {
  return status.predicted < 0 ? "" : ", the predicted wait is " + duration(status.predicted);
}

std::string sentence(const Status& status, const ModelSchema* schema) {
  switch (status.reason) {
    case Reason::kText:
      return status.text ? *status.text : std::string(code_name(status.code));
    case Reason::kQueueFull:
      return "the queue is full: " + std::to_string(status.value) + " requests wait, max_queue_size is " +
             std::to_string(status.limit) + wait_in_words(status) +
             "; send fewer at once, add instances, or raise max_queue_size";
    case Reason::kLevelFull:
      return "the queue of this priority is full: " + std::to_string(status.value) +
             " requests wait, max_queue_size of its queue policy is " + std::to_string(status.limit) +
             wait_in_words(status) + "; send fewer at once, or raise it";
    case Reason::kQueueDelay:
      return "overloaded: " + std::to_string(status.value) + " requests wait ahead of this one" +
             wait_in_words(status) + ", queue_delay_target is " + duration(status.limit) +
             "; send fewer at once, or add instances";
    case Reason::kClosed:
      return "closed: the model was unloaded or the engine closed; no new requests are taken";
    case Reason::kForked:
      return "this process is a fork of the one that made the engine, and threads do not survive a fork; "
             "make a new Engine in the child";
    case Reason::kExpiredAtDoor:
      return "the timeout of " + duration(status.value) +
             " had run out before the request was queued; "
             "pass a timeout above zero";
    case Reason::kExpiredInQueue:
      return "the timeout of " + duration(status.value) +
             " ran out in the queue, the request was not run; "
             "raise the timeout, lower the load, or add instances";
    case Reason::kExpired:
      return "the timeout of " + duration(status.value) +
             " ran out before the answer was there; "
             "raise the timeout, lower the load, or make the model faster";
    case Reason::kQueueTimeout:
      return "waited " + duration(status.value) + " in the queue, where its queue policy allows " +
             duration(status.limit) + " (default_timeout_microseconds); lower the load, or add instances";
    case Reason::kCannotSuffice:
      return "the time left is " + duration(status.limit) + ", the answer is predicted to take " +
             duration(status.value) +
             ", so the request was not run; raise the timeout, lower the load, or add instances";
    case Reason::kTimeoutTooLong:
      return "timeout is " + duration(status.value) + ", max_timeout is " + duration(status.limit);
    case Reason::kPriorityOutOfRange:
      return "priority is " + std::to_string(status.value) +
             "; the model has priority_levels=" + std::to_string(status.limit) + ", it takes 1 (highest) to that";
    case Reason::kCancelled:
      return "cancelled by the caller";
    case Reason::kRequestTooLarge:
      return "the request's inputs hold " + std::to_string(status.value) + " bytes, max_request_bytes is " +
             std::to_string(status.limit) + "; send fewer rows at once, or raise max_request_bytes";
    case Reason::kWrongDType:
      return fault(status, schema) + " is " + std::string(dtype_name(static_cast<DType>(status.value))) +
             ", the model takes " + std::string(dtype_name(static_cast<DType>(status.limit))) +
             "; convert it first (nothing is converted silently)";
    case Reason::kWrongRank:
      return fault(status, schema) + " has " + std::to_string(status.value) + " dimensions, the model takes " +
             std::to_string(status.limit) + expected_shape(status, schema) +
             (status.value + 1 == status.limit ? "; the first axis is the batch axis: add it, x[None]" : "");
    case Reason::kWrongDimension:
      return fault(status, schema) + " has size " + std::to_string(status.value) + " on axis " +
             std::to_string(status.axis) + ", the model takes " + std::to_string(status.limit) +
             expected_shape(status, schema);
    case Reason::kEmptyDimension:
      return fault(status, schema) + " has size " + std::to_string(status.value) + " on axis " +
             std::to_string(status.axis) + "; send at least one row, and no empty dimension";
    case Reason::kRowsDisagree:
      return fault(status, schema) + " has " + std::to_string(status.value) + " rows, the first input has " +
             std::to_string(status.limit) + "; the first axis of every input is the same batch";
    case Reason::kSymbolDisagree:
      return fault(status, schema) + " has size " + std::to_string(status.value) + " on axis " +
             std::to_string(status.axis) + symbol_name(status, schema) + ", which is " + std::to_string(status.limit) +
             " elsewhere in the request";
    case Reason::kNone:
      break;
  }
  return status.ok() ? "ok" : "failed (" + std::string(code_name(status.code)) + ")";
}

}  // namespace

std::string_view code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kOk:
      return "OK";
    case ErrorCode::kConfigError:
      return "CONFIG_ERROR";
    case ErrorCode::kApplyError:
      return "APPLY_ERROR";
    case ErrorCode::kModelNotFound:
      return "MODEL_NOT_FOUND";
    case ErrorCode::kModelLoadError:
      return "MODEL_LOAD_ERROR";
    case ErrorCode::kModelInvalid:
      return "MODEL_INVALID";
    case ErrorCode::kTrustError:
      return "TRUST_ERROR";
    case ErrorCode::kUnsafeFile:
      return "UNSAFE_FILE";
    case ErrorCode::kSignatureMissing:
      return "SIGNATURE_MISSING";
    case ErrorCode::kSignatureMalformed:
      return "SIGNATURE_MALFORMED";
    case ErrorCode::kSignatureInvalid:
      return "SIGNATURE_INVALID";
    case ErrorCode::kUntrustedKey:
      return "UNTRUSTED_KEY";
    case ErrorCode::kHashMismatch:
      return "HASH_MISMATCH";
    case ErrorCode::kFileMissing:
      return "FILE_MISSING";
    case ErrorCode::kUnsignedFile:
      return "UNSIGNED_FILE";
    case ErrorCode::kRevoked:
      return "REVOKED";
    case ErrorCode::kRegistryExpired:
      return "REGISTRY_EXPIRED";
    case ErrorCode::kRegistryRollback:
      return "REGISTRY_ROLLBACK";
    case ErrorCode::kInvalidInput:
      return "INVALID_INPUT";
    case ErrorCode::kInputTooLarge:
      return "INPUT_TOO_LARGE";
    case ErrorCode::kOverloaded:
      return "OVERLOADED";
    case ErrorCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case ErrorCode::kCancelled:
      return "CANCELLED";
    case ErrorCode::kUnavailable:
      return "UNAVAILABLE";
    case ErrorCode::kExecutionError:
      return "EXECUTION_ERROR";
    case ErrorCode::kOutOfMemory:
      return "OUT_OF_MEMORY";
  }
  return "UNKNOWN";
}

Status Status::with_text(ErrorCode code, std::string text) {
  return Status{code, Reason::kText, 0, 0, -1, -1, std::make_shared<const std::string>(std::move(text)), -1};
}

std::string describe(const Status& status, std::string_view model, const ModelSchema* schema) {
  std::string text = sentence(status, schema);
  if (model.empty()) return text;
  return "model '" + std::string(model) + "': " + text;
}

}  // namespace anya
