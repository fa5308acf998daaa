// SPDX-License-Identifier: Apache-2.0
//
// Stands before the core's anya/request.h where relacy schedules: what the completion queue needs of a request.
#pragma once

#include "rehearsal.h"

namespace anya {

class Request {
 public:
  Request* next_completed = nullptr;
  rehearsal::Plain<unsigned> outcome{0};
  unsigned pusher = 0;
  unsigned number = 0;
};

}  // namespace anya
