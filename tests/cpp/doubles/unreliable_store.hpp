#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/forwarding_store.hpp"
#include "store/memory_store.hpp"

namespace carillon {

/// The memory store, whose answers (not its announcements) can wait for answer(), or be errors.
class UnreliableStore final : public ForwardingStore<> {
 public:
  UnreliableStore(const Clock& clock, RandomSource& random, StoreLimits limits = {})
      : ForwardingStore(memory_), memory_(clock, random, limits) {}

  bool is_late = false;
  bool is_unavailable = false;
  /// Gives the answers that wait.
  void answer() {
    std::vector<std::function<void()>> answers;
    answers.swap(waiting_);
    for (auto& each : answers) each();
  }
  [[nodiscard]] StoreState save() {
    const auto still = memory_.hold_still();
    return memory_.save();
  }
  void restore(const StoreState& state) { memory_.restore(state); }

  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override {
    if (is_unavailable) {
      AppendResult failed;
      failed.error = StoreError::unavailable;
      return done(failed);
    }
    memory_.append(channel, std::move(entry), options, when_answered(std::move(done)));
  }
  /// Waits as a whole: the channel is not followed before its answer.
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override {
    if (is_unavailable) return done({.error = StoreError::unavailable, .top = {}});
    if (!is_late) return memory_.follow(channel, std::move(done));
    waiting_.push_back([this, name = std::string(channel), done = std::move(done)] {
      is_unavailable ? done({.error = StoreError::unavailable, .top = {}}) : memory_.follow(name, done);
    });
  }
  void inbox(std::string_view user, std::size_t limit,
             std::function<void(const InboxResult&)> done) override {
    if (is_unavailable) return done({StoreError::unavailable, {}});
    memory_.inbox(user, limit, when_answered(std::move(done)));
  }

 private:
  template <typename Result>
  std::function<void(const Result&)> when_answered(std::function<void(const Result&)> done) {
    return [this, done = std::move(done)](const Result& result) {
      if (!is_late) return done(result);
      waiting_.push_back([done, result] { done(result); });
    };
  }

  MemoryStore memory_;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace carillon
