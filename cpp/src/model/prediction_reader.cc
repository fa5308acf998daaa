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

using Buffer = std::array<float, kMostClasses>;

// One vector as floats; those that are floats already are not copied.
const float* as_floats(const OutputBuffer& output, std::size_t first, std::size_t count, Buffer& buffer) noexcept {
  if (output.dtype == DType::kFloat32) return static_cast<const float*>(output.data) + first;
  for (std::size_t i = 0; i < count; ++i) {
    if (output.dtype == DType::kFloat64) {
      buffer[i] = static_cast<float>(static_cast<const double*>(output.data)[first + i]);
    } else {
      const std::uint16_t bits = static_cast<const std::uint16_t*>(output.data)[first + i];
      buffer[i] = output.dtype == DType::kFloat16 ? from_float16(bits) : from_bfloat16(bits);
    }
  }
  return buffer.data();
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

// Rows on their way to the counters: many at once cost less than one by one.
class PredictionReader::Rows {
 public:
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): all_ is read as far as it is written
  Rows(ModelCounters& counters, bool logits) : counters_(counters), logits_(logits) {}
  // What `row` points to is read by the next flush().
  void add(const float* row, std::size_t classes) noexcept {
    if (count_ == all_.size() || classes != classes_) flush();
    classes_ = classes;
    all_[count_++] = row;
  }
  void flush() noexcept {
    if (count_ == 0) return;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): written as far as it is read
    std::array<Prediction, kMost> found;
    predict({all_.data(), count_}, classes_, logits_, found);
    counters_.predicted({found.data(), count_});
    count_ = 0;
  }

 private:
  static constexpr std::size_t kMost = 64;
  ModelCounters& counters_;
  const bool logits_;
  std::size_t classes_ = 0;
  std::size_t count_ = 0;
  std::array<const float*, kMost> all_;
};

void PredictionReader::answered(std::span<Request* const> requests, ModelCounters& counters) const noexcept {
  Rows rows(counters, logits_);
  for (const Request* request : requests) {
    if (!request->is_claimed()) read(*request, rows);
  }
  rows.flush();
}

void PredictionReader::read(const Request& request, Rows& rows) const noexcept {
  const auto at = std::ranges::find(request.output_indices, output_);
  if (at == request.output_indices.end()) return;  // the caller did not ask for it
  const OutputBuffer& output = request.outputs[static_cast<std::size_t>(at - request.output_indices.begin())];
  const std::size_t rank = output.shape.rank();
  if (output.data == nullptr || rank == 0) return;
  const bool one_number = rank == 1 && request.rows > 0;
  const auto classes = static_cast<std::size_t>(one_number ? 1 : output.shape[rank - 1]);
  if (classes == 0 || classes > kMostClasses) return;
  const std::size_t values = output.bytes / element_size(output.dtype);
  const bool is_copied = output.dtype != DType::kFloat32;
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-member-init): written as far as it is read
  Buffer buffer;
  for (std::size_t first = 0; first + classes <= values; first += classes) {
    rows.add(as_floats(output, first, classes, buffer), classes);
    if (is_copied) rows.flush();
  }
}

}  // namespace anya
