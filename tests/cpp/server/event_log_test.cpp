// What becomes of log lines on their way to the application.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doubles/virtual_clock.hpp"
#include "server/event_log.hpp"

namespace carillon {
namespace {

class NarrowQueue final : public LogQueue {
 public:
  bool push(LogLine line) override {
    if (is_full) return false;
    lines.push_back(std::move(line));
    return true;
  }
  bool is_full = false;
  std::vector<LogLine> lines;
};

TEST(EventLog, CountsTheLinesThatTheQueueCannotTake) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  const Limits limits;
  EventLog log(clock, limits);
  log.tell({.message = "nobody listens"});
  EXPECT_EQ(log.lost(), 0U);
  log.set_queue(queue);
  log.tell({.message = "one"});
  log.write({.client = "c1"});
  EXPECT_EQ(queue->lines.size(), 2U);
  EXPECT_EQ(log.lost(), 0U);
  queue->is_full = true;
  log.tell({.message = "two"});
  log.write({.client = "c2"});
  EXPECT_EQ(log.lost(), 2U);
}

TEST(EventLog, ARecordReadsAsASentence) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  const Limits limits;
  EventLog log(clock, limits);
  log.set_queue(queue);
  log.write({.client = "c1", .user = "ann", .peer = "192.0.2.1:1024"});
  log.write({.event = ConnectionEvent::close,
             .transport = Transport::sse,
             .client = "c1",
             .code = 3001,
             .reason = "shutdown"});
  log.write({.event = ConnectionEvent::refuse,
             .transport = Transport::poll,
             .peer = "[2001:db8::1]:1",
             .code = 403,
             .reason = "no"});
  log.write({.event = ConnectionEvent::refuse, .code = 3507, .reason = "no", .claimed_user = "admin"});
  ASSERT_EQ(queue->lines.size(), 4U);
  EXPECT_EQ(queue->lines[0].message, "websocket connect c1 (ann) from 192.0.2.1:1024");
  EXPECT_EQ(queue->lines[1].message, "sse close c1: 3001 shutdown");
  EXPECT_EQ(queue->lines[2].message, "poll refuse from [2001:db8::1]:1: 403 no");
  EXPECT_EQ(queue->lines[3].message, "websocket refuse (claims to be admin): 3507 no");
  EXPECT_EQ(queue->lines[3].user, "") << "nobody has proved it";
}

TEST(EventLog, PassesOnAllThatARecordHas) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  const Limits limits;
  EventLog log(clock, limits);
  log.write({});  // nobody reads yet
  log.set_queue(queue);
  ConnectionRecord record;
  record.event = ConnectionEvent::close;
  record.transport = Transport::sse;
  record.client = "id";
  record.user = "ann";
  record.code = 3001;
  record.reason = "shutdown";
  record.duration_ms = 1'234;
  log.write(record);
  ASSERT_EQ(queue->lines.size(), 1U);
  const LogLine& line = queue->lines[0];
  EXPECT_EQ(line.message, "sse close id (ann): 3001 shutdown");
  EXPECT_EQ(line.duration_ms, 1'234);
  EXPECT_EQ(line.code, 3001);
}

TEST(EventLog, OfOneEventThereAreSoManyRecordsASecondAndTheOthersAreCounted) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  Limits limits;
  limits.log_records_per_s = 3;
  EventLog log(clock, limits);
  log.set_queue(queue);
  for (int i = 0; i < 10; ++i) log.write({.event = ConnectionEvent::refuse});
  for (int i = 0; i < 2; ++i) log.write({.event = ConnectionEvent::connect});
  EXPECT_EQ(queue->lines.size(), 5U) << "each event has its own limit";
  EXPECT_EQ(log.suppressed(), 7U);
  log.report_suppressed();
  ASSERT_EQ(queue->lines.size(), 6U);
  const LogLine& told = queue->lines.back();
  EXPECT_EQ(told.event, "records_suppressed");
  ASSERT_EQ(told.texts.size(), 1U);
  EXPECT_EQ(told.texts[0].second, "refuse");
  EXPECT_EQ(told.numbers[0].second, 7);
  clock.advance(1'000);
  for (int i = 0; i < 4; ++i) log.write({.event = ConnectionEvent::refuse});
  EXPECT_EQ(queue->lines.size(), 9U) << "the next second has room again";
  log.report_suppressed();
  EXPECT_EQ(queue->lines.size(), 9U) << "10 s between two reports";
  clock.advance(9'000);
  log.report_suppressed();
  ASSERT_EQ(queue->lines.size(), 10U);
  EXPECT_EQ(queue->lines.back().numbers[0].second, 1);
  log.report_suppressed(true);
  EXPECT_EQ(queue->lines.size(), 10U) << "there is nothing to report";
}

TEST(EventLog, RecordsForTheOperatorAreLimitedAsWellAndCountedAll) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  Limits limits;
  limits.log_records_per_s = 2;
  EventLog log(clock, limits);
  log.set_queue(queue);
  for (int i = 0; i < 5; ++i) log.tell({.event = "proxy", .message = "again"});
  EXPECT_EQ(queue->lines.size(), 2U);
  EXPECT_EQ(log.events().at("proxy"), 5U);
  limits.log_records_per_s = 0;  // a reload
  for (int i = 0; i < 5; ++i) log.tell({.event = "proxy", .message = "again"});
  EXPECT_EQ(queue->lines.size(), 7U) << "0 means unlimited";
}

TEST(EventLog, WhatClientsSayIsCutBetweenTwoCharacters) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  const Limits limits;
  EventLog log(clock, limits);
  log.set_queue(queue);
  std::string name(EventLog::kTextBytes - 1, 'a');
  name += "é and more";
  log.write({.event = ConnectionEvent::refuse, .claimed_user = name, .channel = name});
  const LogLine& line = queue->lines.at(0);
  EXPECT_EQ(line.channel, std::string(EventLog::kTextBytes - 1, 'a') + "…");
  EXPECT_EQ(line.claimed_user, line.channel);
  EXPECT_LT(line.message.size(), 2 * EventLog::kTextBytes);
}

TEST(EventLog, ALossNamesItsChannelAndOffsets) {
  const auto queue = std::make_shared<NarrowQueue>();
  VirtualClock clock;
  const Limits limits;
  EventLog log(clock, limits);
  log.set_queue(queue);
  log.write({.event = ConnectionEvent::gap,
             .client = "c1",
             .reason = "trimmed",
             .channel = "news",
             .lost_from = 4,
             .lost_to = 9});
  const std::array<std::string_view, 2> channels{"news", "chat"};
  log.write({.event = ConnectionEvent::close, .client = "c1", .channels = channels, .subscriptions = 12});
  EXPECT_EQ(queue->lines.at(0).message, "websocket gap c1 in 'news': trimmed");
  EXPECT_EQ(queue->lines[0].lost_from, 4U);
  EXPECT_EQ(queue->lines[0].lost_to, 9U);
  EXPECT_EQ(queue->lines.at(1).channels, (std::vector<std::string>{"news", "chat"}));
  EXPECT_EQ(queue->lines[1].subscriptions, 12U);
}

}  // namespace
}  // namespace carillon
