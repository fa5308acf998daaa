// SPDX-License-Identifier: Apache-2.0
#include "rules/value_rule.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "rules/elements.h"
#include "rules/odd_block.h"

namespace anya::rules {
namespace {

[[noreturn]] void refuse(const char* field, const std::string& what) {
  throw Error(ErrorCode::kConfigError, std::string(field) + ": " + what, field);
}

// The shortest text that means this very number.
std::string text_of(const Number& number) {
  char text[40];
  const auto end = std::visit([&](auto value) { return std::to_chars(text, text + sizeof text, value).ptr; }, number);
  return {text, end};
}

// What both kinds of rule say of values.
struct Terms {
  std::string finite = "reject";
  std::string on_range = "reject";
  Number replace_with = 0.0;
  std::optional<Number> min, max;
  std::vector<Number> allowed;
  ErrorCode code = ErrorCode::kInvalidInput;
};

enum class Finite : std::uint8_t { kReject, kClip, kReplace, kAllow };

template <typename E>
class TypedRule final : public ValueRule {
  using T = E::Stored;
  using Order = E::Order;
  static constexpr std::size_t kBlock = kBlockBytes / sizeof(T);

 public:
  TypedRule(const Terms& terms, const TensorSpec& spec)
      : code_(terms.code), clip_range_(terms.on_range == "clip"), any_outside_(any_outside_here<E>()) {
    if (terms.finite == "clip") {
      finite_ = Finite::kClip;
    } else if (terms.finite == "replace") {
      finite_ = Finite::kReplace;
    } else if (terms.finite == "allow") {
      finite_ = Finite::kAllow;
    } else if (terms.finite != "reject") {
      refuse("finite", "must be reject, clip, replace or allow");
    }
    if (!clip_range_ && terms.on_range != "reject") refuse("on_range", "must be reject or clip");
    has_min_ = terms.min.has_value();
    has_max_ = terms.max.has_value();
    min_ = has_min_ ? convert("min", *terms.min, spec) : E::lowest();
    max_ = has_max_ ? convert("max", *terms.max, spec) : E::greatest();
    if (E::low_order(min_) > E::high_order(max_)) refuse("min", "is above max");
    for (const Number& each : terms.allowed) allowed_.push_back(convert("allowed", each, spec));
    std::sort(allowed_.begin(), allowed_.end(), [](T a, T b) { return E::order(a) < E::order(b); });
    if (finite_ == Finite::kReplace && E::kFloating) {
      replacement_ = convert("replace_with", terms.replace_with, spec);
      if (!in_range(replacement_) || !is_listed(replacement_)) refuse("replace_with", "breaks the rule itself");
    }
    set_limits();
  }

  Status take(const void* from, void* to, std::size_t count, Findings* findings) const noexcept override {
    const auto* in = static_cast<const T*>(from);
    auto* out = static_cast<T*>(to);
    for (std::size_t done = 0; done < count; done += kBlock) {
      const std::size_t block = std::min(kBlock, count - done);
      if (in != out) std::memcpy(out + done, in + done, block * sizeof(T));
      if (!is_odd(out + done, block)) continue;
      for (std::size_t i = done; i < done + block; ++i) {
        const Reason reason = mend(&out[i], findings);
        if (reason != Reason::kNone) return failure(reason, out[i], i);
      }
    }
    return {};
  }

  Status look(const void* from, std::size_t count, Findings* findings, bool* must_change) const noexcept override {
    const auto* in = static_cast<const T*>(from);
    *must_change = false;
    for (std::size_t done = 0; done < count; done += kBlock) {
      const std::size_t block = std::min(kBlock, count - done);
      if (!is_odd(in + done, block)) continue;
      for (std::size_t i = done; i < done + block; ++i) {
        T value = in[i];
        const std::uint64_t before = findings->changed;
        const Reason reason = mend(&value, findings);
        if (reason != Reason::kNone) return failure(reason, value, i);
        if (findings->changed != before) {
          *findings = {};  // the copy's own pass counts
          *must_change = true;
          return {};
        }
      }
    }
    return {};
  }

