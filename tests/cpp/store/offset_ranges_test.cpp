#include "store/offset_ranges.hpp"

#include <gtest/gtest.h>

#include <set>

#include "doubles/seeded_random.hpp"

namespace carillon {
namespace {

TEST(OffsetRanges, AreTheSetOfWhatWasAddedInAnyOrder) {
  SeededRandom random(1);
  for (int round = 0; round < 100; ++round) {
    OffsetRanges ranges;
    std::set<Offset> offsets;
    for (int i = 0; i < 60; ++i) {
      const Offset offset = 1 + random.below(80);
      EXPECT_EQ(ranges.add(offset), offsets.insert(offset).second);
    }
    for (Offset offset = 0; offset < 90; ++offset)
      EXPECT_EQ(ranges.contains(offset), offsets.contains(offset)) << offset;
    EXPECT_EQ(ranges.hull().first, *offsets.begin());
    EXPECT_EQ(ranges.hull().last, *offsets.rbegin());
    Offset before = 0;
    while (!ranges.is_empty()) {
      const OffsetRange range = ranges.take_first();
      const bool joins = before > 0 && range.first == before + 1;
      EXPECT_FALSE(joins) << "neighbours are one range";
      before = range.last;
      for (Offset offset = range.first; offset <= range.last; ++offset) offsets.erase(offset);
    }
    EXPECT_TRUE(offsets.empty());
  }
}

TEST(OffsetRanges, BeyondTheirBoundTheLowestAreJoined) {
  OffsetRanges ranges;
  for (Offset i = 1; i <= OffsetRanges::kRanges + 5; ++i) EXPECT_TRUE(ranges.add(2 * i));
  const OffsetRange first = ranges.take_first();
  EXPECT_EQ(first.first, 2U);
  EXPECT_EQ(first.last, 12U);
  EXPECT_TRUE(ranges.contains(14));
  EXPECT_FALSE(ranges.contains(15));
}

}  // namespace
}  // namespace carillon
