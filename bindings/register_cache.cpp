// SPDX-License-Identifier: Apache-2.0
//
// The response cache by itself, on bytes and a time that is passed in: what its rules are tested through.
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "anya/cache.h"
#include "bindings.h"

namespace anya::python {
namespace {

// One input of bytes, one output of bytes.
class BytesCache {
 public:
  BytesCache(const CacheOptions& options, std::uint64_t seed)
      : stale_if_error_(static_cast<Nanos>(options.stale_if_error * 1e9)), cache_(options, {seed, ~seed}) {}

  py::typing::Optional<py::typing::Tuple<py::bytes, py::int_>> find(const std::string& key, const std::string& tenant,
                                                                    Nanos now, bool after_error) {
    TensorView view;
    CacheQuestion question;
    ask(key, tenant, view, question);
    ResponseCache::Found found = cache_.find(question, now);
    if (found.answer == nullptr && after_error) found = cache_.find_after_error(question, now, stale_if_error_);
    if (found.answer == nullptr) return py::none();
    const OutputBuffer& output = found.answer->outputs()[0];
    return py::make_tuple(py::bytes(static_cast<const char*>(output.data), output.bytes), found.stale_age);
  }

  void insert(const std::string& key, const std::string& tenant, const std::string& value, Nanos now) {
    TensorView view;
    CacheQuestion question;
    ask(key, tenant, view, question);
    const OutputBuffer output{DType::kUInt8,
                              {static_cast<std::int64_t>(value.size())},
                              const_cast<char*>(value.data()),  // read only
                              value.size(),
                              nullptr};
    auto answer = std::make_shared<CachedAnswer>(std::span(&output, 1));
    cache_.insert(std::make_shared<CacheKey>(question), std::move(answer), now);
  }

  void clear() { cache_.clear(); }
  [[nodiscard]] CacheStats stats() const { return cache_.stats(); }

 private:
  void ask(const std::string& key, const std::string& tenant, TensorView& view, CacheQuestion& question) const {
    static constexpr std::uint32_t kOutputs[] = {0};
    view = {DType::kUInt8, {static_cast<std::int64_t>(key.size())}, key.data(), key.size()};
    cache_.ask(tenant, kOutputs, {&view, 1}, question);
  }

  const Nanos stale_if_error_;
  ResponseCache cache_;
};

}  // namespace

void register_cache(py::module_& module) {
  py::class_<BytesCache>(module, "BytesCache",
                         "A response cache by itself, for keys below 32 KiB. Thread-safe; times in nanoseconds.")
      .def(py::init<const CacheOptions&, std::uint64_t>(), py::arg("options"), py::arg("seed"))
      .def("find", &BytesCache::find, py::arg("key"), py::arg("tenant"), py::arg("now"), py::arg("after_error") = false,
           "The answer and by how much it is stale (-1: fresh), or None.")
      .def("insert", &BytesCache::insert, py::arg("key"), py::arg("tenant"), py::arg("value"), py::arg("now"),
           "Keeps an answer.")
      .def("clear", &BytesCache::clear, "Everything goes.")
      .def("stats", &BytesCache::stats, "Counters.");
}

}  // namespace anya::python
