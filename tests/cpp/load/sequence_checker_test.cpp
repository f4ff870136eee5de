#include "load/sequence_checker.hpp"

#include <gtest/gtest.h>

#include <initializer_list>

namespace carillon::load {
namespace {

void hear_all(SequenceChecker& checker, std::size_t stream, std::initializer_list<std::uint64_t> numbers) {
  for (const std::uint64_t number : numbers) checker.hear(stream, number);
}

void expect_faults(const SequenceChecker& checker, std::uint64_t missing, std::uint64_t repeated,
                   std::uint64_t reordered) {
  EXPECT_EQ(checker.faults().missing, missing);
  EXPECT_EQ(checker.faults().repeated, repeated);
  EXPECT_EQ(checker.faults().reordered, reordered);
}

TEST(SequenceChecker, FindsNothingInWhatIsWhole) {
  SequenceChecker checker(2);
  hear_all(checker, 0, {0, 1, 2, 3});
  hear_all(checker, 1, {0, 1});
  checker.end(0, 4);
  checker.end(1, 2);
  expect_faults(checker, 0, 0, 0);
}

TEST(SequenceChecker, CountsAGap) {
  SequenceChecker checker(1);
  hear_all(checker, 0, {0, 1});
  const auto verdict = checker.hear(0, 5);
  EXPECT_TRUE(verdict.is_new);
  EXPECT_EQ(verdict.skipped, 3U);
  expect_faults(checker, 3, 0, 0);
}

TEST(SequenceChecker, CountsWhatIsMissingAtBothEnds) {
  SequenceChecker checker(2);
  hear_all(checker, 0, {2});
  checker.end(0, 5);
  checker.end(1, 1);
  expect_faults(checker, 2 + 2 + 1, 0, 0);
}

TEST(SequenceChecker, CountsARepetitionOnceEachTime) {
  SequenceChecker checker(1);
  hear_all(checker, 0, {0, 1, 1, 2, 0, 2});
  EXPECT_FALSE(checker.hear(0, 1).is_new);
  expect_faults(checker, 0, 4, 0);
}

TEST(SequenceChecker, ALateOneIsReorderedNotMissing) {
  SequenceChecker checker(1);
  hear_all(checker, 0, {0, 2, 1, 3});
  checker.end(0, 4);
  expect_faults(checker, 0, 0, 1);
  hear_all(checker, 0, {1});  // and now it is one too many
  expect_faults(checker, 0, 1, 1);
}

TEST(SequenceChecker, RemembersSixtyFourNumbers) {
  SequenceChecker checker(1);
  checker.hear(0, 0);
  for (std::uint64_t number = 2; number <= 64; ++number) checker.hear(0, number);
  hear_all(checker, 0, {1, 0});
  expect_faults(checker, 0, 1, 1);
  checker.hear(0, 66);  // 65 is missing for good once 64 more have come
  for (std::uint64_t number = 67; number <= 200; ++number) checker.hear(0, number);
  checker.hear(0, 65);
  expect_faults(checker, 1, 2, 1);
}

TEST(SequenceChecker, AWideGapForgetsWhatWasBefore) {
  SequenceChecker checker(1);
  hear_all(checker, 0, {0, 1'000, 999, 1'000});
  expect_faults(checker, 998, 1, 1);
}

TEST(SequenceChecker, StreamsAreApart) {
  SequenceChecker checker(3);
  hear_all(checker, 1, {0, 1, 2});
  EXPECT_TRUE(checker.hear(0, 0).is_new);
  EXPECT_TRUE(checker.hear(2, 0).is_new);
  expect_faults(checker, 0, 0, 0);
}

}  // namespace
}  // namespace carillon::load
