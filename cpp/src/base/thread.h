// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

namespace anya {

// Starts a thread that never receives the process's signals (they belong to the host's main thread) and carries `name`
// (15 characters are kept). Throws Error(kUnavailable) when the system gives no thread. The body must not throw.
std::jthread start_thread(const char* name, std::function<void()> body);

// Runs the body on a thread of its own that gives way to the process's others when cores are scarce (nice 10: about a
// tenth of a contended core), and waits for it. Throws what the body throws, or as above. Threads that the body starts
// give way as well. Blocks.
void run_quietly(const char* name, const std::function<void()>& body);

}  // namespace anya