  // Whether any value at all could be found wrong.
  [[nodiscard]] bool is_needed() const noexcept {
    return search_ || has_min_ || has_max_ || !allowed_.empty() || (E::kFloating && finite_ != Finite::kAllow);
  }

 private:
  static T convert(const char* field, const Number& number, const TensorSpec& spec) {
    T value{};
    const bool fits = E::from(number, &value);
    const bool truth = spec.dtype != DType::kBool || E::order(value) == 0 || E::order(value) == 1;
    if (!fits || !truth) {
      refuse(field, text_of(number) + " is no " + std::string(dtype_name(spec.dtype)));
    }
    return value;
  }

  // The limits of the vector test: what is within them needs no second look.
  void set_limits() {
    const bool open = E::kFloating && finite_ == Finite::kAllow;
    const T top = open ? E::infinity() : E::greatest();
    low_ = has_min_ ? E::low_order(min_) : E::low_order(open ? negative(top) : E::lowest());
    high_ = has_max_ ? E::high_order(max_) : E::high_order(top);
    if (allowed_.empty()) return;
    low_ = std::max(low_, E::low_order(allowed_.front()));
    high_ = std::min(high_, E::high_order(allowed_.back()));
    search_ = true;
    if constexpr (!E::kFloating) {
      // Without a gap the list is a range.
      bool gap = false;
      for (std::size_t i = 1; i < allowed_.size(); ++i) {
        gap |= allowed_[i] != allowed_[i - 1] && allowed_[i - 1] + 1 != allowed_[i];
      }
      search_ = gap;
    }
  }
  static T negative(T value) noexcept {
    if constexpr (std::is_same_v<T, Order> && E::kFloating) {
      return -value;
    } else if constexpr (E::kFloating) {
      return static_cast<T>(value | 0x8000U);  // of 16 bits
    } else {
      return value;  // whole numbers have no infinity: nobody asks
    }
  }

  [[nodiscard]] bool is_odd(const T* values, std::size_t count) const noexcept {
    if (any_outside_(values, count, low_, high_)) return true;
    if (!search_) return false;
    bool listed = true;
    for (std::size_t i = 0; i < count; ++i) listed &= is_listed(values[i]);
    return !listed;
  }
  [[nodiscard]] bool in_range(T value) const noexcept {
    const Order order = E::order(value);
    return !(has_min_ && order < E::low_order(min_)) && !(has_max_ && order > E::high_order(max_));
  }
  [[nodiscard]] bool is_listed(T value) const noexcept {
    if (allowed_.empty()) return true;
    const Order low = E::low_order(value);  // both zeros are one number
    const Order high = E::high_order(value);
    const auto at = std::lower_bound(allowed_.begin(), allowed_.end(), low,
                                     [](T each, Order wanted) { return E::order(each) < wanted; });
    return at != allowed_.end() && E::order(*at) <= high;
  }
  static bool is_finite(T value) noexcept {
    if constexpr (E::kFloating) {
      const Order order = E::order(value);
      return !E::is_nan(value) && order >= E::order(E::lowest()) && order <= E::order(E::greatest());
    } else {
      return true;
    }
  }

  // kNone: the value may stay, or has been changed so that it may.
  Reason mend(T* value, Findings* findings) const noexcept {
    if (!is_finite(*value)) {
      ++findings->nonfinite;
      switch (finite_) {
        case Finite::kReject:
          return Reason::kNotFinite;
        case Finite::kClip:
          if (E::is_nan(*value)) return Reason::kNotFinite;  // it has no side to be clipped to
          *value = E::is_negative(*value) ? min_ : max_;
          ++findings->changed;
          break;
        case Finite::kReplace:
          *value = replacement_;
          ++findings->changed;
          return Reason::kNone;
        case Finite::kAllow:
          if (E::is_nan(*value)) return allowed_.empty() ? Reason::kNone : Reason::kNotAllowed;
          break;
      }
    }
    const Order order = E::order(*value);
    if (has_min_ && order < E::low_order(min_)) {
      if (!clip_range_) return Reason::kBelowMinimum;
      *value = min_;
      ++findings->changed;
    } else if (has_max_ && order > E::high_order(max_)) {
      if (!clip_range_) return Reason::kAboveMaximum;
      *value = max_;
      ++findings->changed;
    }
    return is_listed(*value) ? Reason::kNone : Reason::kNotAllowed;
  }

