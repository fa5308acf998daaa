// SPDX-License-Identifier: Apache-2.0
#include "model/verified_model.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/text.h"
#include "integrity/model_digest.h"
#include "integrity/trust_check.h"

namespace anya {
namespace {

integrity::ModelFiles read_model(const ModelSource& source, integrity::ReadLimits limits,
                                 const ContentLimits& content) {
  limits.max_model_bytes = std::min(limits.max_model_bytes, static_cast<std::uint64_t>(content.max_model_bytes));
  if (source.path.empty()) return integrity::ModelFiles::from_bytes(source.bytes, limits);
  return integrity::ModelFiles::from_path(source.path, limits);
}

onnx::WalkLimits walk_limits(const ContentLimits& content) {
  onnx::WalkLimits limits;
  limits.max_graph_depth = static_cast<std::size_t>(content.max_graph_depth);
  limits.max_nodes = static_cast<std::uint64_t>(content.max_nodes);
  limits.max_tensor_bytes = static_cast<std::uint64_t>(content.max_tensor_bytes);
  limits.domains = content.domains;
  limits.operators = content.operators;
  return limits;
}

// Reads every file of weights that the model names, once, and holds each tensor's place in it against its size.
std::vector<NamedBytes> read_external(integrity::ModelFiles& files, const onnx::ModelWalk& walk) {
  std::vector<std::string> names;
  for (const onnx::ExternalTensor& tensor : walk.external) {
    if (std::ranges::find(names, tensor.location) == names.end()) names.push_back(tensor.location);
  }
  files.read_externals(names);
  std::vector<NamedBytes> named;
  named.reserve(names.size());
  for (const std::string& name : names) named.push_back({name, files.read_external(name)});
  for (const onnx::ExternalTensor& tensor : walk.external) {
    const std::span<const std::byte> bytes = files.read_external(tensor.location);
    const std::uint64_t length = tensor.length.value_or(tensor.needed.value_or(0));
    if (tensor.offset > bytes.size() || length > bytes.size() - tensor.offset) {
      throw Error(ErrorCode::kModelInvalid, "tensor " + quoted(tensor.tensor) + " takes " + std::to_string(length) +
                                                " bytes at offset " + std::to_string(tensor.offset) + " of " +
                                                quoted(tensor.location) + ", which holds " +
                                                std::to_string(bytes.size()));
    }
  }
  return named;
}

void verify(const ModelOptions& options, std::optional<integrity::TrustCheck>& check, VerifiedModel* model) {
  if (check) check->before_parse(model->files);
  model->walk = onnx::walk_model(model->files.model(), walk_limits(options.content));
  model->external = read_external(model->files, model->walk);
  model->verdict.digest = integrity::model_digest(model->files.crypto(), model->files.files());
  if (check) model->verdict.deprecated = check->before_session(model->files, model->verdict.digest);
  for (const auto& [path, sha256] : options.content.custom_op_libraries) {
    model->libraries.push_back(integrity::keep_operator_library(model->files.crypto(), path, sha256));
    if (check) check->check_library(model->libraries.back());
  }
  model->profile = model->files.read_profile();
}

}  // namespace

VerifiedModel verify_model_bytes(const ModelSource& source, const ModelOptions& options,
                                 const integrity::ReadLimits& limits) {
  const auto say = [&](const TrustVerdict& verdict) {
    if (options.on_verdict) options.on_verdict(verdict);
  };
  std::optional<integrity::TrustCheck> check;
  if (options.trust) check.emplace(*options.trust, source.name);
  std::optional<VerifiedModel> model;
  try {
    model.emplace(VerifiedModel{read_model(source, limits, options.content), {}, {}, {}, {}, {}});
    verify(options, check, &*model);
  } catch (const Error& error) {
    TrustVerdict refused{error.code(), "", check ? check->signer() : "", false};
    if (model) refused.digest = integrity::model_digest(model->files.crypto(), model->files.files());
    say(refused);
    throw;
  }
  if (check) model->verdict.signer = check->signer();
  say(model->verdict);
  return std::move(*model);
}

ModelIdentity identify_model(const std::string& path) {
  ModelOptions options;
  options.content.domains.clear();  // any: who loads it decides what it may consist of
  const VerifiedModel model = verify_model_bytes({path, {}, {}}, options);
  ModelIdentity identity{model.verdict.digest, {}};
  for (const integrity::ModelFile& file : model.files.files()) {
    identity.files.push_back({file.name, file.bytes.size(), integrity::to_hex(file.sha256)});
  }
  return identity;
}

ModelIdentity identify_operator_library(const std::string& path) {
  const integrity::CryptoContext crypto;
  const integrity::RegisteredFile file = integrity::identify_operator_library(crypto, path);
  return {integrity::model_digest(crypto, std::vector<integrity::RegisteredFile>{file}),
          {{file.name, file.size, file.sha256}}};
}

}  // namespace anya
