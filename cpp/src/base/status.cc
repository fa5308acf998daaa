// SPDX-License-Identifier: Apache-2.0
#include "anya/status.h"

#include <bit>
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
  if (nanos == 0) return "0 s";
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

// The tensor at fault: an output of a run that gave a wrong answer, an input of any other request.
const TensorSpec* tensor_of(const Status& status, const ModelSchema* schema) {
  if (schema == nullptr || status.tensor < 0) return nullptr;
  const auto& all = status.code == ErrorCode::kModelOutputInvalid ? schema->outputs : schema->inputs;
  const auto index = static_cast<std::size_t>(status.tensor);
  return index < all.size() ? &all[index] : nullptr;
}

// "input 'x'", or "an input" when nobody knows the names.
std::string fault(const Status& status, const ModelSchema* schema) {
  const bool output = status.code == ErrorCode::kModelOutputInvalid;
  const TensorSpec* const spec = tensor_of(status, schema);
  if (spec == nullptr) return output ? "an output" : "an input";
  return (output ? "output '" : "input '") + spec->name + "'";
}

std::string expected_shape(const Status& status, const ModelSchema* schema) {
  const TensorSpec* const spec = tensor_of(status, schema);
  return spec == nullptr ? "" : " (its shape is " + spec->shape.to_string() + ")";
}

// "input 'x': element 7"
std::string element(const Status& status, const ModelSchema* schema) {
  return fault(status, schema) + ": element " + std::to_string(status.index);
}

// A value or a limit in the words of the tensor's element type.
std::string number(const Status& status, std::int64_t fact, const ModelSchema* schema) {
  const TensorSpec* const spec = tensor_of(status, schema);
  switch (spec == nullptr ? DType::kUndefined : spec->dtype) {
    case DType::kFloat16:
    case DType::kBFloat16:
    case DType::kFloat32:
    case DType::kFloat64: {
      char text[40];
      std::snprintf(text, sizeof text, spec->dtype == DType::kFloat64 ? "%.17g" : "%.9g", std::bit_cast<double>(fact));
      return text;
    }
    case DType::kUInt64:
      return std::to_string(static_cast<std::uint64_t>(fact));
    default:
      return std::to_string(fact);
  }
}

std::string hexadecimal(std::int64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "U+%04llX", static_cast<unsigned long long>(value));
  return text;
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
    case Reason::kBreakerOpen:
      return "the circuit breaker is open, since too many of the last calls failed or were slow; it lets requests "
             "through again in " +
             duration(status.value);
    case Reason::kDeviceFailed:
      return "the device has failed and the session on it is lost" + (status.text ? ": " + *status.text : "") +
             "; it is opened again in the background, on the CPU if the providers end with it";
    case Reason::kInjected:
      return "a fault that was injected by anya_engine.testing";
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
    case Reason::kTensorTooLarge:
      return fault(status, schema) + " holds " + std::to_string(status.value) + " bytes, its max_bytes is " +
             std::to_string(status.limit);
    case Reason::kTooManyRows:
      return fault(status, schema) + " has " + std::to_string(status.value) + " rows, max_rows is " +
             std::to_string(status.limit) + "; send fewer rows at once";
    case Reason::kDimensionTooSmall:
      return fault(status, schema) + " has size " + std::to_string(status.value) + " on axis " +
             std::to_string(status.axis) + symbol_name(status, schema) + ", the least is " +
             std::to_string(status.limit);
    case Reason::kDimensionTooLarge:
      return fault(status, schema) + " has size " + std::to_string(status.value) + " on axis " +
             std::to_string(status.axis) + symbol_name(status, schema) + ", the greatest is " +
             std::to_string(status.limit);
    case Reason::kNotFinite:
      return element(status, schema) + " is " + number(status, status.value, schema) + ", which is not finite";
    case Reason::kBelowMinimum:
      return element(status, schema) + " is " + number(status, status.value, schema) + ", the least is " +
             number(status, status.limit, schema);
    case Reason::kAboveMaximum:
      return element(status, schema) + " is " + number(status, status.value, schema) + ", the greatest is " +
             number(status, status.limit, schema);
    case Reason::kNotAllowed:
      return element(status, schema) + " is " + number(status, status.value, schema) + ", none of the " +
             std::to_string(status.limit) + " values that are allowed";
    case Reason::kTextTooLong:
      return element(status, schema) + " has " + std::to_string(status.value) + " characters, max_length is " +
             std::to_string(status.limit);
    case Reason::kTextNotUtf8:
      return element(status, schema) + " is no UTF-8 from byte " + std::to_string(status.value) + " on";
    case Reason::kTextControl:
      return element(status, schema) + " has the control character " + hexadecimal(status.value) + " in it";
    case Reason::kTextNotNormal:
      return element(status, schema) + " is not in Unicode's normal form C; pass unicodedata.normalize('NFC', text)";
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
    case ErrorCode::kModelOutputInvalid:
      return "MODEL_OUTPUT_INVALID";
  }
  return "UNKNOWN";
}

Status Status::with_text(ErrorCode code, std::string text) {
  return Status{code, Reason::kText, 0, 0, -1, -1, -1, std::make_shared<const std::string>(std::move(text)), -1};
}

std::string describe(const Status& status, std::string_view model, const ModelSchema* schema) {
  std::string text = sentence(status, schema);
  if (model.empty()) return text;
  return "model '" + std::string(model) + "': " + text;
}

}  // namespace anya
