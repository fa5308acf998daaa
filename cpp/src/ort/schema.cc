// SPDX-License-Identifier: Apache-2.0
#include "ort/schema.h"

#include <array>
#include <string>
#include <string_view>

#include "anya/status.h"
#include "ort/error.h"
#include "ort/handle.h"

namespace anya::ort {
namespace {

constexpr int kTensor = 1;

std::string_view kind_name(int kind) {
  constexpr std::array<std::string_view, 7> kNames = {"of unknown kind", "a tensor",        "a sequence", "a map",
                                                      "an opaque value", "a sparse tensor", "an optional"};
  return kind >= 0 && kind < static_cast<int>(kNames.size()) ? kNames[static_cast<std::size_t>(kind)] : kNames[0];
}

// Reads one side of a model: its inputs or its outputs.
class SideReader {
 public:
  using Count = decltype(Api::session_get_input_count);
  using TypeInfo = decltype(Api::session_get_input_type_info);
  using Name = decltype(Api::session_get_input_name);

  SideReader(const Api& api, const RawSession* session, RawAllocator* allocator, const char* side)
      : api_(api), session_(session), allocator_(allocator), side_(side) {}

  std::vector<TensorSpec> read(Count count, TypeInfo type_info, Name name) const {
    std::size_t total = 0;
    ask(count(session_, &total));
    std::vector<TensorSpec> specs;
    for (std::size_t i = 0; i < total; ++i) {
      char* text = nullptr;
      ask(name(session_, i, allocator_, &text));
      std::string owned = text;
      ignore(api_, api_.allocator_free(allocator_, text));
      RawTypeInfo* raw = nullptr;
      ask(type_info(session_, i, &raw));
      const TypeInfoHandle type(raw, {&api_});
      specs.push_back(read_spec(std::move(owned), raw));
    }
    return specs;
  }

 private:
  void ask(RawStatus* status) const { check(api_, status, ErrorCode::kModelInvalid, side_); }

  [[noreturn]] void refuse(const std::string& name, const std::string& why) const {
    throw Error(ErrorCode::kModelInvalid, "the model's " + std::string(side_) + " '" + name + "' " + why);
  }

  TensorSpec read_spec(std::string name, const RawTypeInfo* type) const {
    int kind = 0;
    ask(api_.get_onnx_type_from_type_info(type, &kind));
    if (kind != kTensor) refuse(name, "is " + std::string(kind_name(kind)) + "; only tensors are run");
    const RawTensorInfo* info = nullptr;
    ask(api_.cast_type_info_to_tensor_info(type, &info));
    int element = 0;
    ask(api_.get_tensor_element_type(info, &element));
    const bool known = element > 0 && element <= UINT8_MAX && element_size(static_cast<DType>(element)) != 0;
    if (!known) refuse(name, "has ONNX element type " + std::to_string(element) + ", which is not run");

    TensorSpec spec;
    spec.dtype = static_cast<DType>(element);
    spec.ranked = api_.tensor_info_has_shape(info);
    if (spec.ranked) read_shape(name, info, &spec);
    spec.name = std::move(name);
    return spec;
  }

  void read_shape(const std::string& name, const RawTensorInfo* info, TensorSpec* spec) const {
    std::size_t rank = 0;
    ask(api_.get_dimensions_count(info, &rank));
    if (rank > kMaxRank) {
      refuse(name, "has " + std::to_string(rank) + " axes; the limit is " + std::to_string(kMaxRank));
    }
    std::array<std::int64_t, kMaxRank> dims{};
    std::array<const char*, kMaxRank> symbols{};
    ask(api_.get_dimensions(info, dims.data(), rank));
    ask(api_.get_symbolic_dimensions(info, symbols.data(), rank));
    spec->shape = Shape(std::span<const std::int64_t>(dims.data(), rank));
    for (std::size_t i = 0; i < rank; ++i) spec->symbols.emplace_back(symbols[i] != nullptr ? symbols[i] : "");
  }

  const Api& api_;
  const RawSession* session_;
  RawAllocator* allocator_;
  const char* side_;
};

}  // namespace

ModelSchema read_schema(const Api& api, const RawSession* session, RawAllocator* allocator) {
  ModelSchema schema;
  schema.inputs = SideReader(api, session, allocator, "input")
                      .read(api.session_get_input_count, api.session_get_input_type_info, api.session_get_input_name);
  schema.outputs =
      SideReader(api, session, allocator, "output")
          .read(api.session_get_output_count, api.session_get_output_type_info, api.session_get_output_name);
  return schema;
}

}  // namespace anya::ort
