// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"

#include <algorithm>
#include <fstream>
#include <string>

#include <sched.h>

namespace anya {

int usable_cores() {
  int cores = 1;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) cores = std::max(1, CPU_COUNT(&mask));
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");  // cgroup v2: "quota period" in microseconds, or "max period"
  std::string quota;
  long period = 0;
  if (quota_file >> quota >> period && quota != "max" && period > 0) {
    const long allowed = (std::strtol(quota.c_str(), nullptr, 10) + period - 1) / period;
    if (allowed > 0) cores = std::min(cores, static_cast<int>(allowed));
  }
  return cores;
}

}  // namespace anya
