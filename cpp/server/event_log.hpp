#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "gateway/operator_log.hpp"
#include "session/session.hpp"

namespace carillon {

/// A line of the log.
struct LogLine {
  std::string logger;  ///< "access" or "server"
  LogLevel level = LogLevel::info;
  std::string message;
  std::string_view event;  ///< one word for machines; a literal
  std::vector<std::pair<std::string_view, std::int64_t>> numbers;
  bool is_connection = false;  ///< the fields below are set
  ConnectionEvent connection_event = ConnectionEvent::connect;
  Transport transport = Transport::websocket;
  std::string client;
  std::string user;
  std::string claimed_user;
  std::string channel;
  std::string peer;
  std::uint16_t code = 0;
  std::string reason;
  Millis duration_ms = 0;
};

/// Takes log lines to the application's event loop. Thread-safe, never blocks. False: it is closed or full.
class LogQueue {
 public:
  virtual ~LogQueue() = default;
  virtual bool push(LogLine line) = 0;
};

/// Writes log lines to the queue, if there is one. Set the queue before the server starts.
class EventLog final : public ConnectionLog, public OperatorLog {
 public:
  void set_queue(std::shared_ptr<LogQueue> queue) { queue_ = std::move(queue); }
  void write(const ConnectionRecord& record) override;
  void tell(OperatorNote note) override;
  /// Number of records for the operator since the start, by event.
  [[nodiscard]] std::map<std::string_view, std::uint64_t> events() const;
  /// Lines that the queue could not take, ever.
  [[nodiscard]] std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void push(LogLine line);

  std::shared_ptr<LogQueue> queue_;
  std::atomic<std::uint64_t> lost_{0};
  mutable std::mutex mutex_;
  std::map<std::string_view, std::uint64_t> events_;  // guarded by the mutex
};

}  // namespace carillon
