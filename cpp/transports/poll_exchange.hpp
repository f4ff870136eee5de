#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session/session.hpp"
#include "transports/plain_request.hpp"

namespace carillon {

/// One `GET /poll`, from the request to the last byte of its answer: cursors that wait for a publication
/// (docs/plain-http.md). The position is in the request, so any gateway can answer any poll.
class PollExchange final : public Sink {
 public:
  struct Owner {
    std::function<void()> ready_soon;         ///< call finish_turn() before this turn's flush
    std::function<void(std::string)> answer;  ///< the body; once
    std::function<void()> fail;               ///< the store is not available
    /// The client is told that it has lost publications: in a gap, or before its subscription's begin.
    std::function<void(std::string_view channel, const Gap&)> note_gap;
    std::function<void(std::string_view channel, const SubscribeOutcome&)> note_not_recovered;
  };
  PollExchange(SessionContext& context, PlainRequest request, Millis deadline_ms, Owner owner);
  /// Continues a saved one.
  PollExchange(SessionContext& context, const PollState& state, Owner owner);
  ~PollExchange() override;
  /// Nothing: the store has not answered yet.
  [[nodiscard]] std::optional<PollState> save() const;

  [[nodiscard]] Millis deadline() const { return is_answered_ || is_late_ ? kNoDeadline : deadline_ms_; }
  [[nodiscard]] bool is_answered() const { return is_answered_; }
  /// Answers, with or without publications, when all available ones have been gathered.
  void answer_soon();
  /// The time is over: answers with the publications so far.
  void expire();
  void finish_turn();
  /// The kernel has taken the answer's last byte.
  void on_sent();

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;

 private:
  struct Subscription;
  void on_subscribed(Subscription& subscription, const SubscribeOutcome& outcome);
  void add_status(const Subscription& subscription, std::optional<bool> is_recovered, Offset offset);
  void answer();
  [[nodiscard]] bool is_full() const;

  SessionContext& context_;
  Owner owner_;
  const Millis deadline_ms_;
  std::vector<std::unique_ptr<Subscription>> subscriptions_;
  std::string publications_;
  std::size_t bytes_in_answer_ = 0;  // of publications, until it is sent
  std::string statuses_;
  std::int64_t taken_ = 0;
  std::size_t missing_ = 0;  // subscriptions that the store has not answered yet
  bool has_news_ = false;
  bool is_answered_ = false;
  bool is_late_ = false;  // the time is over, but the store has not answered
  bool has_failed_ = false;
};

}  // namespace carillon
