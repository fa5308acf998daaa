// SPDX-License-Identifier: Apache-2.0
//
// The slice of ONNX Runtime's C function table that we call. The table is a stable, append-only array of function
// pointers, and the wheels ship the library but no header: so the slots are named here, by number, and the library is
// opened at run time. Reading a slot needs no agreement on anything but its number and its signature.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace anya::ort {

// Opaque to us: only ONNX Runtime looks inside.
struct RawStatus;
struct RawEnv;
struct RawSession;
struct RawSessionOptions;
struct RawRunOptions;
struct RawValue;
struct RawMemoryInfo;
struct RawAllocator;
struct RawTypeInfo;
struct RawTensorInfo;  // element type and shape; borrowed from a RawTypeInfo
struct RawCudaOptions;

// Called by ONNX Runtime for each log line, from any of its threads.
using LogFunction = void (*)(void* self, int severity, const char* category, const char* id, const char* where,
                             const char* message);

// X(slot, name, result, (parameters)). A null RawStatus* is success; enumerations travel as int.
#define ANYA_ORT_SLOTS(X)                                                                                              \
  X(1, get_error_code, int, (const RawStatus*))                                                                        \
  X(2, get_error_message, const char*, (const RawStatus*))                                                             \
  X(3, create_env, RawStatus*, (int severity, const char* id, RawEnv** out))                                           \
  X(6, disable_telemetry_events, RawStatus*, (const RawEnv* env))                                                      \
  X(8, create_session_from_array, RawStatus*,                                                                          \
    (const RawEnv*, const void* model, std::size_t bytes, const RawSessionOptions*, RawSession** out))                 \
  X(9, run, RawStatus*,                                                                                                \
    (RawSession*, const RawRunOptions*, const char* const* input_names, const RawValue* const* inputs,                 \
     std::size_t input_count, const char* const* output_names, std::size_t output_count, RawValue** outputs))          \
  X(10, create_session_options, RawStatus*, (RawSessionOptions * *out))                                                \
  X(13, set_session_execution_mode, RawStatus*, (RawSessionOptions*, int mode))                                        \
  X(17, disable_mem_pattern, RawStatus*, (RawSessionOptions*))                                                         \
  X(19, disable_cpu_mem_arena, RawStatus*, (RawSessionOptions*))                                                       \
  X(22, set_session_log_severity_level, RawStatus*, (RawSessionOptions*, int severity))                                \
  X(23, set_session_graph_optimization_level, RawStatus*, (RawSessionOptions*, int level))                             \
  X(24, set_intra_op_num_threads, RawStatus*, (RawSessionOptions*, int threads))                                       \
  X(25, set_inter_op_num_threads, RawStatus*, (RawSessionOptions*, int threads))                                       \
  X(30, session_get_input_count, RawStatus*, (const RawSession*, std::size_t* out))                                    \
  X(31, session_get_output_count, RawStatus*, (const RawSession*, std::size_t* out))                                   \
  X(33, session_get_input_type_info, RawStatus*, (const RawSession*, std::size_t index, RawTypeInfo** out))            \
  X(34, session_get_output_type_info, RawStatus*, (const RawSession*, std::size_t index, RawTypeInfo** out))           \
  X(36, session_get_input_name, RawStatus*, (const RawSession*, std::size_t index, RawAllocator*, char** out))         \
  X(37, session_get_output_name, RawStatus*, (const RawSession*, std::size_t index, RawAllocator*, char** out))        \
  X(39, create_run_options, RawStatus*, (RawRunOptions * *out))                                                        \
  X(46, run_options_set_terminate, RawStatus*, (RawRunOptions*))                                                       \
  X(47, run_options_unset_terminate, RawStatus*, (RawRunOptions*))                                                     \
  X(48, create_tensor, RawStatus*,                                                                                     \
    (RawAllocator*, const std::int64_t* dims, std::size_t rank, int type, RawValue** out))                             \
  X(49, create_tensor_with_data, RawStatus*,                                                                           \
    (const RawMemoryInfo*, void* data, std::size_t bytes, const std::int64_t* dims, std::size_t rank, int type,        \
     RawValue** out))                                                                                                  \
  X(51, get_tensor_mutable_data, RawStatus*, (RawValue*, void** out))                                                  \
  X(53, get_string_tensor_data_length, RawStatus*, (const RawValue*, std::size_t* out))                                \
  X(54, get_string_tensor_content, RawStatus*,                                                                         \
    (const RawValue*, void* text, std::size_t bytes, std::size_t* offsets, std::size_t count))                         \
  X(55, cast_type_info_to_tensor_info, RawStatus*, (const RawTypeInfo*, const RawTensorInfo** out))                    \
  X(56, get_onnx_type_from_type_info, RawStatus*, (const RawTypeInfo*, int* out))                                      \
  X(60, get_tensor_element_type, RawStatus*, (const RawTensorInfo*, int* out))                                         \
  X(61, get_dimensions_count, RawStatus*, (const RawTensorInfo*, std::size_t* out))                                    \
  X(62, get_dimensions, RawStatus*, (const RawTensorInfo*, std::int64_t* dims, std::size_t count))                     \
  X(63, get_symbolic_dimensions, RawStatus*, (const RawTensorInfo*, const char** names, std::size_t count))            \
  X(69, create_cpu_memory_info, RawStatus*, (int allocator_type, int memory_type, RawMemoryInfo** out))                \
  X(76, allocator_free, RawStatus*, (RawAllocator*, void* memory))                                                     \
  X(78, get_allocator_with_default_options, RawStatus*, (RawAllocator * *out))                                         \
  X(92, release_env, void, (RawEnv*))                                                                                  \
  X(93, release_status, void, (RawStatus*))                                                                            \
  X(94, release_memory_info, void, (RawMemoryInfo*))                                                                   \
  X(95, release_session, void, (RawSession*))                                                                          \
  X(96, release_value, void, (RawValue*))                                                                              \
  X(97, release_run_options, void, (RawRunOptions*))                                                                   \
  X(98, release_type_info, void, (RawTypeInfo*))                                                                       \
  X(100, release_session_options, void, (RawSessionOptions*))                                                          \
  X(125, get_available_providers, RawStatus*, (char*** names, int* count))                                             \
  X(126, release_available_providers, RawStatus*, (char** names, int count))                                           \
  X(130, add_session_config_entry, RawStatus*, (RawSessionOptions*, const char* key, const char* value))               \
  X(204, append_cuda_provider, RawStatus*, (RawSessionOptions*, const RawCudaOptions*))                                \
  X(205, create_cuda_options, RawStatus*, (RawCudaOptions * *out))                                                     \
  X(206, update_cuda_options, RawStatus*,                                                                              \
    (RawCudaOptions*, const char* const* keys, const char* const* values, std::size_t count))                          \
  X(208, release_cuda_options, void, (RawCudaOptions*))                                                                \
  X(216, append_provider, RawStatus*,                                                                                  \
    (RawSessionOptions*, const char* name, const char* const* keys, const char* const* values, std::size_t count))     \
  X(228, register_custom_ops_library, RawStatus*, (RawSessionOptions*, const char* path))                              \
  X(252, get_resized_string_element, RawStatus*, (RawValue*, std::size_t index, std::size_t bytes, char** out))        \
  X(266, set_user_logging_function, RawStatus*, (RawSessionOptions*, LogFunction, void* self))                         \
  X(279, add_external_files_in_memory, RawStatus*,                                                                     \
    (RawSessionOptions*, const char* const* names, char* const* buffers, const std::size_t* bytes, std::size_t count)) \
  X(390, tensor_info_has_shape, bool, (const RawTensorInfo*))                                                          \
  X(414, get_tensor_type_and_shape, RawStatus*,                                                                        \
    (const RawValue*, int* type, const std::int64_t** dims, std::size_t* rank))

// The slots as members, by their names. Immutable once read; thread-safe.
struct Api {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a type and a list of parameters take none
#define ANYA_ORT_MEMBER(slot, name, result, parameters) result(*name) parameters = nullptr;
  ANYA_ORT_SLOTS(ANYA_ORT_MEMBER)
#undef ANYA_ORT_MEMBER
};

// The oldest ONNX Runtime we run: 1.28. Older ones read files that nobody verified.
inline constexpr std::uint32_t kApiVersion = 28;

// An opened libonnxruntime. It is never closed again: its threads and thread-local destructors outlive any handle.
struct Library {
  std::string path;
  std::string version;  // "1.32.0"
  Api api;
};

// Opens `path` (absolute) and reads the table. Throws kConfigError, in words: not absolute, no such library, not
// ONNX Runtime, too old.
Library open_library(const std::string& path);

}  // namespace anya::ort
