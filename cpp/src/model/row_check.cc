// SPDX-License-Identifier: Apache-2.0
#include "model/row_check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <utility>

#include "model/company.h"
#include "model/made_up_runs.h"
#include "model/sample_rows.h"

namespace anya {
namespace {

constexpr std::size_t kFew = 4;  // rows of the first look
constexpr std::array<std::size_t, kFew> kInOrder = {0, 1, 2, 3};
constexpr std::array<std::size_t, kFew> kShuffled = {2, 0, 3, 1};
// Sizes for free dimensions that are not rows. The small ones suit sequences, the others the images a network halves
// several times over. 1 suits what multiplies two dimensions together.
constexpr std::array<std::int64_t, 4> kFreeSizes = {8, 1, 64, 224};

bool is_integer_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64:
      return true;
    default:
      return false;
  }
}

class Checker {
 public:
  Checker(Session& session, const RowCheckPlan& plan, const Clock& clock)
      : schema_(session.schema()),
        plan_(plan),
        clock_(clock),
        runs_(session, plan.batch_axis, plan.max_milliseconds, clock),
        company_(runs_, plan.tolerance) {}

  RowCheck run() {
    warm_up();
    bool ran_together = true;
    if (check_.ran && plan_.batch_axis) ran_together = compare_few();
    check_.rows_lead = check_.ran && ran_together && runs_.rows_lead();
    if (check_.ran && !runs_.rows_why().empty()) check_.why = runs_.rows_why();
    check_.shapes_follow = runs_.shapes_follow();
    // Nothing was seen, nothing is promised.
    if (!check_.ran || !ran_together) check_.shapes_follow.assign(check_.shapes_follow.size(), false);
    return std::move(check_);
  }

 private:
  // Runs the first row alone, with the first made-up rows that the model takes and answers with numbers.
  void warm_up() {
    const bool any_free = has_free_dimension();
    for (const std::int64_t size : kFreeSizes) {
      free_size_ = size;
      if (SampleRows::bytes_needed(schema_, plan_.batch_axis, kFew, size) > plan_.max_bytes) {
        return fail("four rows would take more than " + std::to_string(plan_.max_bytes) + " bytes");
      }
      for (const Integers integers : integers_to_try()) {
        MadeUpRuns::Outputs outputs;
        const Status status = run_first(integers, &outputs);
        if (runs_.expired()) return fail(runs_.failure_text(status));
        if (!status.ok()) {
          fail(runs_.failure_text(status));
          continue;
        }
        if (integers == Integers::kSmall && !suits_all_rows(outputs)) continue;
        integers_ = integers;
        check_.why.clear();
        check_.ran = true;
        return;
      }
      if (!any_free) return;
    }
  }

  // The first row alone, or all there is where there are no rows, with integers of this kind.
  Status run_first(Integers integers, MadeUpRuns::Outputs* outputs) {
    make_rows(kFew, integers);
    if (!plan_.batch_axis) return runs_.run(*samples_, 0, outputs);
    Status status = company_.ask_alone(0);
    if (status.ok()) *outputs = company_.alone(0);
    return status;
  }

  void make_rows(std::size_t rows, Integers integers) {
    samples_ =
        std::make_unique<SampleRows>(schema_, plan_.batch_axis, static_cast<std::int64_t>(rows), free_size_, integers);
    company_.use(*samples_);
  }

  // The first row ran; so must the others, for a table may have room for it alone. NaN is equal to NaN: an answer of
  // nothing else would pass every comparison.
  bool suits_all_rows(const MadeUpRuns::Outputs& first) {
    if (std::ranges::any_of(first, nothing_finite)) return false;
    if (!plan_.batch_axis) return true;
    const Company::Look look = company_.look_at(kInOrder, /*compare=*/false);
    return look == Company::Look::kSame || look == Company::Look::kDifferent;
  }

  // Small numbers only where an index outside its table is an error and not a read of other memory, and where they are
  // no sizes: a hundred more on every side of a tensor can be gigabytes.
  std::vector<Integers> integers_to_try() {
    const auto is_integer = [](const TensorSpec& input) { return is_integer_type(input.dtype); };
    const bool useful = std::ranges::any_of(schema_.inputs, is_integer);
    const std::vector<std::string>& providers = runs_.session().providers();
    const bool on_cpu = std::ranges::all_of(providers, [](const auto& p) { return p == "CPUExecutionProvider"; });
    if (useful && on_cpu && !integers_are_sizes()) return {Integers::kSmall, Integers::kBits};
    return {Integers::kBits};
  }

  // Ones and twos are answered in different shapes, or only one of them is answered at all.
  bool integers_are_sizes() {
    MadeUpRuns::Outputs ones;
    MadeUpRuns::Outputs twos;
    const bool ran = run_first(Integers::kOnes, &ones).ok();
    if (run_first(Integers::kTwos, &twos).ok() != ran) return true;
    const auto same_shape = [](const OutputBuffer& a, const OutputBuffer& b) { return a.shape == b.shape; };
    return !std::ranges::equal(ones, twos, same_shape);
  }

