// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <csignal>
#include <exception>
#include <string>
#include <system_error>
#include <utility>

#include <pthread.h>
#include <sys/resource.h>

#include "anya/status.h"

namespace anya {
namespace {
constexpr int kQuietly = 10;
}  // namespace

std::jthread start_thread(const char* name, std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // a new thread inherits the mask
  try {
    std::jthread thread([body = std::move(body)] { body(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    pthread_setname_np(thread.native_handle(), std::string(name).substr(0, 15).c_str());
    return thread;
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw Error(ErrorCode::kUnavailable, std::string("the system gave no thread for '") + name + "' (" + error.what() +
                                             "); raise the limit of processes or use fewer instances");
  }
}

void run_quietly(const char* name, const std::function<void()>& body) {
  std::exception_ptr failure;
  start_thread(name, [&body, &failure] {
    // Of this thread alone, on Linux. Refused where a host forbids it: then it is as urgent as the others.
    static_cast<void>(setpriority(PRIO_PROCESS, 0, kQuietly));
    try {
      body();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace anya
