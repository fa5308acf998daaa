// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <csignal>
#include <string>
#include <system_error>
#include <utility>

#include <pthread.h>

#include "anya/status.h"

namespace anya {

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

}  // namespace anya