  // The first look: four rows alone, then together in two orders. False: they did not run together.
  bool compare_few() {
    for (std::size_t row = 1; row < kFew && plan_.compare && runs_.rows_lead(); ++row) {
      const Status status = company_.ask_alone(row);
      if (!status.ok()) {
        fail("a row did not run alone: " + runs_.failure_text(status));
        return true;
      }
    }
    const Nanos row_alone = runs_.last_took();
    Nanos few = kNever;
    for (const auto& order : {kInOrder, kShuffled}) {
      const Company::Look look = company_.look_at(order, plan_.compare);
      if (look != Company::Look::kSame) return conclude(look);
      few = std::min(few, runs_.last_took());
    }
    if (!plan_.compare) return true;
    check_.rows_together = kFew;
    return compare_many(row_alone, few / static_cast<Nanos>(kFew));
  }

  // The second look: as many rows as batches may have, as far as time and memory reach, in as many orders as there is
  // time for. There are rows of all kinds among them: usual ones, outsized ones of either sign, small ones, zeros.
  bool compare_many(Nanos row_alone, Nanos row_together) {
    const Nanos end = clock_.now() + plan_.wide_budget;
    const Nanos left = plan_.wide_budget - static_cast<Nanos>(SampleRows::kKinds - kFew) * row_alone;
    std::size_t width = plan_.max_rows > 1 ? affordable_rows(left, row_together) : 0;
    if (width < kFew) return conclude(Company::Look::kSame);
    make_rows(SampleRows::kKinds, integers_);
    for (std::size_t row = kFew; row < SampleRows::kKinds; ++row) company_.ask_outsized(row);
    Company::Look look = look_at_many(width, 0);
    while (look == Company::Look::kNoMemory && width > kFew) {
      check_.why_no_more = "there was no memory for more";
      width = std::max(kFew, std::bit_floor(width - 1));
      look = look_at_many(width, 0);
    }
    for (std::size_t turn = 1; turn < SampleRows::kKinds && look == Company::Look::kSame; ++turn) {
      if (clock_.now() + runs_.last_took() > end) break;
      look = look_at_many(width, turn);
    }
    if (look == Company::Look::kSame) check_.rows_together = static_cast<std::int64_t>(width);
    return conclude(look);
  }

  Company::Look look_at_many(std::size_t width, std::size_t turn) {
    std::vector<std::size_t> order(width);
    for (std::size_t place = 0; place < width; ++place) order[place] = SampleRows::kind_at(place, turn);
    return company_.look_at(order, /*compare=*/true);
  }

  // Rows of one run at most, max_rows or a power of two, by what a row takes; says why there are not more.
  std::size_t affordable_rows(Nanos left, Nanos row_took) {
    const std::uint64_t most = std::max<std::uint64_t>(kFew, static_cast<std::uint64_t>(plan_.max_rows));
    const std::uint64_t row_bytes = SampleRows::bytes_needed(schema_, true, 1, free_size_) + company_.answer_bytes();
    const std::uint64_t by_bytes =
        std::min(plan_.max_wide_bytes, plan_.max_bytes) / std::max<std::uint64_t>(row_bytes, 1);
    const std::uint64_t by_time = left < 0 ? 0 : static_cast<std::uint64_t>(left / std::max<Nanos>(row_took, 1));
    const std::uint64_t rows = std::min(by_bytes, by_time);
    if (rows >= most) return static_cast<std::size_t>(most);
    check_.why_no_more =
        by_time < by_bytes
            ? "trying more would take longer than " + std::to_string(plan_.wide_budget / 1'000'000) + " ms"
            : "trying more would take more than " + std::to_string(plan_.max_wide_bytes) + " bytes";
    return static_cast<std::size_t>(std::bit_floor(rows));
  }

  // What the last look means. A model that does not agree with itself is not told from one whose rows are coupled by
  // looking at company alone.
  bool conclude(Company::Look look) {
    const std::string why = company_.why();
    if (look == Company::Look::kFailed || look == Company::Look::kNoMemory) {
      fail(why);
      return false;
    }
    if (!plan_.compare || !runs_.rows_lead()) return true;
    check_.repeats = company_.repeats();
    check_.agrees = check_.repeats && look == Company::Look::kSame;
    if (!check_.agrees) fail(check_.repeats ? why : company_.why());
    return true;
  }

  [[nodiscard]] bool has_free_dimension() const {
    for (const TensorSpec& input : schema_.inputs) {
      for (std::size_t axis = plan_.batch_axis ? 1 : 0; axis < input.shape.rank(); ++axis) {
        if (input.shape[axis] < 0) return true;
      }
    }
    return false;
  }

  void fail(std::string why) {
    if (check_.why.empty()) check_.why = std::move(why);
  }

  const ModelSchema& schema_;
  const RowCheckPlan& plan_;
  const Clock& clock_;
  MadeUpRuns runs_;
  std::unique_ptr<SampleRows> samples_;
  Company company_;
  std::int64_t free_size_ = 0;
  Integers integers_ = Integers::kBits;
  RowCheck check_;
};

}  // namespace

RowCheck check_rows(Session& session, const RowCheckPlan& plan, const Clock& clock) {
  return Checker(session, plan, clock).run();
}

}  // namespace anya
