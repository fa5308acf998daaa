// SPDX-License-Identifier: Apache-2.0
//
// std::mutex with clang's thread-safety annotations, so that clang-tidy proves who guards what.
#pragma once

#include <mutex>

#if defined(__clang__)
#define ANYA_ATTRIBUTE(x) __attribute__((x))
#else
#define ANYA_ATTRIBUTE(x)
#endif
#define GUARDED_BY(x) ANYA_ATTRIBUTE(guarded_by(x))
#define REQUIRES_LOCK(x) ANYA_ATTRIBUTE(requires_capability(x))

namespace anya {

// Thread-safe. Not recursive.
class ANYA_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void lock() ANYA_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void unlock() ANYA_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

// Holds a Mutex for a scope.
class ANYA_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ANYA_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() ANYA_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace anya
