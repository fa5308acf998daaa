// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "anya/session.h"

namespace anya {

// |together - alone| <= atol + rtol * |alone|
struct Tolerance {
  double rtol = 1e-3;
  double atol = 1e-5;
};

// Whether row `row` of `together` is the answer `alone` gave for it (`alone` has one row). Floating types within the
// tolerance, NaN equal to NaN, infinities exact; integers, booleans and strings exactly. "" or where they differ.
// PURE; thread-safe.
std::string row_difference(const OutputBuffer& alone, const OutputBuffer& together, std::size_t row,
                           const Tolerance& tolerance);

// True for an answer of a floating type that holds values and not one of them finite: it can prove nothing. PURE;
// thread-safe.
bool nothing_finite(const OutputBuffer& output);

}  // namespace anya
