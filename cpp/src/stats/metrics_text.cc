// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <system_error>

#include "anya/metrics.h"

namespace anya {
namespace {

using Labels = std::vector<std::string>;

// In a label's value the quote ends it, too; in a help text only OpenMetrics has it escaped.
void append_escaped(std::string& text, std::string_view raw, bool quotes) {
  for (const char each : raw) {
    if (each == '\\') {
      text += "\\\\";
    } else if (each == '\n') {
      text += "\\n";
    } else if (each == '"' && quotes) {
      text += "\\\"";
    } else {
      text += each;
    }
  }
}

void append_number(std::string& text, double value) {
  if (std::isnan(value)) {
    text += "NaN";
  } else if (std::isinf(value)) {
    text += value > 0 ? "+Inf" : "-Inf";
  } else {
    char digits[32];
    const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
    const std::to_chars_result end = whole
                                         ? std::to_chars(digits, digits + sizeof(digits), static_cast<long long>(value))
                                         : std::to_chars(digits, digits + sizeof(digits), value);
    text.append(digits, end.ptr);
  }
}

// The upper bound of a bucket is a label: it always looks the same, "1.0" and never "1".
std::string bound_of(double edge) {
  char digits[64];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), edge, std::chars_format::fixed);
  std::string text(digits, end.ptr);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string inside_braces(const Labels& names, const Labels& values) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < values.size(); ++i) {
    if (i > 0) text += ',';
    text += names[i];
    text += "=\"";
    append_escaped(text, values[i], true);
    text += '"';
  }
  return text;
}

void append_line(std::string& text, std::string_view name, std::string_view suffix, std::string_view labels,
                 double value) {
  text += name;
  text += suffix;
  if (!labels.empty()) {
    text += '{';
    text += labels;
    text += '}';
  }
  text += ' ';
  append_number(text, value);
  text += '\n';
}

void append_head(std::string& text, const MetricFamily& family, bool openmetrics) {
  std::string name = family.name;
  if (family.kind == MetricKind::kCounter && !openmetrics) name += "_total";
  text += "# HELP " + name + ' ';
  append_escaped(text, family.help, openmetrics);
  text += "\n# TYPE " + name + ' ';
  text += kind_name(family.kind);
  text += '\n';
}

void append_exemplar(std::string& text, const HistogramSnapshot& histogram, std::size_t bucket) {
  for (const Exemplar& each : histogram.exemplars) {
    if (each.bucket != bucket) continue;
    text += " # {trace_id=\"" + each.trace_id + "\"} ";
    append_number(text, each.value);
    return;
  }
}

void append_histogram(std::string& text, const MetricFamily& family, const std::vector<std::string>& bounds,
                      const std::string& labels, const HistogramSnapshot& histogram, bool openmetrics) {
  const std::string comma = labels.empty() ? "" : ",";
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    below += histogram.counts[i];
    text += family.name;
    text += "_bucket{";
    text += labels;
    text += comma;
    text += "le=\"";
    text += i < bounds.size() ? std::string_view(bounds[i]) : std::string_view("+Inf");
    text += "\"} ";
    append_number(text, static_cast<double>(below));
    if (openmetrics) append_exemplar(text, histogram, i);
    text += '\n';
  }
  // The total is the last bucket of the same snapshot, so le="+Inf" and _count always agree.
  append_line(text, family.name, "_count", labels, static_cast<double>(below));
  append_line(text, family.name, "_sum", labels, histogram.sum);
}

void append_series(std::string& text, const MetricFamily& family, bool openmetrics) {
  const std::string_view suffix = family.kind == MetricKind::kCounter ? "_total" : "";
  for (const auto& [values, value] : family.samples) {
    append_line(text, family.name, suffix, inside_braces(family.label_names, values), value);
  }
  std::vector<std::string> bounds;
  for (const auto& [values, histogram] : family.histograms) {
    if (bounds.size() != histogram.edges.size()) {
      bounds.clear();
      for (const double edge : histogram.edges) bounds.push_back(bound_of(edge));
    }
    append_histogram(text, family, bounds, inside_braces(family.label_names, values), histogram, openmetrics);
  }
}

}  // namespace

std::string metrics_text(std::span<const std::vector<MetricFamily>> parts, bool openmetrics) {
  std::string text;
  for (const MetricFamily& family : merge_families(parts)) {
    append_head(text, family, openmetrics);
    append_series(text, family, openmetrics);
  }
  if (openmetrics) text += "# EOF\n";
  return text;
}

}  // namespace anya
