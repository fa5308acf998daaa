// SPDX-License-Identifier: Apache-2.0
#include "model/prediction_reader.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "base/half.h"
#include "stats/prediction.h"

namespace anya {
namespace {

bool holds_fractions(DType dtype) {
  return dtype == DType::kFloat32 || dtype == DType::kFloat64 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

// More classes than this are not counted: the buffer below lies on the stack.
constexpr std::size_t kMostClasses = 4096;

// One vector as floats; those that are floats already are not copied.
std::span<const float> as_floats(const OutputBuffer& output, std::size_t first, std::size_t count,
                                 std::array<float, kMostClasses>& buffer) noexcept {
  if (output.dtype == DType::kFloat32) return {static_cast<const float*>(output.data) + first, count};
  for (std::size_t i = 0; i < count; ++i) {
    if (output.dtype == DType::kFloat64) {
      buffer[i] = static_cast<float>(static_cast<const double*>(output.data)[first + i]);
    } else {
      const std::uint16_t bits = static_cast<const std::uint16_t*>(output.data)[first + i];
      buffer[i] = output.dtype == DType::kFloat16 ? from_float16(bits) : from_bfloat16(bits);
    }
  }
  return {buffer.data(), count};
}

}  // namespace

std::shared_ptr<const PredictionReader> PredictionReader::make(const PredictionOptions& options,
                                                               const ModelSchema& schema) {
  if (options.values.empty()) return nullptr;
  std::string names;
  for (std::uint32_t i = 0; i < schema.outputs.size(); ++i) {
    const TensorSpec& spec = schema.outputs[i];
    const bool fits = holds_fractions(spec.dtype);
    if (fits && (options.output.empty() || options.output == spec.name)) {
      return std::make_shared<PredictionReader>(i, options.values == "logits");
    }
    if (fits) names += (names.empty() ? "'" : ", '") + spec.name + "'";
  }
  const std::string wanted = options.output.empty() ? "an output of floats" : "output '" + options.output + "'";
  throw Error(ErrorCode::kConfigError,
              "predictions: the model has no " + (options.output.empty() ? wanted.substr(3) : wanted) +
                  " that holds floats; it has " + (names.empty() ? "none" : names),
              "predictions.output");
}

void PredictionReader::answered(const Request& request, ModelCounters& counters) const noexcept {
  const auto at = std::find(request.output_indices.begin(), request.output_indices.end(), output_);
  if (at == request.output_indices.end()) return;  // the caller did not ask for it
  const OutputBuffer& output = request.outputs[static_cast<std::size_t>(at - request.output_indices.begin())];
  const std::size_t rank = output.shape.rank();
  if (output.data == nullptr || rank == 0) return;
  const bool one_number = rank == 1 && request.rows > 0;
  const auto classes = static_cast<std::size_t>(one_number ? 1 : output.shape[rank - 1]);
  if (classes == 0 || classes > kMostClasses) return;
  const std::size_t values = output.bytes / element_size(output.dtype);
  std::array<float, kMostClasses> buffer;  // not initialised: written as far as it is read
  for (std::size_t first = 0; first + classes <= values; first += classes) {
    counters.predicted(predict(as_floats(output, first, classes, buffer), logits_));
  }
}

}  // namespace anya
