#pragma once

#include <array>
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
#include "env/limits.hpp"
#include "gateway/operator_log.hpp"
#include "server/record_rate.hpp"
#include "session/session.hpp"

namespace carillon {

/// A line of the log.
struct LogLine {
  std::string logger;  ///< "access" or "server"
  LogLevel level = LogLevel::info;
  std::string message;
  std::string_view event;  ///< one word for machines; a literal
  std::vector<std::pair<std::string_view, std::int64_t>> numbers;
  std::vector<std::pair<std::string_view, std::string>> texts;
  bool is_connection = false;  ///< the fields below are set
  ConnectionEvent connection_event = ConnectionEvent::connect;
  Transport transport = Transport::websocket;
  std::string client;
  std::string user;
  std::string claimed_user;
  std::string channel;
  std::string peer;
  std::string request;
  std::vector<std::string> channels;
  std::uint64_t subscriptions = 0;
  std::uint64_t lost_from = 0;
  std::uint64_t lost_to = 0;
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

/// Writes log lines to the queue, if there is one, at most limits.log_records_per_s of each event. What
/// clients say is cut to kTextBytes. Set the queue before the server starts.
class EventLog final : public ConnectionLog, public OperatorLog {
 public:
  static constexpr std::size_t kTextBytes = 1'024;

  EventLog(const Clock& clock, const Limits& limits) : clock_(clock), limits_(limits) {}
  void set_queue(std::shared_ptr<LogQueue> queue) { queue_ = std::move(queue); }
  void write(const ConnectionRecord& record) override;
  void tell(OperatorNote note) override;
  /// Number of records for the operator since the start, by event.
  [[nodiscard]] std::map<std::string_view, std::uint64_t> events() const;
  /// Reports how many records were suppressed, where that is due. Call it from time to time; `is_last`: at
  /// the end.
  void report_suppressed(bool is_last = false);
  /// Records over limits.log_records_per_s, ever.
  [[nodiscard]] std::uint64_t suppressed() const { return suppressed_.load(std::memory_order_relaxed); }
  /// Lines that the queue could not take, ever.
  [[nodiscard]] std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void push(LogLine line);
  /// With the mutex held.
  [[nodiscard]] bool takes(RecordRate& rate);

  const Clock& clock_;
  const Limits& limits_;
  std::shared_ptr<LogQueue> queue_;
  std::atomic<std::uint64_t> suppressed_{0};
  std::atomic<std::uint64_t> lost_{0};
  mutable std::mutex mutex_;
  // Guarded by the mutex:
  std::map<std::string_view, std::uint64_t> events_;  // of the operator
  std::map<std::string_view, RecordRate> rates_;
};

}  // namespace carillon
