#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "env/clock.hpp"
#include "env/limits.hpp"
#include "server/question_queue.hpp"
#include "session/access.hpp"

namespace carillon {

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
/// application has at most `hooks_at_once` questions of a queue at a time, in turns among the clients.
/// Further ones wait here, where their deadline ends them before a hook runs in vain. A queue holds at most
/// `hook_questions` questions and `hook_question_bytes`.
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
  using Then = QuestionQueue::Then;
  struct Hook {
    std::vector<std::string> patterns;
    Millis deadline_ms = 5'000;
  };
  static constexpr std::size_t kOperations = 5;

  [[nodiscard]] QuestionQueue& queue_of(Operation operation) {
    return queues_[operation == Operation::connect ? 0 : 1];
  }
  [[nodiscard]] bool has_room(const QuestionQueue& queue, std::size_t bytes) const;
  void end_undecided(const std::vector<Then>& questions, const char* reason);
  /// Gives the application as many as it may have. Those that it cannot take are added to `unasked`.
  void hand_over(QuestionQueue& queue, std::vector<Then>& unasked);

  Access& rules_;
  const Clock& clock_;
  const Limits& limits_;
  std::shared_ptr<HookQueue> application_;
  std::array<Hook, kOperations> hooks_;
  mutable std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::array<QuestionQueue, 2> queues_;  // connects, everything else
  std::atomic<std::uint64_t> undecided_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace carillon
