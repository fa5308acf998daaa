// SPDX-License-Identifier: Apache-2.0
#include "stats/row_kinds.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>

#include "anya/drift.h"
#include "base/hash.h"
#include "stats/elements.h"

namespace anya {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// A dense row is looked at in so many blocks of neighbours, spread evenly over each channel.
constexpr std::size_t kBlock = 16;
constexpr std::size_t kBlocks = 72;
constexpr std::size_t kLanes = 4;

// Sums of finite values in lanes of their own, so that neighbours do not wait for each other.
struct Lanes {
  double sum[kLanes] = {}, squares[kLanes] = {}, zeros[kLanes] = {}, finite[kLanes] = {};
  double min[kLanes] = {kInfinity, kInfinity, kInfinity, kInfinity};
  double max[kLanes] = {-kInfinity, -kInfinity, -kInfinity, -kInfinity};

  void add(const double* values) noexcept {  // kBlock of them
    for (std::size_t i = 0; i < kBlock; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const double x = values[i + lane];
        const bool is_finite = std::fabs(x) <= std::numeric_limits<double>::max();
        const double y = is_finite ? x : 0.0;
        sum[lane] += y;
        squares[lane] += y * y;
        finite[lane] += is_finite ? 1.0 : 0.0;
        zeros[lane] += x == 0.0 ? 1.0 : 0.0;
        const double low = is_finite ? x : min[lane];
        const double high = is_finite ? x : max[lane];
        min[lane] = low < min[lane] ? low : min[lane];
        max[lane] = high > max[lane] ? high : max[lane];
      }
    }
  }
  void add(const Lanes& other) noexcept {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sum[lane] += other.sum[lane];
      squares[lane] += other.squares[lane];
      zeros[lane] += other.zeros[lane];
      finite[lane] += other.finite[lane];
      min[lane] = std::min(min[lane], other.min[lane]);
      max[lane] = std::max(max[lane], other.max[lane]);
    }
  }
};

double total(const double* lanes) noexcept { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

// Looks at `blocks` blocks of `count` elements that are `stride` apart, or at all of them; returns how many that were.
std::size_t read_blocks(DType dtype, const void* row, std::size_t first, std::size_t stride, std::size_t count,
                        std::size_t blocks, Lanes& lanes) noexcept {
  double values[kBlock];
  const std::size_t whole = count / kBlock;
  const std::size_t used = std::min(whole, blocks);
  for (std::size_t block = 0; block < used; ++block) {
    const std::size_t at = used == whole ? block : block * (whole - 1) / (used - 1);
    widen(dtype, row, first + at * kBlock * stride, stride, kBlock, values);
    lanes.add(values);
  }
  const std::size_t rest = used == whole ? count % kBlock : 0;
  if (rest != 0) {
    std::fill(values, values + kBlock, kNaN);  // in no sum
    widen(dtype, row, first + whole * kBlock * stride, stride, rest, values);
    lanes.add(values);
  }
  return used * kBlock + rest;
}

// ln x of a positive normal number, to 1e-9: the series of atanh about the nearest power of 2.
float fast_log(float x) noexcept {
  const auto bits = std::bit_cast<std::int32_t>(x) - 0x3F3504F3;  // of sqrt(1/2): the mantissa lies about 1
  const auto exponent = static_cast<float>(bits >> 23);
  const auto mantissa = std::bit_cast<float>((bits & 0x7FFFFF) + 0x3F3504F3);
  const float s = (mantissa - 1.0F) / (mantissa + 1.0F);
  const float t = s * s;
  return exponent * std::numbers::ln2_v<float> +
         2.0F * s * (1.0F + t * (1.0F / 3 + t * (1.0F / 5 + t * (1.0F / 7 + t * (1.0F / 9)))));
}

template <typename Id>
void tokens_of(const Id* ids, std::size_t count, double* out) noexcept {
  std::uint64_t length = 0;
  std::uint64_t mix = 0;
  for (std::size_t i = 0; i < count; ++i) {
    length += ids[i] != 0 ? 1U : 0U;
    mix += static_cast<std::uint64_t>(ids[i]) * (2 * i + 1);
  }
  out[0] = static_cast<double>(length);
  out[1] = -1;
  if (length == 0) return;
  // One of them for each row: those of one row are not independent, and n counts independent values.
  std::uint64_t left = hash_combine(1, mix) % length;
  for (std::size_t i = 0; i < count; ++i) {
    if (ids[i] == 0) continue;
    if (left-- > 0) continue;
    out[1] = static_cast<double>(hash_combine(2, static_cast<std::uint64_t>(ids[i])) % kTokenBuckets);
    return;
  }
}

}  // namespace

