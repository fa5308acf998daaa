// SPDX-License-Identifier: Apache-2.0
//
// One load, top to bottom: read once, verify, walk, open, warm up, decide whether rows may share a run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "anya/clock.h"
#include "anya/engine.h"
#include "anya/options.h"
#include "anya/session.h"
#include "integrity/model_files.h"
#include "model/run_times.h"

namespace anya {

// What a load gives. Owns the session.
struct LoadedModel {
  std::unique_ptr<Session> session;
  std::string digest;  // identity of exactly the bytes that were parsed, lower-case hex
  std::vector<std::pair<std::string, std::string>> operator_libraries;  // name and digest
  std::string signer;              // the id of the key whose signature was verified; "" for none
  std::vector<std::string> files;  // the names those bytes had
  ModelRules rules;                // in force: the options', or what was made of them and schema.toml
  std::string profile;             // of a directory's profile.json, which is no part of the digest that it names; or ""
  std::uint64_t file_bytes = 0;
  std::string quantization;              // "dynamic", "static" or "none"
  bool batch_axis = false;               // axis 0 of every input and output counts rows
  bool batchable = false;                // and rows do not depend on their company: requests may share a run
  std::string batching_note;             // why, or why not, in one sentence
  std::vector<bool> output_predictable;  // per output: its shape follows from the rows, and did in every run so far
  std::vector<std::string> row_coupling_ops;
  std::vector<std::string> random_ops;  // not empty: two runs on the same input may differ
  bool repeats = true;                  // false: made-up rows were answered differently when asked again
  bool warmed_up = false;               // at least one run on made-up rows went well
  std::vector<MeasuredRun> run_times;   // what batches of made-up rows cost; empty where that was not measured
  Nanos warm_up_time = 0;               // all made-up runs
};

// What a load may be told beyond its model's options; tests fill these.
struct LoadSeams {
  integrity::ReadLimits read;
  // Warm-up and check together; a model that takes longer is terminated, loads unchecked and runs alone.
  std::int64_t max_warm_up_milliseconds = 30'000;
  // Of it, for trying batches of more than a few rows, about.
  std::int64_t wide_check_milliseconds = 500;
  std::int64_t run_times_milliseconds = 100;  // for measuring what batches cost, about
};

// Loads a model. Blocks for all of it. Throws Error (see DESIGN's table: everything before the bytes are verified is
// kModelLoadError or one of its trust kinds, verified bytes that are no model are kModelInvalid); then nothing is left
// behind. The file's bytes are freed before the warm-up. Warm-up runs count nowhere. Thread-safe.
LoadedModel load_model(const ModelSource& source, const ModelOptions& options, const OpenSession& open_session,
                       const Clock& clock, const LoadSeams& seams = {});

}  // namespace anya
