// SPDX-License-Identifier: Apache-2.0
#include "reprs.h"

#include <array>
#include <charconv>
#include <numeric>

namespace anya::python {
namespace {

// <Class words key=value key=value>
class Line {
 public:
  explicit Line(const char* type) : text_("<") { text_ += type; }
  Line& word(std::string_view text) {
    text_ += " ";
    text_ += text;
    return *this;
  }
  Line& fact(const char* name, std::uint32_t value) { return fact(name, std::uint64_t{value}); }
  Line& fact(const char* name, std::uint64_t value) { return fact(name, std::to_string(value)); }
  Line& fact(const char* name, double value) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value, std::chars_format::general, 4);
    return fact(name, std::string(digits, end.ptr));
  }
  Line& fact(const char* name, const std::string& value) {
    text_ += " ";
    text_ += name;
    text_ += "=";
    text_ += value;
    return *this;
  }
  // Those that have been counted at all, success apart.
  Line& errors(const char* name, const std::array<std::uint64_t, kErrorCodeCount>& counts) {
    std::string all;
    for (std::size_t i = 1; i < counts.size(); ++i) {
      if (counts[i] == 0) continue;
      all += (all.empty() ? "" : ", ") + std::string(code_name(static_cast<ErrorCode>(i))) + ": " +
             std::to_string(counts[i]);
    }
    return all.empty() ? *this : fact(name, "{" + all + "}");
  }
  std::string end() { return std::move(text_ += ">"); }

 private:
  std::string text_;
};

std::string of(std::uint64_t part, std::uint64_t whole) { return std::to_string(part) + "/" + std::to_string(whole); }

std::uint64_t observations(const HistogramSnapshot& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), std::uint64_t{0});
}

double mean(const HistogramSnapshot& histogram) {
  const std::uint64_t count = observations(histogram);
  return count == 0 ? 0.0 : histogram.sum / static_cast<double>(count);
}

}  // namespace

std::string_view state_name(CircuitState state) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"closed", "half_open", "open"};
  return kNames[static_cast<std::size_t>(state)];
}

std::string repr(const CacheStats& stats) {
  if (stats.capacity_bytes == 0) return Line("CacheStats").word("no cache, ModelConfig.cache gives one").end();
  Line line("CacheStats");
  line.fact("hits", stats.hits).fact("misses", stats.misses).fact("coalesced", stats.coalesced);
  if (stats.stale + stats.stale_on_error > 0) line.fact("stale", stats.stale + stats.stale_on_error);
  return line.fact("entries", stats.entries).fact("bytes", of(stats.bytes, stats.capacity_bytes)).end();
}

std::string repr(const CircuitEvent& event) {
  Line line("CircuitEvent");
  line.fact("to", std::string(state_name(event.to)));
  return line.fact("calls", event.calls).fact("failed", event.failed).fact("slow", event.slow).end();
}

std::string repr(const CircuitStats& stats) {
  Line line("CircuitStats");
  line.word(state_name(stats.state));
  line.fact("calls", stats.calls).fact("failed", stats.failed).fact("slow", stats.slow);
  if (stats.state == CircuitState::kOpen) line.fact("opens_in", static_cast<double>(stats.opens_in) * 1e-9);
  return line.end();
}

std::string repr(const HistogramSnapshot& histogram) {
  return Line("HistogramSnapshot").fact("count", observations(histogram)).fact("mean", mean(histogram)).end();
}

std::string repr(const ModelStats& stats) {
  Line line("ModelStats");
  line.word(stats.name + ":" + stats.version).fact("accepted", stats.accepted);
  line.fact("ok", stats.ended[static_cast<std::size_t>(ErrorCode::kOk)]).errors("errors", stats.ended);
  line.errors("refused", stats.refused).fact("in_flight", stats.in_flight);
  line.fact("queue_depth", of(stats.queue_depth, stats.max_queue_size));
  line.fact("instances_busy", of(stats.instances_busy, stats.instances));
  line.fact("batches", stats.batches).fact("mean_seconds", mean(stats.request_duration));
  if (stats.circuit) line.fact("circuit", std::string(state_name(stats.circuit->state)));
  if (stats.failed) line.word("device lost");
  return line.end();
}

std::string repr(const RunTime& time) {
  Line line("RunTime");
  line.fact("rows", static_cast<std::uint64_t>(time.rows)).fact("seconds", time.seconds);
  return line.fact("observations", time.observations).end();
}

std::string repr(const TensorCount& count) {
  return Line("TensorCount")
      .word(count.name)
      .fact("sanitized", count.sanitized)
      .fact("nonfinite", count.nonfinite)
      .end();
}

}  // namespace anya::python
