// SPDX-License-Identifier: Apache-2.0
//
// Lets a Python program say where callgrind's sections begin and end. Built by instruction_budget.py, loaded with
// ctypes; outside valgrind every call does nothing. Thread-safe; owns nothing; never blocks.
#include <valgrind/callgrind.h>

extern "C" {

// Instructions count from here on; what was before ran uncounted, and much faster.
void anya_marks_begin() { CALLGRIND_START_INSTRUMENTATION; }

// Stops this thread's counting, or lets it go on.
void anya_marks_toggle() { CALLGRIND_TOGGLE_COLLECT; }

// Forgets what this thread has counted.
void anya_marks_zero() { CALLGRIND_ZERO_STATS; }

// Writes what this thread has counted since the last mark to a file of its own, under this name, and forgets it.
void anya_marks_dump(const char* name) { CALLGRIND_DUMP_STATS_AT(name); }

// Whether this process runs in valgrind.
int anya_marks_in_valgrind() { return static_cast<int>(RUNNING_ON_VALGRIND); }
}
