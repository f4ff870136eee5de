#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/query.hpp"
#include "session/session.hpp"
#include "transports/poll_exchange.hpp"

namespace carillon {

class CentrifugeClient;
class ClientLink;
struct EmulationRequest;

/// An HTTP connection: reads requests one after another and answers them in order. Streams take the
/// connection over; polls wait here.
class HttpSession final : public Session {
 public:
  /// `is_over_limit`: one connection too many; its first request is refused.
  HttpSession(SessionContext& context, Outlet& outlet, bool is_over_limit);
  /// Continues a saved one.
  HttpSession(SessionContext& context, Outlet& outlet, const HttpState& state);
  ~HttpSession() override;

  void on_bytes(std::span<char> bytes) override;
  void read_on() override;
  void on_end_of_input() override;
  void on_hang_up() override;
  void on_outlet_empty() override;
  void finish_turn() override;
  [[nodiscard]] Millis deadline() const override;
  void on_deadline(Millis now_ms) override;
  void drain() override;
  void disconnect(std::uint16_t code, std::string_view reason) override;

  [[nodiscard]] std::string_view user() const override { return user_; }
  bool stage(Cursor& /*cursor*/, const Batch& /*batch*/) override { return false; }
  void on_gap(Cursor& /*cursor*/, const Gap& /*gap*/) override {}

 private:
  void on_closed() override;
  [[nodiscard]] std::optional<SessionState::Kind> save_kind() const override;
  enum class State : std::uint8_t { reading, answering, ending };

  /// Returns what has to wait until the request under way is answered, or for the next turn.
  [[nodiscard]] std::string_view read(std::string_view bytes);
  /// Answers or refuses a request by its head alone, if possible. False: the handler needs the body.
  [[nodiscard]] bool answer_head(const HttpRequest& head);
  /// The reason why the body is not read.
  [[nodiscard]] bool refuse_body(const HttpRequest& head);
  void count_request();
  void call_handler(const HttpRequest& request);
  /// The handler owes an answer: a drain waits for it.
  void set_answer_due(bool is_due);
  void handle_upgrade(const HttpRequest& request, const HttpTarget& target);
  void handle_sse(const HttpRequest& request, const HttpTarget& target);
  void handle_poll(const HttpRequest& request, const HttpTarget& target);
  /// A Centrifuge client begins whose first commands these are.
  void handle_stream(const HttpRequest& request, const HttpTarget& target, std::string_view commands);
  void handle_emulation(const HttpRequest& request);
  /// To the gateway that has the client.
  void forward(const EmulationRequest& asked, BodyBudget::Share memory);
  using Forwarding = OtherGateways::Forwarding;
  void answer_emulation(Forwarding outcome);
  /// A unidirectional client begins whose connect request this is.
  void handle_uni_stream(const HttpRequest& request, const HttpTarget& target, std::string_view asked);
  /// Is that a connect request? Else the HTTP request is refused.
  [[nodiscard]] bool check_connect_request(std::string_view asked, std::string_view field);
  void begin_poll(PlainRequest request, Millis timeout_ms);
  [[nodiscard]] PollExchange::Owner owner_of_poll();
  /// The request as hooks are given it; null: there are no hooks.
  [[nodiscard]] std::shared_ptr<const ClientRequest> for_hooks(const HttpRequest& request,
                                                               const HttpTarget& target) const;
  struct Asking;
  /// Asks for the identity and for each channel. `asking.then` continues, or the request is refused.
  void admit(Asking asking);
  void ask_next();
  [[nodiscard]] Question next_question() const;
  void on_verdict(const Verdict& verdict);
  /// `option`: what would allow it, or empty.
  void refuse_channel(std::string channel, std::string reason, std::string_view option,
                      std::uint32_t code = 0);
  void answer_options(const HttpRequest& request, std::string_view path);
  /// Sends every answer except that of `/health`. A refusal leaves a record, with `reason` or, if that is
  /// empty, the text of the answer.
  void respond(const HttpResponse& response, std::string_view reason = {});
  void send(const HttpResponse& response);
  /// Makes an id for the request, if it came without one.
  void need_request_id();
  /// The header lines of its answer that do not depend on what is answered.
  [[nodiscard]] std::string header_lines() const;
  void await_departure();
  void hand_over(std::unique_ptr<Session> successor);
  /// hand_over() to a Centrifuge client.
  CentrifugeClient& begin_client(std::unique_ptr<ClientLink> link, const HttpRequest& request,
                                 const HttpTarget& target);
  using HeaderLines = std::vector<std::pair<std::string, std::string>>;
  /// `code` 0: the status.
  void refuse(int status, std::string_view message, HeaderLines headers = {}, std::uint32_t code = 0);
  /// The bytes are not a request.
  void refuse_unread(int status, std::string_view text);
  /// Refuses temporarily, in the way that makes the client retry by itself.
  void send_away(std::string_view reason);
  void end(std::string_view bytes);
  void answered();
  void read_ahead();
  void keep_ahead(std::string_view bytes);
  [[nodiscard]] HttpResponse unavailable() const;
  [[nodiscard]] std::string uni_sse_come_back();
  /// `more`: a member of the object, or empty.
  [[nodiscard]] HttpResponse health(std::string_view more = {}) const;
  /// With the gateways that share the store, which are asked.
  void answer_health_of_fleet();

  /// A plain request on its way through the seam.
  struct Asking {
    Transport transport;
    PlainRequest request;
    std::shared_ptr<const ClientRequest> client;  ///< for hooks
    std::function<void(PlainRequest)> then;
    std::size_t asked = 0;  ///< its identity, then each channel
  };

  std::unique_ptr<Asking> asking_;
  std::unique_ptr<HttpReader> reader_;  // only while a request is incomplete
  BodyBudget::Share body_memory_;       // while its body is being read
  std::optional<HttpTarget> target_;    // of the last request
  std::unique_ptr<std::string> ahead_;  // received while a request is unanswered
  std::size_t ahead_used_ = 0;          // so much of it has been read
  std::unique_ptr<PollExchange> poll_;
  // Of the request under way:
  std::string cors_;          // header lines
  std::string request_id_;    // as its header has it, or made; empty: it has none
  std::string user_;          // by its hook, for records
  std::string claimed_user_;  // the user that it claims to be, until then
  Transport transport_ = Transport::http;
  State state_ = State::reading;
  bool is_keep_alive_ = true;
  bool is_http_1_0_ = false;
  bool is_head_ = false;
  bool is_head_known_ = false;  // of the incomplete request: it was accepted, its body is being read
  bool is_reading_paused_ = false;
  bool is_in_read_ = false;
  bool is_yielding_ = false;       // unread input waits for read_on(), because the turn's time was over
  bool is_input_over_ = false;     // the peer may still read: its requests are answered
  bool is_answer_due_ = false;     // by the handler
  bool is_answer_unsent_ = false;  // the next request waits until it is sent
  std::string_view input_behind_;  // the request that is being handled
  const bool is_over_limit_;
  bool is_drained_ = false;  // it connected during a drain, or was asked to disconnect; others are served
                             // until they are asked
  Millis due_ms_;            // the request must be complete, or the next one must come
  std::uint32_t request_number_ = 0;
};

}  // namespace carillon
