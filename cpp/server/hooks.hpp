#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "env/clock.hpp"
#include "gateway/operator_log.hpp"
#include "session/access.hpp"
#include "session/session.hpp"

namespace carillon {

/// A question for the application, on its way out of the shard: owns its text.
struct HookQuestion {
  std::uint64_t id = 0;
  Operation operation = Operation::connect;
  Transport transport = Transport::websocket;
  std::string client;
  std::string user;
  std::string channel;
  std::shared_ptr<const std::string> data;  ///< never null
  std::string token;
};

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
  std::string peer;
  std::uint16_t code = 0;
  std::string reason;
  Millis duration_ms = 0;
};

/// Where questions and log lines go: to the application's event loop. Thread-safe, never blocks. False: it is
/// closed or full.
class EventQueue {
 public:
  virtual ~EventQueue() = default;
  virtual bool push(HookQuestion question) = 0;
  virtual bool push(LogLine line) = 0;
};

/// Hands what is logged to the queue, when there is one. Set it before the server starts.
class EventLog final : public ConnectionLog, public OperatorLog {
 public:
  void set_queue(std::shared_ptr<EventQueue> queue) { queue_ = std::move(queue); }
  void write(const ConnectionRecord& record) override;
  void tell(OperatorNote note) override;
  /// Lines that the queue could not take, ever.
  [[nodiscard]] std::uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void push(LogLine line);

  std::shared_ptr<EventQueue> queue_;
  std::atomic<std::uint64_t> lost_{0};
};

/// Access with the application's hooks: where a pattern matches, the hook decides, everywhere else the rules.
/// Hooks are set before the server starts; the rest is thread-safe.
class HookAccess final : public Access {
 public:
  HookAccess(Access& rules, const Clock& clock) : rules_(rules), clock_(clock) {}

  void set_queue(std::shared_ptr<EventQueue> queue) { queue_ = std::move(queue); }
  /// Connect, subscribe or publish on channels that match one of `patterns` (connect: every client).
  void set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms);

  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override;

  /// The application's answer. False: nobody waits for it any more.
  bool resolve(std::uint64_t question, Verdict verdict);
  /// Denies what the application has not answered in time. From time to time, from one thread.
  void expire();
  /// Forgets what is open: nobody waits any more.
  void clear();

 private:
  struct Hook {
    std::vector<std::string> patterns;
    Millis deadline_ms = 5'000;
  };
  struct Pending {
    std::function<void(Verdict)> then;
    Millis due_ms = 0;
  };
  static constexpr std::size_t kOperations = 5;

  Access& rules_;
  const Clock& clock_;
  std::shared_ptr<EventQueue> queue_;
  std::array<Hook, kOperations> hooks_;
  std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, Pending> pending_;
};

}  // namespace carillon
