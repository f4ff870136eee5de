#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/centrifuge_codes.hpp"
#include "session/session.hpp"
#include "transports/plain_request.hpp"

namespace carillon {

/// A `GET /sse` stream: plain EventSource on one or several channels (docs/plain-http.md).
class SseSession final : public Session {
 public:
  /// `extra_headers`: whole lines with CRLF.
  SseSession(SessionContext& context, Outlet& outlet, PlainRequest request, std::string_view extra_headers,
             std::string_view request_id = {});
  /// Continues a saved one.
  SseSession(SessionContext& context, Outlet& outlet, const SseState& state);
  ~SseSession() override;

  void on_bytes(std::span<char> /*bytes*/) override {}
  void on_outlet_empty() override;
  [[nodiscard]] Millis deadline() const override { return std::min(comment_due_ms_, expiry_due_ms_); }
  void on_deadline(Millis now_ms) override;
  void drain() override;
  void disconnect(std::uint16_t code, std::string_view reason) override;
  [[nodiscard]] std::string_view client_id() const override { return client_; }
  [[nodiscard]] std::string_view user() const override { return identity_.user; }

  bool refresh(const Renewal& renewal) override;

  bool stage(Cursor& cursor, const Batch& batch) override;
  void on_gap(Cursor& cursor, const Gap& gap) override;
  void on_slow(Cursor& cursor) override;

 private:
  void on_closed() override;
  [[nodiscard]] std::optional<SessionState::Kind> save_kind() const override;
  struct Subscription;
  [[nodiscard]] std::string info_json() const;
  /// Adds the stream to the presence of the channel, or replaces what is there of the stream.
  void show_in_presence(const Subscription& subscription);
  void on_subscribed(Subscription& subscription, const SubscribeOutcome& outcome);
  void stage_with_ids(Cursor& cursor, const Batch& batch);
  /// Ends the stream in the way that makes EventSource reconnect.
  void send_away(const DisconnectCode& why);
  void write_status(const Subscription& subscription, std::optional<bool> is_recovered, Offset offset,
                    bool has_id);
  void append_token(std::string& out, const Cursor* moving, Offset moving_offset) const;
  void wrote() { comment_due_ms_ = next_comment_ms(); }
  [[nodiscard]] Millis next_comment_ms() const;
  /// When its token ends, ms of the clock.
  [[nodiscard]] Millis expiry_ms() const;
  void end_expired();
  /// EventSource comes back after whatever end: each one at another moment.
  void end_stream();

  Identity identity_;
  std::string client_;
  std::vector<std::unique_ptr<Subscription>> subscriptions_;
  const Millis comment_interval_ms_;  // its own: comments do not come at once where events did
  Millis comment_due_ms_ = kNoDeadline;
  Millis expiry_due_ms_ = kNoDeadline;
  bool is_ending_ = false;
};

/// The answer to a stream that cannot be served now: 200 with a jittered `retry:` and an end, because
/// EventSource gives up on any other status.
void append_sse_come_back(std::string& out, SessionContext& context, std::string_view extra_headers);

}  // namespace carillon
