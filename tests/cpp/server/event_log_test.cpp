// What becomes of log lines on their way to the application.
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "server/hooks.hpp"

namespace carillon {
namespace {

class NarrowQueue final : public EventQueue {
 public:
  bool push(HookQuestion /*question*/) override { return false; }
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
  ASSERT_EQ(queue->lines.size(), 3U);
  EXPECT_EQ(queue->lines[0].message, "websocket connect c1 (ann) from 192.0.2.1:1024");
  EXPECT_EQ(queue->lines[1].message, "sse close c1: 3001 shutdown");
  EXPECT_EQ(queue->lines[2].message, "poll refuse from [2001:db8::1]:1: 403 no");
}

}  // namespace
}  // namespace carillon