void dense_numbers(DType dtype, const void* row, std::size_t elements, std::size_t channels, bool last,
                   double* out) noexcept {
  const std::size_t in_channel = elements / channels;
  Lanes all;
  std::size_t read = 0;
  for (std::size_t channel = 0; channel < channels; ++channel) {
    Lanes mine;
    const std::size_t first = last ? channel : channel * in_channel;
    read += read_blocks(dtype, row, first, last ? channels : 1, in_channel, kBlocks / channels, mine);
    if (channels > 1) out[7 + channel] = total(mine.sum) / total(mine.finite);
    all.add(mine);
  }
  const double n = total(all.finite);
  const double squares = total(all.squares) / n;
  const double mean = total(all.sum) / n;  // NaN of nothing, like all that is made of it
  out[0] = mean;
  out[1] = std::sqrt(std::max(0.0, squares - mean * mean));
  out[2] = n == 0 ? kNaN : *std::min_element(all.min, all.min + kLanes);
  out[3] = n == 0 ? kNaN : *std::max_element(all.max, all.max + kLanes);
  out[4] = total(all.zeros) / static_cast<double>(read);
  out[5] = std::sqrt(squares * static_cast<double>(elements));
  out[6] = 1 - n / static_cast<double>(read);
}

void class_numbers(DType dtype, const void* row, std::size_t elements, double* out) noexcept {
  double values[kBlock];
  float shares[kBlock];
  float entropy[kBlock] = {};
  double first = -1;
  double second = -1;
  std::size_t best = 0;
  bool odd = false;
  for (std::size_t at = 0; at < elements; at += kBlock) {
    const std::size_t count = std::min(kBlock, elements - at);
    if (count < kBlock) std::fill(values, values + kBlock, 0.0);
    widen(dtype, row, at, 1, count, values);
    for (std::size_t i = 0; i < kBlock; ++i) shares[i] = static_cast<float>(values[i]);
    for (std::size_t i = 0; i < kBlock; ++i) {
      const float term = shares[i] * fast_log(shares[i]);
      entropy[i] -= shares[i] >= std::numeric_limits<float>::min() ? term : 0.0F;
    }
    double greatest = values[0];
    for (const double value : values) {
      greatest = value > greatest ? value : greatest;
      odd |= !(std::fabs(value) <= std::numeric_limits<double>::max());
    }
    if (greatest <= second) continue;  // as a rule
    for (std::size_t i = 0; i < count; ++i) {
      const double p = values[i];
      if (p > first) {
        second = first;
        first = p;
        best = at + i;
      } else if (p > second) {
        second = p;
      }
    }
  }
  double sum = 0;
  for (const float part : entropy) sum += static_cast<double>(part);
  out[0] = odd ? kNaN : first;
  out[1] = odd ? kNaN : first - std::max(0.0, second);
  out[2] = odd ? kNaN : sum;
  out[3] = odd ? kNaN : static_cast<double>(best);
}

void token_numbers(DType dtype, const void* row, std::size_t elements, double* out) noexcept {
  if (dtype == DType::kInt64) return tokens_of(static_cast<const std::int64_t*>(row), elements, out);
  tokens_of(static_cast<const std::int32_t*>(row), elements, out);
}

void text_numbers(const std::string_view* strings, std::size_t count, double* out) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t characters = 0;
    for (const char byte : strings[i]) characters += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U ? 1U : 0U;
    out[2 * i] = static_cast<double>(characters);
    out[2 * i + 1] = static_cast<double>(hash_bytes(strings[i], 0) >> 11U);  // 53 bits: exact as a double
  }
}

}  // namespace anya
