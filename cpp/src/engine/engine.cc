// SPDX-License-Identifier: Apache-2.0
#include "anya/engine.h"

#include <algorithm>
#include <utility>

#include "base/cpu.h"
#include "base/hash.h"
#include "base/mutex.h"
#include "base/thread.h"
#include "model/loader.h"
#include "model/model_impl.h"
#include "ort/ort_session.h"

namespace anya {
namespace {

int instances_for(const ModelOptions& options) {
  if (options.instances > 0) return std::min(options.instances, static_cast<int>(SlotSet::kMax));
  return std::clamp(usable_cores() / std::max(1, options.session.intra_op_num_threads), 1,
                    static_cast<int>(SlotSet::kMax));
}

// An answer that is drawn anew each time is no answer to keep.
void refuse_random(const LoadedModel& loaded, const CacheOptions& cache) {
  if (cache.capacity_bytes <= 0 || cache.force || (loaded.random_ops.empty() && loaded.repeats)) return;
  const std::string why = loaded.random_ops.empty()
                              ? "it answered the same made-up rows differently"
                              : "its operator '" + loaded.random_ops.front() + "' draws at random";
  throw Error(ErrorCode::kConfigError,
              "a cache would give its first answer for ever: " + why + "; leave the cache out, or set cache.force",
              "cache");
}

// The loader does not know what a model is called; who reads the refusal must.
LoadedModel load_named(const std::string& name, const std::string& version, const ModelSource& source,
                       const ModelOptions& options, const EngineDependencies& dependencies) {
  try {
    LoadedModel loaded =
        load_model({source.path, source.bytes, name}, options, dependencies.open_session, *dependencies.clock);
    refuse_random(loaded, options.cache);
    return loaded;
  } catch (const Error& error) {
    const std::string from = source.path.empty() ? "bytes" : "'" + source.path + "'";
    throw Error(error.code(), "model '" + name + ":" + version + "' from " + from + ": " + error.what(), error.field());
  }
}

}  // namespace

EngineDependencies make_dependencies(const std::string& runtime_library) {
  const std::shared_ptr<ort::Runtime> runtime = ort::Runtime::open(runtime_library);
  EngineDependencies dependencies;
  dependencies.clock = std::make_shared<SteadyClock>();
  dependencies.runtime_version = runtime->version();
  dependencies.runtime_library = runtime->library();
  dependencies.open_session = [runtime](std::span<const std::byte> model, std::span<const NamedBytes> external,
                                        const SessionOptions& options) {
    return runtime->open_session(model, external, options);
  };
  return dependencies;
}

struct Engine::Impl {
  explicit Impl(EngineDependencies the_dependencies)
      : dependencies(std::move(the_dependencies)), shared(std::make_shared<EngineShared>(dependencies.clock)) {}

  // From now on nothing is loaded; what is.
  std::vector<std::shared_ptr<Model>> refuse_loads() noexcept;

  const EngineDependencies dependencies;
  const std::shared_ptr<EngineShared> shared;

