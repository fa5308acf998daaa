// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "cache/eviction.h"

namespace anya::cache {
namespace {

// A hit only notes its time on the entry, while the entry stays filed under an older one. So the file's order is a
// lower bound: the front is the oldest if its note agrees, else it is filed anew and the next front looked at.
class Lru final : public Eviction {
 public:
  void hit(Entry& entry, Nanos now) const noexcept override { entry.used.store(now, std::memory_order_relaxed); }

  void add(Entry& entry, Nanos now) override {
    entry.used.store(now, std::memory_order_relaxed);
    entry.rank = {now, entry.serial};
    file_.emplace(entry.rank, &entry);
  }

  void remove(Entry& entry) noexcept override { file_.erase(entry.rank); }

  Entry* evict() noexcept override {
    while (!file_.empty()) {
      Entry& oldest = *file_.begin()->second;
      const Nanos used = oldest.used.load(std::memory_order_relaxed);
      auto node = file_.extract(file_.begin());
      if (used <= oldest.rank.first) return &oldest;
      oldest.rank.first = used;
      node.key() = oldest.rank;
      file_.insert(std::move(node));  // the node is there: nothing is allocated
    }
    return nullptr;
  }

  [[nodiscard]] std::size_t overhead() const noexcept override { return 80; }  // a node, with its heap's

 private:
  std::map<std::pair<Nanos, std::uint64_t>, Entry*> file_;
};

}  // namespace

std::unique_ptr<Eviction> make_lru() { return std::make_unique<Lru>(); }

}  // namespace anya::cache
