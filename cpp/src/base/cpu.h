// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace anya {

// Cores this process may use: the smaller of its affinity mask and its cgroup's CPU quota (rounded up); at least 1.
int usable_cores();

}  // namespace anya
