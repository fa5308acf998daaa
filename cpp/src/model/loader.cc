// SPDX-License-Identifier: Apache-2.0
#include "model/loader.h"

#include <algorithm>
#include <cstdio>
#include <new>
#include <utility>

#include "base/text.h"
#include "model/batch_axis.h"
#include "model/row_check.h"
#include "model/rule_book.h"
#include "model/verified_model.h"
#include "onnx/operators.h"

namespace anya {
namespace {

// The file's bytes are those that were verified; who reads them joins them with the options' rules.
ModelRules rules_in_force(const integrity::ModelFiles& files, const ModelOptions& options) {
  for (const integrity::ModelFile& file : files.files()) {
    if (file.name != integrity::kSchemaName) continue;
    if (!options.read_schema) {
      throw Error(ErrorCode::kModelLoadError, "the model has a schema.toml and nobody to read it");
    }
    const std::span<const std::byte> bytes = file.bytes.bytes();
    return options.read_schema({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  return options.rules;
}

// Everything from the bytes to an open session. The bytes are gone when it returns.
onnx::ModelWalk open_model(const ModelSource& source, const ModelOptions& options, const OpenSession& open_session,
                           const LoadSeams& seams, LoadedModel* loaded) {
  VerifiedModel model = verify_model_bytes(source, options, seams.read);
  loaded->digest = std::move(model.verdict.digest);
  loaded->signer = std::move(model.verdict.signer);
  loaded->file_bytes = model.files.total_bytes();
  for (const integrity::ModelFile& file : model.files.files()) loaded->files.push_back(file.name);
  loaded->rules = rules_in_force(model.files, options);
  loaded->profile = std::move(model.profile);
  SessionOptions session = options.session;
  session.operator_libraries.clear();
  for (integrity::OperatorLibrary& library : model.libraries) {
    session.operator_libraries.push_back({library.name, std::move(library.path)});
    loaded->operator_libraries.emplace_back(std::move(library.name), std::move(library.digest));
  }
  loaded->session = open_session(model.files.model(), model.external, session);
  if (loaded->session == nullptr) throw Error(ErrorCode::kModelLoadError, "no session was opened");
  return std::move(model.walk);
}

// Why the model may not share runs by what the walk found, or "".
std::string operator_reason(const onnx::ModelWalk& walk) {
  if (!walk.row_coupling_ops.empty()) {
    const onnx::RowCoupling& first = walk.row_coupling_ops.front();
    return "the operator " + quoted(first.op) + " makes rows depend on each other: " + first.why;
  }
  if (!walk.random_ops.empty()) {
    return "the operator " + quoted(walk.random_ops.front()) + " gives random answers, which cannot be compared";
  }
  return {};
}

std::string check_reason(const RowCheck& check) {
  if (!check.ran) return "it could not be checked, made-up rows did not run: " + check.why;
  return check.agrees ? std::string() : check.why;
}

std::string agreement(const ModelOptions& options, const RowCheck& check) {
  char text[160];
  std::snprintf(text, sizeof text,
                "batched: %lld made-up rows had the same answers alone and together (rtol %g, atol %g)",
                static_cast<long long>(check.rows_together), options.batch_check_rtol, options.batch_check_atol);
  const bool all = check.rows_together >= options.batching.max_batch_size || check.why_no_more.empty();
  return all ? text : std::string(text) + "; " + check.why_no_more;
}

void decide(const ModelOptions& options, const BatchAxis& axis, const std::string& by_operator, bool shape_by_data,
            const RowCheck& check, LoadedModel* loaded) {
  loaded->warmed_up = check.ran;
  loaded->repeats = check.repeats;
  loaded->output_predictable = check.shapes_follow;
  // How much such an operator gives was an accident of these rows.
  if (shape_by_data) loaded->output_predictable.assign(check.shapes_follow.size(), false);
  if (!axis.batchable) {
    loaded->batching_note = "runs alone: " + axis.reason;
    if (!check.ran) loaded->batching_note += "; its warm-up did not run: " + check.why;
    return;
  }
  if (check.ran && !check.rows_lead) {
    // Its answers cannot be given back to rows, force or not.
    loaded->batching_note = "runs alone: " + (by_operator.empty() ? check.why : by_operator);
    return;
  }
  const std::string reason = by_operator.empty() ? check_reason(check) : by_operator;
  if (options.batching.force) {
    loaded->batch_axis = true;
    loaded->batchable = true;
    loaded->batching_note = "batched because batching.force is set" + (reason.empty() ? "" : ", although " + reason);
    return;
  }
  // What nobody has seen run takes shapes as they are; what gives as much as its data asks for has no rows either.
  loaded->batch_axis = check.ran && !shape_by_data;
  loaded->batchable = reason.empty();
  loaded->batching_note = reason.empty() ? agreement(options, check) : "runs alone: " + reason;
}

}  // namespace

LoadedModel load_model(const ModelSource& source, const ModelOptions& options, const OpenSession& open_session,
                       const Clock& clock, const LoadSeams& seams) try {
  LoadedModel loaded;
  const onnx::ModelWalk walk = open_model(source, options, open_session, seams, &loaded);
  static_cast<void>(
      RuleBook(loaded.rules, loaded.session->schema()));  // what does not fit ends the load before warm-up
  loaded.quantization = onnx::quantization_of(walk.ops);
  for (const onnx::RowCoupling& coupling : walk.row_coupling_ops) loaded.row_coupling_ops.push_back(coupling.op);
  loaded.random_ops = walk.random_ops;

  const BatchAxis axis = decide_batch_axis(loaded.session->schema());
  const std::string by_operator = operator_reason(walk);
  const bool shape_by_data = std::ranges::any_of(
      walk.row_coupling_ops, [](const onnx::RowCoupling& coupling) { return coupling.changes_shape; });
  RowCheckPlan plan;
  plan.batch_axis = axis.batchable;
  plan.compare = by_operator.empty();
  plan.tolerance = {options.batch_check_rtol, options.batch_check_atol};
  plan.max_bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(options.max_request_bytes, 0));
  plan.max_milliseconds = seams.max_warm_up_milliseconds;
  plan.max_rows = options.batching.max_batch_size;
  plan.wide_budget = seams.wide_check_milliseconds * 1'000'000;
  const Nanos before = clock.now();
  const RowCheck check = check_rows(*loaded.session, plan, clock);
  decide(options, axis, by_operator, shape_by_data, check, &loaded);
  if (loaded.batchable && loaded.warmed_up) {
    loaded.run_times = measure_run_times(*loaded.session, options.batching.max_batch_size,
                                         seams.run_times_milliseconds * 1'000'000, clock);
  }
  loaded.warm_up_time = clock.now() - before;
  return loaded;
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::kOutOfMemory, "no memory to load the model");
}

}  // namespace anya
