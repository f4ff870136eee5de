// What becomes of log lines on their way to the application.
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

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
  EventLog log;
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
  EventLog log;
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
  EventLog log;
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

}  // namespace
}  // namespace carillon
