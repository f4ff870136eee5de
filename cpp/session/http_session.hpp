#pragma once

#include <functional>
#include <memory>
#include <string>

#include "protocol/query.hpp"
#include "session/poll_exchange.hpp"
#include "session/session.hpp"

namespace carillon {

/// An HTTP connection: reads requests one after another and answers them in order. Streams take the
/// connection over; polls are held here.
class HttpSession final : public Session {
 public:
  /// `is_over_limit`: one connection too many; its first request is refused.
  HttpSession(SessionContext& context, Outlet& outlet, bool is_over_limit);
  /// One that was saved goes on.
  HttpSession(SessionContext& context, Outlet& outlet, const HttpState& state);
  ~HttpSession() override;

  void on_bytes(std::span<char> bytes) override;
  void read_on() override;
  void on_outlet_empty() override;
  void finish_turn() override;
  [[nodiscard]] Millis deadline() const override;
  void on_deadline(Millis now_ms) override;
  void drain() override;
  void disconnect(std::uint16_t code, std::string_view reason) override;

  bool stage(Cursor& /*cursor*/, const Batch& /*batch*/) override { return false; }
  void on_gap(Cursor& /*cursor*/, const Gap& /*gap*/) override {}

 private:
  void on_closed() override;
  [[nodiscard]] std::optional<SessionState::Kind> save_kind() const override;
  enum class State : std::uint8_t { reading, answering, ending };

  void read(std::string_view bytes);
  void handle(const HttpRequest& request);
  void handle_upgrade(const HttpRequest& request, const HttpTarget& target);
  void handle_sse(const HttpRequest& request, const HttpTarget& target);
  void handle_poll(const HttpTarget& target);
  void begin_poll(PlainRequest request, Millis timeout_ms);
  [[nodiscard]] PollExchange::Owner owner_of_poll(std::string user);
  /// Asks the seam for everything that `request` wants; `then` goes on with who it is, or the request is
  /// refused.
  void admit(Transport transport, PlainRequest request, std::function<void(PlainRequest)> then);
  void ask_next();
  void on_verdict(const Verdict& verdict);
  void preflight(const HttpRequest& request);
  void respond(const HttpResponse& response);
  void await_departure();
  void hand_over(std::unique_ptr<Session> successor);
  /// In the way that makes a client of the transport come back by itself.
  void send_away(Transport transport);
  void refuse(int status, std::string_view text, bool is_final);
  /// The web page may not come here.
  void refuse_page(const HttpTarget& target, int status, std::string_view message);
  /// In the access log, if it is a client that was refused.
  void log_refusal_of(const HttpTarget& target, int status, std::string_view message);
  void end(std::string_view bytes);
  void answered();
  void read_ahead();
  void on_bytes_ahead(std::string_view bytes);
  [[nodiscard]] HttpResponse unavailable() const;
  [[nodiscard]] HttpResponse health() const;

  /// A plain request on its way through the seam.
  struct Admission {
    Transport transport;
    PlainRequest request;
    std::function<void(PlainRequest)> then;
    std::size_t asked = 0;  ///< who it is, then each channel
  };

  std::unique_ptr<Admission> admission_;
  std::unique_ptr<HttpReader> reader_;  // only while a request is partly there
  std::unique_ptr<std::string> ahead_;  // read while a request is unanswered
  std::unique_ptr<PollExchange> poll_;
  std::string cors_;  // header lines of the request under way
  State state_ = State::reading;
  bool is_keep_alive_ = true;
  bool is_head_ = false;
  bool is_reading_paused_ = false;
  bool is_in_read_ = false;
  bool is_yielding_ = false;        // what was read waits for read_on(): the turn's time was over
  bool is_answer_leaving_ = false;  // the next request waits until it has left
  std::string_view unread_;         // behind the request that is being handled
  const bool is_over_limit_;
  bool is_leaving_ = false;  // it came during a drain, or was asked to go; others are served until they are
  Millis due_ms_;            // the request must be complete, or the next one must come
  std::uint32_t request_number_ = 0;
};

}  // namespace carillon
