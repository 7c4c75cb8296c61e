#include "stream/chunk.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace infertrail {
namespace {

TEST(GapReason, EveryReasonHasItsOwnName) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(GapReason::kProbeMissed); i++)
    names.insert(gap_reason_name(static_cast<GapReason>(i)));
  EXPECT_EQ(names.size(), static_cast<size_t>(GapReason::kProbeMissed) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace infertrail
