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
#include "session/access.hpp"
#include "session/operation_histograms.hpp"
#include "session/question_queue.hpp"

namespace carillon {

/// Takes questions to the application's event loop. Thread-safe, never blocks. False: it is closed.
class HookQueue {
 public:
  virtual ~HookQueue() = default;
  virtual bool push(HookQuestion question) = 0;
};

/// Access with the application's hooks. Where a pattern matches, the hook decides; elsewhere the rules
/// decide. Only an answer denies. A question that is not answered in time stays undecided.
///
/// Connects have a queue of their own, so that other questions, however many, do not block new clients. So do
/// notices of disconnects, which have no deadline: nobody waits for them. The
/// application has at most `hooks_at_once` questions of a queue at a time, in turns among the clients.
/// Further questions wait here, where their deadline ends them before a hook runs in vain. A queue holds at
/// most `hook_questions` questions and `hook_question_bytes`.
///
/// Hooks are set before the server starts. The rest is thread-safe.
class HookAccess final : public Access {
 public:
  HookAccess(Access& rules, const Clock& clock, const Limits& limits)
      : rules_(rules), clock_(clock), limits_(limits) {}

  void set_queue(std::shared_ptr<HookQueue> queue) { application_ = std::move(queue); }
  /// Questions about channels (rpc: methods) that match one of `patterns`; `*` for those about a client.
  void set_hook(Operation operation, std::vector<std::string> patterns, Millis deadline_ms);

  [[nodiscard]] std::optional<Verdict> answer(const Question& question) const override;
  void ask(const Question& question, std::function<void(Verdict)> then) override;
  [[nodiscard]] bool has_hook(Operation operation) const override {
    return !hooks_.at(static_cast<std::size_t>(operation)).patterns.empty();
  }
  [[nodiscard]] bool asks_hook(Operation operation, std::string_view subject) const override;

  /// The application's answer. It gives one to each question that it gets, however late. False: the question
  /// has ended already.
  bool resolve(std::uint64_t question, Verdict verdict);
  /// Ends the questions whose deadline has passed. Called from time to time, by one thread.
  void expire();
  /// Forgets all open questions, without an answer.
  void clear();

  /// From a client's question to the application's answer, in time or not.
  [[nodiscard]] const Histogram& latency(Operation operation) const {
    return latencies_.at(static_cast<std::size_t>(operation));
  }
  /// Questions that are under way now.
  [[nodiscard]] std::size_t open() const;
  /// Questions that ended without a decision, ever: the hook was late, or failed, or could not be asked.
  [[nodiscard]] std::uint64_t undecided() const { return undecided_.load(std::memory_order_relaxed); }
  /// Questions for which there was no room, ever.
  [[nodiscard]] std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
  /// Notices of disconnects for which there was no room, ever.
  [[nodiscard]] std::uint64_t lost_notices() const { return lost_notices_.load(std::memory_order_relaxed); }

 private:
  using Then = QuestionQueue::Then;
  struct Hook {
    std::vector<std::string> patterns;
    Millis deadline_ms = 5'000;
  };

  [[nodiscard]] QuestionQueue& queue_of(Operation operation) {
    if (operation == Operation::disconnect) return queues_[2];
    return queues_[operation == Operation::connect ? 0 : 1];
  }
  [[nodiscard]] bool has_room(const QuestionQueue& queue, std::size_t bytes) const;
  void end_undecided(const std::vector<Then>& questions, const char* reason);
  /// Gives the application as many questions as it may have. Those that it does not take go into `unasked`.
  void hand_over(QuestionQueue& queue, std::vector<Then>& unasked);

  Access& rules_;
  const Clock& clock_;
  const Limits& limits_;
  std::shared_ptr<HookQueue> application_;
  std::array<Hook, kOperations> hooks_;
  mutable std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::array<QuestionQueue, 3> queues_;  // connects, everything else, notices
  OperationHistograms latencies_;
  std::atomic<std::uint64_t> undecided_{0};
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> lost_notices_{0};
};

}  // namespace carillon
