#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "env/limits.hpp"
#include "session/access.hpp"

namespace carillon {

/// A question for the application, on its way out of the shard: owns its text.
struct HookQuestion {
  std::uint64_t id = 0;
  Operation operation = Operation::connect;
  Transport transport = Transport::websocket;
  std::string client;
  std::string user;  ///< connect: whom the rules take the client for
  std::string channel;
  std::shared_ptr<const std::string> data;  ///< never null
  std::string token;
  std::string claimed_user;  ///< connect: who it says it is

  [[nodiscard]] std::size_t bytes() const {
    return sizeof(*this) + client.size() + user.size() + channel.size() + data->size() + token.size() +
           claimed_user.size();
  }
};

/// Where questions go: to the application's event loop. Thread-safe, never blocks. False: it is closed.
class HookQueue {
 public:
  virtual ~HookQueue() = default;
  virtual bool push(HookQuestion question) = 0;
};

/// Access with the application's hooks: where a pattern matches, the hook decides, everywhere else the rules.
/// Only an answer denies: a question that nobody answers in time stays undecided.
///
/// Connects have a queue of their own, so that no number of other questions keeps newcomers out. The
/// application has at most `hooks_at_once` questions of a queue at a time. Further ones wait here, where
/// their deadline ends them before a hook runs in vain. A queue holds at most `hook_questions` questions and
/// `hook_question_bytes`.
///
/// Hooks are set before the server starts; the rest is thread-safe.
class HookAccess final : public Access {
 public:
  HookAccess(Access& rules, const Clock& clock, const Limits& limits)
      : rules_(rules), clock_(clock), limits_(limits) {}

  void set_queue(std::shared_ptr<HookQueue> queue) { application_ = std::move(queue); }
  /// Connect, subscribe or publish on channels that match one of `patterns` (connect: every client).
  void set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms);

  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override;

  /// The application's answer; it gives one to each question that it gets, however late. False: nobody waits
  /// for it any more.
  bool resolve(std::uint64_t question, Verdict verdict);
  /// Ends the wait for what the application has not answered in time. From time to time, from one thread.
  void expire();
  /// Forgets what is open: nobody waits any more.
  void clear();

  /// Questions that are under way now.
  [[nodiscard]] std::size_t open() const;
  /// Questions that ended without a decision, ever: the hook was late, or failed, or nobody was there.
  [[nodiscard]] std::uint64_t undecided() const { return undecided_.load(std::memory_order_relaxed); }
  /// Questions for which there was no room, ever.
  [[nodiscard]] std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  using Then = std::function<void(Verdict)>;
  struct Hook {
    std::vector<std::string> patterns;
    Millis deadline_ms = 5'000;
  };
  struct Open {
    HookQuestion question;  // while it waits
    Then then;              // empty: the deadline has passed
    Millis due_ms = 0;
    std::size_t bytes = 0;
  };
  struct Queue {
    std::map<std::uint64_t, Open> waiting;  // by id: the oldest first
    std::map<std::uint64_t, Open> asked;    // the application has them
    std::size_t bytes = 0;                  // of both
  };
  static constexpr std::size_t kOperations = 5;

  [[nodiscard]] Queue& queue_of(Operation operation) {
    return queues_[operation == Operation::connect ? 0 : 1];
  }
  [[nodiscard]] bool has_room(const Queue& queue, std::size_t bytes) const;
  void end_undecided(const std::vector<Then>& questions, const char* reason);
  /// Gives the application as many as it may have. Those that it cannot take are added to `unasked`.
  void hand_over(Queue& queue, std::vector<Then>& unasked);

  Access& rules_;
  const Clock& clock_;
  const Limits& limits_;
  std::shared_ptr<HookQueue> application_;
  std::array<Hook, kOperations> hooks_;
  mutable std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::array<Queue, 2> queues_;  // connects, everything else
  std::atomic<std::uint64_t> undecided_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace carillon
