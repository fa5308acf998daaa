// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/clock.h"
#include "anya/status.h"

namespace anya {

// What goes wrong on purpose in a model's runs: for rehearsing what a service does then.
struct Faults {
  double rate = 1.0;                // of the requests that it befalls, chosen by their number
  Nanos delay = 0;                  // before the run
  ErrorCode code = ErrorCode::kOk;  // instead of the run; kOk: it goes on
  bool device_lost = false;         // the code comes from a device that is lost
};

}  // namespace anya
