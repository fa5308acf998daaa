// SPDX-License-Identifier: Apache-2.0
#include "stats/prediction.h"

#include <cmath>
#include <limits>
#include <vector>

#include "support/check.h"

using anya::Prediction;

namespace {

bool near(double a, double b) { return std::abs(a - b) < 1e-5; }

// By itself, and in each place of six rows, of which four are looked at together: company makes no difference.
Prediction predict(const std::vector<float>& row, bool logits) {
  const float* const alone = row.data();
  Prediction by_itself{};
  anya::predict({&alone, 1}, row.size(), logits, {&by_itself, 1});
  for (std::size_t place = 0; place < 6; ++place) {
    std::vector<std::vector<float>> others(6, std::vector<float>(row.size()));
    for (std::size_t i = 0; i < 6; ++i) others[i][i % row.size()] = static_cast<float>(i);
    others[(place + 1) % 6].assign(row.size(), std::numeric_limits<float>::quiet_NaN());
    std::vector<const float*> rows;
    for (std::size_t i = 0; i < 6; ++i) rows.push_back(i == place ? row.data() : others[i].data());
    std::vector<Prediction> all(6);
    anya::predict(rows, row.size(), logits, all);
    const Prediction& found = all[place];
    EXPECT_EQ(found.decided, by_itself.decided);
    if (!found.decided) continue;
    EXPECT_EQ(found.top, by_itself.top);
    EXPECT_TRUE(near(found.confidence, by_itself.confidence) && near(found.margin, by_itself.margin));
    EXPECT_TRUE(near(found.entropy, by_itself.entropy));
  }
  return by_itself;
}

}  // namespace

TEST(Prediction, EqualLogitsAreAGuess) {
  for (const std::size_t classes : {2u, 3u, 4u, 5u, 9u, 1000u}) {
    const Prediction found = predict(std::vector<float>(classes, 7.0F), true);
    EXPECT_TRUE(found.decided && found.top == 0 && near(found.margin, 0) && near(found.entropy, 1));
    EXPECT_TRUE(near(found.confidence, 1.0 / static_cast<double>(classes)));
  }
}

TEST(Prediction, TheFirstOfEqualOnesIsTheClass) {
  for (std::size_t classes = 2; classes < 14; ++classes) {
    for (std::size_t first = 0; first < classes; ++first) {
      for (std::size_t second = first + 1; second < classes; ++second) {
        std::vector<float> row(classes, -1.0F);
        row[first] = row[second] = 3.0F;
        const Prediction found = predict(row, true);
        EXPECT_TRUE(found.decided && found.top == first && found.margin == 0);
      }
    }
  }
}

TEST(Prediction, FarLogitsAreCertainAndDoNotOverflow) {
  const Prediction found = predict(std::vector<float>{-3e38F, 3e38F, -std::numeric_limits<float>::infinity()}, true);
  EXPECT_TRUE(found.decided && found.top == 1);
  EXPECT_TRUE(near(found.confidence, 1) && near(found.margin, 1) && near(found.entropy, 0));
}

TEST(Prediction, OneNumberIsTheSecondOfTwoClasses) {
  EXPECT_EQ(predict(std::vector<float>{0.9F}, false).top, 1u);
  EXPECT_EQ(predict(std::vector<float>{0.1F}, false).top, 0u);
  EXPECT_TRUE(near(predict(std::vector<float>{0.1F}, false).confidence, 0.9));
  EXPECT_TRUE(near(predict(std::vector<float>{0.0F}, true).entropy, 1));
}

TEST(Prediction, WhatIsNoDistributionIsUndecided) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<std::vector<float>> wrong = {{0.5F, 0.4F}, {1.5F, -0.5F}, {kNan, 1.0F}, {1.2F}, {kInfinity, 0.0F}};
  for (const std::vector<float>& each : wrong) EXPECT_TRUE(!predict(each, false).decided);
  EXPECT_TRUE(!predict(std::vector<float>{1.0F, kNan, 2.0F}, true).decided);
  EXPECT_TRUE(!predict(std::vector<float>{1.0F, kInfinity}, true).decided);
  EXPECT_TRUE(!predict(std::vector<float>(5, -kInfinity), true).decided);
}
