#include "bindings/bridge.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace carillon {
namespace {

constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();

void push(Bridge& bridge, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t number = first; number <= last; ++number) {
    ReaderItem item;
    item.subscription = number;
    EXPECT_TRUE(bridge.push(std::move(item)));
  }
}

std::vector<std::uint64_t> take(Bridge& bridge, std::size_t items_max = 1'000) {
  std::vector<std::uint64_t> numbers;
  for (const BridgeItem& item : bridge.take(items_max)) numbers.push_back(item.reader.subscription);
  return numbers;
}

bool is_readable(const Bridge& bridge) {
  pollfd watched{bridge.descriptor(), POLLIN, 0};
  return ::poll(&watched, 1, 0) == 1;
}

TEST(Bridge, IsReadableWhileSomethingWaits) {
  Bridge bridge(10);
  EXPECT_FALSE(is_readable(bridge));
  push(bridge, 1, 1);
  EXPECT_TRUE(is_readable(bridge));
  push(bridge, 2, 3);
  EXPECT_EQ(take(bridge, 2), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_TRUE(is_readable(bridge));
  EXPECT_EQ(take(bridge, 2), (std::vector<std::uint64_t>{3}));
  EXPECT_FALSE(is_readable(bridge));
  push(bridge, 4, 4);
  EXPECT_TRUE(is_readable(bridge));
}

TEST(Bridge, KeepsTheOrderWhateverIsTakenAtOnce) {
  Bridge bridge(10);
  push(bridge, 1, 3);
  EXPECT_EQ(take(bridge, 2), (std::vector<std::uint64_t>{1, 2}));
  push(bridge, 4, 6);
  std::vector<std::uint64_t> rest;
  for (int round = 0; round < 10 && is_readable(bridge); ++round) {
    for (const std::uint64_t number : take(bridge, 2)) rest.push_back(number);
  }
  EXPECT_EQ(rest, (std::vector<std::uint64_t>{3, 4, 5, 6}));
}

TEST(Bridge, HasRoomForWhatIsMissingToItsCapacityAndForAnyBatchWhileItIsEmpty) {
  Bridge bridge(10);
  EXPECT_EQ(bridge.room(), kAny);
  push(bridge, 1, 4);
  EXPECT_EQ(bridge.room(), 6U);
  bridge.limit(5);
  bridge.limit(50);  // the least one holds
  EXPECT_EQ(bridge.room(), 1U);
  push(bridge, 5, 7);
  EXPECT_EQ(bridge.room(), 0U);
  take(bridge);
  EXPECT_EQ(bridge.room(), kAny);
}

TEST(Bridge, WhoWaitsForRoomIsCalledOnceHalfOfItIsFree) {
  Bridge bridge(4);
  int calls = 0;
  const auto count = [&calls] { ++calls; };
  bridge.when_room(count);
  EXPECT_EQ(calls, 1) << "it is empty: nobody would call later";
  push(bridge, 1, 4);
  bridge.when_room(count);
  take(bridge, 1);
  EXPECT_EQ(calls, 1);
  take(bridge, 1);
  EXPECT_EQ(calls, 2);
  take(bridge);
  EXPECT_EQ(calls, 2);
}

TEST(Bridge, WhenItIsFullTheLogGivesWayAndNoQuestionIsLost) {
  Bridge bridge(2);
  EXPECT_TRUE(bridge.push(LogLine{}));
  push(bridge, 1, 1);
  EXPECT_FALSE(bridge.push(LogLine{}));
  EXPECT_TRUE(bridge.push(HookQuestion{}));
  EXPECT_EQ(bridge.take(10).size(), 3U);
}

HookQuestion question(Operation operation, std::uint64_t id) {
  HookQuestion asked;
  asked.operation = operation;
  asked.id = id;
  return asked;
}

TEST(Bridge, AConnectIsHandedOverBeforeWhateverCameFirst) {
  Bridge bridge(1'000);
  for (std::uint64_t i = 0; i < 500; ++i) {
    EXPECT_TRUE(bridge.push(LogLine{}));
    EXPECT_TRUE(bridge.push(question(Operation::publish, i)));
  }
  EXPECT_TRUE(bridge.push(question(Operation::connect, 1'000)));
  const std::vector<BridgeItem> first = bridge.take(64);
  ASSERT_EQ(first.size(), 64U);
  ASSERT_TRUE(first[0].question);
  EXPECT_EQ(first[0].question->id, 1'000U);
  for (std::uint64_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(first[i + 1].question);
    EXPECT_EQ(first[i + 1].question->id, i) << "in their order";
  }
  for (std::size_t i = 5; i < 64; ++i) EXPECT_TRUE(first[i].line) << "they do not wait for all questions";
  std::size_t rest = 0;
  while (is_readable(bridge)) rest += bridge.take(64).size();
  EXPECT_EQ(rest, 1'001U - 64U);
}

TEST(Bridge, ClosedItTakesNothingAndGivesItsDescriptorBack) {
  Bridge bridge(2);
  push(bridge, 1, 1);
  int calls = 0;
  bridge.when_room([&calls] { ++calls; });
  bridge.close();
  EXPECT_EQ(calls, 1) << "who waits for room would wait for ever";
  EXPECT_EQ(::fcntl(bridge.descriptor(), F_GETFD), -1);
  EXPECT_FALSE(bridge.push(ReaderItem{}));
  EXPECT_TRUE(bridge.take(10).empty());
  bridge.close();
}

}  // namespace
}  // namespace carillon