  [[nodiscard]] Status failure(Reason reason, T value, std::size_t index) const noexcept {
    Status status = Status::failure(code_, reason, E::fact(value));
    if (reason == Reason::kBelowMinimum) status.limit = E::fact(min_);
    if (reason == Reason::kAboveMaximum) status.limit = E::fact(max_);
    if (reason == Reason::kNotAllowed) status.limit = static_cast<std::int64_t>(allowed_.size());
    status.index = static_cast<std::int64_t>(index);
    return status;
  }

  ErrorCode code_;
  Finite finite_ = Finite::kReject;
  bool clip_range_, has_min_ = false, has_max_ = false;
  bool search_ = false;  // within the limits there are values that are not on the list
  T min_{}, max_{}, replacement_{};
  Order low_{}, high_{};
  std::vector<T> allowed_;  // in order
  AnyOutside<E> any_outside_;
};

template <typename E>
std::unique_ptr<ValueRule> made(const Terms& terms, const TensorSpec& spec) {
  auto rule = std::make_unique<TypedRule<E>>(terms, spec);
  if (!rule->is_needed()) return nullptr;
  return rule;
}

std::unique_ptr<ValueRule> make(const Terms& terms, const TensorSpec& spec) {
  const bool numbers = terms.min || terms.max || !terms.allowed.empty();
  const bool floating = spec.dtype == DType::kFloat32 || spec.dtype == DType::kFloat64 ||
                        spec.dtype == DType::kFloat16 || spec.dtype == DType::kBFloat16;
  if (!floating && (terms.finite == "clip" || terms.finite == "replace")) {
    refuse("finite", terms.finite + " is for floating types, this is " + std::string(dtype_name(spec.dtype)));
  }
  if (terms.on_range == "clip" && !terms.min && !terms.max) refuse("on_range", "clip needs min or max");
  if (!terms.allowed.empty() && (terms.min || terms.max)) refuse("allowed", "takes the place of min and max");
  switch (spec.dtype) {
    case DType::kFloat32:
      return made<Element<float>>(terms, spec);
    case DType::kFloat64:
      return made<Element<double>>(terms, spec);
    case DType::kFloat16:
      return made<Float16>(terms, spec);
    case DType::kBFloat16:
      return made<BFloat16>(terms, spec);
    case DType::kInt8:
      return made<Element<std::int8_t>>(terms, spec);
    case DType::kInt16:
      return made<Element<std::int16_t>>(terms, spec);
    case DType::kInt32:
      return made<Element<std::int32_t>>(terms, spec);
    case DType::kInt64:
      return made<Element<std::int64_t>>(terms, spec);
    case DType::kBool:
    case DType::kUInt8:
      return made<Element<std::uint8_t>>(terms, spec);
    case DType::kUInt16:
      return made<Element<std::uint16_t>>(terms, spec);
    case DType::kUInt32:
      return made<Element<std::uint32_t>>(terms, spec);
    case DType::kUInt64:
      return made<Element<std::uint64_t>>(terms, spec);
    case DType::kString:
    case DType::kUndefined:
      break;
  }
  if (numbers) refuse("min", "a string has no range");
  return nullptr;
}

}  // namespace

std::unique_ptr<ValueRule> make_value_rule(const InputRule& rule, const TensorSpec& spec) {
  return make(
      {rule.finite, rule.on_range, rule.replace_with, rule.min, rule.max, rule.allowed, ErrorCode::kInvalidInput},
      spec);
}

std::unique_ptr<ValueRule> make_value_rule(const OutputRule& rule, const TensorSpec& spec) {
  return make({rule.finite, "reject", 0.0, rule.min, rule.max, {}, ErrorCode::kModelOutputInvalid}, spec);
}

}  // namespace anya::rules