  mutable Mutex mutex;
  std::vector<std::shared_ptr<Model>> models GUARDED_BY(mutex);
  bool closed GUARDED_BY(mutex) = false;
};

Engine::Engine(EngineDependencies dependencies) {
  if (dependencies.clock == nullptr || dependencies.open_session == nullptr) {
    throw Error(ErrorCode::kConfigError, "an engine needs a clock and a way to open sessions");
  }
  impl_ = std::make_shared<Impl>(std::move(dependencies));
}

Engine::~Engine() {
  if (is_owner_process()) {
    close();
  } else {
    // A forked child: its threads do not exist, so nothing can be joined. No memory for this ends it.
    new std::shared_ptr<Impl>(std::move(impl_));  // NOLINT(bugprone-unhandled-exception-at-new): said above
  }
}

bool Engine::is_owner_process() const noexcept { return impl_->shared->fork_guard.is_owner(); }
const EngineDependencies& Engine::dependencies() const noexcept { return impl_->dependencies; }

std::shared_ptr<Model> Engine::load(const std::string& name, const std::string& version, const ModelSource& source,
                                    const ModelOptions& options) {
  if (!is_owner_process()) {
    throw Error(ErrorCode::kUnavailable, describe(Status::failure(ErrorCode::kUnavailable, Reason::kForked), name));
  }
  const Nanos began = impl_->dependencies.clock->now();
  // Others are being served meanwhile. Not where the session makes threads of its own: they would give way for good.
  LoadedModel loaded;
  const auto read_and_open = [&] { loaded = load_named(name, version, source, options, impl_->dependencies); };
  if (options.session.intra_op_num_threads == 1 && options.session.inter_op_num_threads == 1) {
    run_quietly("anya-load", read_and_open);
  } else {
    read_and_open();
  }

  ModelInfo info;
  info.name = name;
  info.version = version;
  info.digest = loaded.digest;
  info.signer = loaded.signer;
  info.quantization = loaded.quantization;
  info.operator_libraries = std::move(loaded.operator_libraries);
  info.inputs = loaded.session->schema().inputs;
  info.outputs = loaded.session->schema().outputs;
  info.providers = loaded.session->providers();
  info.batchable = loaded.batchable && options.batching.max_batch_size > 1;
  info.batching_note = loaded.batching_note;
  info.instances = instances_for(options);
  info.max_batch_size = info.batchable ? options.batching.max_batch_size : 1;
  info.memory_bytes = loaded.file_bytes;
  info.warm_up_seconds = static_cast<double>(loaded.warm_up_time) * 1e-9;
  Admission::Rules rules{loaded.batch_axis, loaded.output_predictable, options.max_request_bytes};
  info.load_seconds = static_cast<double>(impl_->dependencies.clock->now() - began) * 1e-9;
  auto model = std::make_shared<Model>(std::make_unique<Model::Impl>(
      impl_->shared, std::move(info), std::move(loaded.session), std::move(rules), options.batching, loaded.run_times,
      timeouts_of(options), loaded.rules, options.cache, options.breaker, options.predictions, options.counters));
  model->set_profile(std::move(loaded.profile));

  MutexLock lock(impl_->mutex);
  if (impl_->closed) throw Error(ErrorCode::kUnavailable, "the engine was closed while '" + name + "' was loading");
  impl_->models.push_back(model);
  return model;
}

void Engine::unload(const std::shared_ptr<Model>& model) {
  if (!is_owner_process()) return;
  model->close();
  MutexLock lock(impl_->mutex);
  std::erase(impl_->models, model);
}

std::vector<std::shared_ptr<Model>> Engine::Impl::refuse_loads() noexcept {
  MutexLock lock(mutex);
  closed = true;
  return models;
}

bool Engine::drain(Nanos until) noexcept {
  if (!is_owner_process()) return true;
  const auto models = impl_->refuse_loads();
  return std::ranges::all_of(models, [&](const auto& model) { return model->drain(until); });
}

void Engine::close() noexcept {
  if (!is_owner_process()) return;
  for (const auto& model : impl_->refuse_loads()) model->close();
  impl_->shared->timer.close();  // what it still held may hold whoever holds this engine
}

std::vector<ModelStats> Engine::stats() const {
  std::vector<std::shared_ptr<Model>> models;
  {
    MutexLock lock(impl_->mutex);
    models = impl_->models;
  }
  std::vector<ModelStats> all;
  for (const auto& model : models) {
    // While a version is loaded again there are two of it: the one that answers is the older.
    const auto is_it = [&](const ModelStats& other) {
      return other.name == model->info().name && other.version == model->info().version;
    };
    if (std::ranges::none_of(all, is_it)) all.push_back(model->stats());
  }
  return all;
}

std::uint64_t Engine::key_hash(std::string_view key, std::uint64_t salt) noexcept {
  const std::uint64_t hash = hash_bytes(key, salt);
  return hash == 0 ? 1 : hash;  // 0 means: no key
}

}  // namespace anya
