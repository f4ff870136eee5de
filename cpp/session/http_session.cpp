#include "session/http_session.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "protocol/centrifuge_json.hpp"
#include "session/sse_session.hpp"
#include "session/websocket_session.hpp"

namespace carillon {

namespace {

constexpr Millis kDefaultPollTimeoutMs = 25'000;
/// There are few places for those to be refused: who says nothing must not hold one for long.
constexpr Millis kRefusalTimeoutMs = 1'000;

/// Does the header's list, joined by commas, hold the token?
bool lists_token(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    std::string_view item = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), item.size() + 1));
    while (!item.empty() && (item.front() == ' ' || item.front() == '\t')) item.remove_prefix(1);
    while (!item.empty() && (item.back() == ' ' || item.back() == '\t')) item.remove_suffix(1);
    if (item == token) return true;
  }
  return false;
}

std::optional<Transport> transport_of(std::string_view path) {
  if (path == "/connection/websocket") return Transport::websocket;
  if (path == "/sse") return Transport::sse;
  if (path == "/poll") return Transport::poll;
  return std::nullopt;
}

/// The client's mistake, as opposed to something that it may not or that is not there.
bool is_bad_request(int status) { return status == 400 || status == 405 || status == 413 || status == 431; }

/// A header for a message: what comes from outside is kept short, and ASCII.
std::string told(std::string_view header) {
  std::string text(header.substr(0, 200));
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

HttpResponse text(int status, std::string_view message) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::string(message) + "\n";
  return response;
}

}  // namespace

HttpSession::HttpSession(SessionContext& context, Outlet& outlet, bool is_over_limit)
    : Session(context, outlet),
      is_over_limit_(is_over_limit),
      is_leaving_(context.is_draining.load(std::memory_order_relaxed)),
      due_ms_(context.clock.now_ms() + (is_over_limit
                                            ? std::min(context.limits.handshake_timeout_ms, kRefusalTimeoutMs)
                                            : context.limits.handshake_timeout_ms)) {}

HttpSession::HttpSession(SessionContext& context, Outlet& outlet, const HttpState& state)
    : Session(context, outlet),
      cors_(state.cors),
      state_(static_cast<State>(state.state)),
      is_keep_alive_(state.is_keep_alive),
      is_head_(state.is_head),
      is_reading_paused_(state.is_reading_paused),
      is_answer_leaving_(state.is_answer_leaving),
      is_over_limit_(state.is_over_limit),
      due_ms_(kNoDeadline),
      request_number_(state.requests) {
  if (!state.ahead.empty()) ahead_ = std::make_unique<std::string>(state.ahead);
  if (state.poll) poll_ = std::make_unique<PollExchange>(context_, *state.poll, owner_of_poll({}));
  if (!state.unfinished.empty()) read(state.unfinished);
  due_ms_ = deadline_in(state.left_ms, context_.clock.now_ms());
}

HttpSession::~HttpSession() = default;

std::optional<SessionState::Kind> HttpSession::save_kind() const {
  HttpState state;
  state.state = static_cast<std::uint8_t>(state_);
  state.is_over_limit = is_over_limit_;
  state.is_keep_alive = is_keep_alive_;
  state.is_head = is_head_;
  state.is_reading_paused = is_reading_paused_;
  state.is_answer_leaving = is_answer_leaving_;
  if (reader_) {
    const std::optional<std::string_view> unfinished = reader_->unfinished();
    if (!unfinished) return std::nullopt;
    state.unfinished = *unfinished;
  }
  if (ahead_) state.ahead = *ahead_;
  state.cors = cors_;
  state.left_ms = left_until(due_ms_, context_.clock.now_ms());
  state.requests = request_number_;
  if (poll_) {
    state.poll = poll_->save();
    if (!state.poll) return std::nullopt;
  }
  return state;
}

// ---- reading

void HttpSession::on_bytes(std::span<char> bytes) {
  if (state_ == State::ending) return;
  const std::string_view text(bytes.data(), bytes.size());
  state_ == State::reading && !is_yielding_ ? read(text) : on_bytes_ahead(text);
}

void HttpSession::read(std::string_view bytes) {
  is_in_read_ = true;
  while (!bytes.empty() && state_ == State::reading) {
    if (!reader_) {
      reader_ = context_.http.make_reader(static_cast<std::size_t>(context_.limits.header_bytes),
                                          static_cast<std::size_t>(context_.limits.body_bytes));
      if (request_number_ > 0) {  // the first one's time began with the connection
        due_ms_ = context_.clock.now_ms() + context_.limits.handshake_timeout_ms;
        context_.host.reschedule(outlet_);
      }
    }
    const HttpReader::Result result = reader_->read(bytes);
    bytes.remove_prefix(result.consumed);
    if (result.step == HttpReader::Step::need_more) break;
    if (result.step == HttpReader::Step::refused) {
      refuse(result.refusal_status, result.refusal_reason, true);
      break;
    }
    const HttpRequest request = reader_->take();
    reader_.reset();
    due_ms_ = kNoDeadline;
    state_ = State::answering;
    unread_ = bytes;
    context_.counters.requests.fetch_add(1, std::memory_order_relaxed);
    handle(request);
    if (state_ == State::reading && !bytes.empty() && context_.host.is_time_over()) {
      is_yielding_ = true;  // others have sent something, too
      context_.host.read_on_later(outlet_);
      break;
    }
  }
  is_in_read_ = false;
  if ((state_ == State::answering || is_yielding_) && !bytes.empty()) on_bytes_ahead(bytes);
}

void HttpSession::read_on() {
  is_yielding_ = false;
  if (state_ == State::reading) read_ahead();
}

void HttpSession::on_bytes_ahead(std::string_view bytes) {
  if (!ahead_) ahead_ = std::make_unique<std::string>();
  ahead_->append(bytes);
  if (ahead_->size() >= static_cast<std::size_t>(context_.limits.pipelined_bytes) && !is_reading_paused_) {
    is_reading_paused_ = true;
    context_.host.pause_reading(outlet_, true);
  }
}

void HttpSession::read_ahead() {
  const std::unique_ptr<std::string> ahead = std::move(ahead_);
  if (ahead) read(*ahead);
  if (is_reading_paused_ && state_ == State::reading && !is_yielding_) {
    is_reading_paused_ = false;
    context_.host.pause_reading(outlet_, false);
  }
}

void HttpSession::handle(const HttpRequest& request) {
  ++request_number_;
  is_keep_alive_ = request.is_keep_alive;
  is_head_ = request.method == "HEAD";
  cors_.clear();
  const std::string_view origin = request.header("origin");
  const std::string_view host = request.header("host");
  const std::optional<HttpTarget> target = parse_http_target(request.target);
  if (!target) return refuse(400, "the request's target is not a valid path and query", false);

  const bool is_sse = target->path == "/sse";
  if (!context_.origins.accepts_host(host)) {
    return refuse_page(*target, 421,
                       "in insecure mode only a loopback Host is served, such as localhost or 127.0.0.1");
  }
  if (!context_.origins.accepts_origin(origin, host)) {
    return refuse_page(*target, 403,
                       "Origin: '" + told(origin) +
                           "' is not in client.allowed_origins: add it there if its pages may connect");
  }
  if (!origin.empty()) {
    cors_.append("Access-Control-Allow-Origin: ").append(origin);
    cors_.append("\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n");
  }
  // The operator is heard, and the application publishes, also when subscribers have taken every place.
  const bool is_for_operator = target->path == "/health" || target->path.starts_with("/api/");
  if (is_over_limit_) is_keep_alive_ = false;
  if (is_over_limit_ && !is_for_operator) {
    context_.counters.refused.fetch_add(1, std::memory_order_relaxed);
    log_refusal_of(*target, is_sse ? 200 : 503, "over the limit of connections");
    if (!is_sse) return respond(unavailable());
  }
  if (is_leaving_ && !is_over_limit_) log_refusal_of(*target, is_sse ? 200 : 503, "shutdown");
  if (is_sse && (is_over_limit_ || is_leaving_)) return send_away(Transport::sse);
  if (request.method == "OPTIONS") return preflight(request);
  if (target->path == "/health") return respond(health());

  const bool is_transport = transport_of(target->path).has_value();
  if (is_transport && request.method != "GET") return refuse(405, "this path takes GET", false);
  if (is_transport && is_leaving_) return respond(unavailable());
  if (is_sse) return handle_sse(request, *target);
  if (target->path == "/poll") return handle_poll(*target);
  if (target->path == "/connection/websocket") return handle_upgrade(request, *target);

  context_.handler.handle(
      request, target->path,
      [shard = &context_.shard, me = self(), number = request_number_](HttpResponse response) {
        shard->run([me, number, response = std::move(response)]() mutable {
          if (*me == nullptr) return;
          auto& session = static_cast<HttpSession&>(**me);
          if (session.request_number_ == number) session.respond(response);
        });
      });
}

// ---- transports

void HttpSession::handle_upgrade(const HttpRequest& request, const HttpTarget& target) {
  if (!context_.http.is_websocket_upgrade(request)) {
    return refuse(400,
                  "this path takes a WebSocket handshake (RFC 6455): Connection: Upgrade, Upgrade: websocket",
                  false);
  }
  static constexpr std::string_view kSubprotocol = "centrifuge-json";
  const bool is_offered = lists_token(request.header("sec-websocket-protocol"), kSubprotocol);
  const std::string_view subprotocol = is_offered ? kSubprotocol : std::string_view();
  const HttpLibrary::Upgrade upgrade = context_.http.upgrade(request, subprotocol);
  if (!upgrade.is_accepted) return end(upgrade.response);
  context_.output.add(outlet_, upgrade.response);
  WebSocketSession::Settings settings;
  settings.claimed_user = target.find("user").value_or("");
  settings.has_native_pings = target.find("cf_ws_frame_ping_pong").value_or("") == "true";
  auto successor =
      std::make_unique<WebSocketSession>(context_, outlet_, centrifuge_json_codec(), std::move(settings));
  Session& next = *successor;
  hand_over(std::move(successor));
  std::string unread(unread_);
  if (!unread.empty()) next.on_bytes(unread);
}

void HttpSession::handle_sse(const HttpRequest& request, const HttpTarget& target) {
  PlainRefusal refusal;
  // The header is what EventSource sends by itself when it comes back; the URL still holds where it first
  // began.
  std::string_view position = request.header("last-event-id");
  if (position.empty()) position = target.find("since").value_or("");
  std::optional<PlainRequest> wanted = read_plain_request(target, position, context_, refusal);
  if (!wanted) return refuse(refusal.status, refusal.reason, false);
  admit(Transport::sse, std::move(*wanted), [this](PlainRequest admitted) {
    hand_over(std::make_unique<SseSession>(context_, outlet_, std::move(admitted), cors_));
  });
}

void HttpSession::admit(Transport transport, PlainRequest request, std::function<void(PlainRequest)> then) {
  admission_ = std::make_unique<Admission>(Admission{transport, std::move(request), std::move(then)});
  ask_next();
}

void HttpSession::ask_next() {
  // First who it is, then each channel; hooks may take their time over any of these.
  while (admission_) {
    const PlainRequest& request = admission_->request;
    if (admission_->asked > request.channels.size()) {
      const std::unique_ptr<Admission> admitted = std::move(admission_);
      if (is_leaving_) {  // it was asked to go while a hook took its time
        const bool is_sse = admitted->transport == Transport::sse;
        log_refusal(admitted->transport, request.identity.user, request.claimed_user, is_sse ? 200 : 503,
                    "shutdown");
        return send_away(admitted->transport);
      }
      return admitted->then(std::move(admitted->request));
    }
    Question question;
    question.transport = admission_->transport;
    if (admission_->asked == 0) {
      question.claimed_user = request.claimed_user;
    } else {
      question.user = request.identity.user;
      question.operation = Operation::subscribe;
      question.channel = request.channels[admission_->asked - 1].channel;
    }
    if (const auto verdict = context_.access.answer(question)) {
      on_verdict(*verdict);
      continue;
    }
    return ask(question, [this, number = request_number_](const Verdict& verdict) {
      if (number != request_number_) return;
      on_verdict(verdict);
      ask_next();
    });
  }
}

void HttpSession::on_verdict(const Verdict& verdict) {
  if (!admission_) return;
  PlainRequest& request = admission_->request;
  const std::size_t asked = admission_->asked++;
  if (verdict.is_allowed) {
    if (asked == 0) {
      request.identity = verdict.identity;
      request.claimed_user.clear();
    }
    return;
  }
  const Transport transport = admission_->transport;
  std::string reason = verdict.reason;
  if (verdict.is_undecided) {
    const bool is_sse = transport == Transport::sse;
    log_refusal(transport, request.identity.user, request.claimed_user, is_sse ? 200 : 503, reason);
    admission_.reset();
    return send_away(transport);
  }
  if (reason.empty()) {
    reason = asked == 0
                 ? "not authenticated"
                 : "channel: no permission to subscribe to '" + request.channels[asked - 1].channel + "'";
  }
  const int status = asked == 0 ? 401 : 403;
  log_refusal(transport, request.identity.user, request.claimed_user, static_cast<std::uint32_t>(status),
              reason);
  admission_.reset();
  refuse(status, reason, false);
}

void HttpSession::hand_over(std::unique_ptr<Session> successor) {
  state_ = State::ending;
  if (std::exchange(is_reading_paused_, false)) context_.host.pause_reading(outlet_, false);
  context_.host.replace(outlet_, std::move(successor));
}

void HttpSession::handle_poll(const HttpTarget& target) {
  PlainRefusal refusal;
  std::optional<PlainRequest> wanted =
      read_plain_request(target, target.find("since").value_or(""), context_, refusal);
  if (!wanted) return refuse(refusal.status, refusal.reason, false);
  Millis timeout_ms = kDefaultPollTimeoutMs;
  if (const auto given = target.find("timeout")) {
    double seconds = 0;
    const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), seconds);
    if (error != std::errc() || end != given->data() + given->size() || !(seconds >= 0) || seconds > 1e9) {
      return refuse(400, "timeout: a number of seconds, such as 25", false);
    }
    timeout_ms = static_cast<Millis>(seconds * 1000);
  }
  timeout_ms = std::min(timeout_ms, context_.limits.poll_timeout_ms);
  admit(Transport::poll, std::move(*wanted),
        [this, timeout_ms](PlainRequest admitted) { begin_poll(std::move(admitted), timeout_ms); });
}

void HttpSession::begin_poll(PlainRequest request, Millis timeout_ms) {
  context_.host.end_handshake(outlet_);
  PollExchange::Owner owner = owner_of_poll(request.identity.user);
  poll_ = std::make_unique<PollExchange>(context_, std::move(request), context_.clock.now_ms() + timeout_ms,
                                         std::move(owner));
  if (timeout_ms <= 0 && !poll_->is_answered()) poll_->answer_soon();
  context_.host.reschedule(outlet_);
}

PollExchange::Owner HttpSession::owner_of_poll(std::string user) {
  PollExchange::Owner owner;
  owner.ready_soon = [this] { context_.output.finish_later(*this); };
  owner.answer = [this](std::string body) {
    await_departure();  // a poll is over when its answer has left
    HttpResponse response;
    response.body = std::move(body);
    response.headers.emplace_back("X-Accel-Buffering", "no");
    respond(response);
  };
  owner.fail = [this, user = std::move(user)] {
    log_refusal(Transport::poll, user, {}, 503, "the store is not available");
    await_departure();
    respond(unavailable());
  };
  return owner;
}

void HttpSession::finish_turn() {
  if (poll_) poll_->finish_turn();
}

void HttpSession::preflight(const HttpRequest& request) {
  HttpResponse response;
  response.status = 204;
  response.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  if (const std::string_view wanted = request.header("access-control-request-headers"); !wanted.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Headers", wanted);
  }
  response.headers.emplace_back("Access-Control-Max-Age", "300");
  respond(response);
}

HttpResponse HttpSession::unavailable() const {
  HttpResponse response = text(503, "not available now, come back soon");
  const std::int64_t retry_s = 1 + static_cast<std::int64_t>(context_.random.below(3));
  response.headers.emplace_back("Retry-After", std::to_string(retry_s));
  return response;
}

HttpResponse HttpSession::health() const {
  HttpResponse response;
  const bool is_ready = !context_.is_draining.load(std::memory_order_relaxed);
  if (!is_ready) response.status = 503;
  response.body = is_ready ? "{}" : R"({"draining":true})";
  return response;
}

// ---- answering

void HttpSession::respond(const HttpResponse& response) {
  if (state_ != State::answering) return;
  if (is_bad_request(response.status)) context_.counters.bad_requests.fetch_add(1, std::memory_order_relaxed);
  if (is_leaving_) is_keep_alive_ = false;
  std::string bytes;
  append_http_response(bytes, response, is_keep_alive_, cors_);
  if (is_head_) bytes.resize(bytes.find("\r\n\r\n") + 4);
  if (!is_keep_alive_) return end(bytes);
  context_.output.add(outlet_, bytes);
  // A client that asks on and on must read first.
  if (outlet_.pending_bytes() > static_cast<std::size_t>(context_.limits.backlog_bytes)) await_departure();
  if (!is_answer_leaving_) answered();
}

void HttpSession::await_departure() {
  is_answer_leaving_ = true;
  outlet_.wants_empty_notice = true;
}

void HttpSession::send_away(Transport transport) {
  if (transport != Transport::sse) return respond(unavailable());
  std::string goodbye;
  append_sse_come_back(goodbye, context_, cors_);
  end(goodbye);
}

void HttpSession::refuse(int status, std::string_view message, bool is_final) {
  if (state_ == State::reading) state_ = State::answering;
  if (is_final) {  // no request could be read: nothing is known of it
    is_keep_alive_ = is_head_ = false;
    cors_.clear();
  }
  respond(text(status, message));
}

void HttpSession::refuse_page(const HttpTarget& target, int status, std::string_view message) {
  log_refusal_of(target, status, message);
  refuse(status, message, false);
}

void HttpSession::log_refusal_of(const HttpTarget& target, int status, std::string_view message) {
  if (const auto transport = transport_of(target.path)) {
    log_refusal(*transport, {}, target.find("user").value_or(""), static_cast<std::uint32_t>(status),
                message);
  }
}

void HttpSession::end(std::string_view bytes) {
  context_.host.end_handshake(outlet_);
  context_.output.add(outlet_, bytes);
  state_ = State::ending;
  context_.host.close(outlet_);
}

void HttpSession::answered() {
  context_.host.end_handshake(outlet_);
  if (is_leaving_) return end({});  // asked while its answer, which promises to go on, was on its way
  state_ = State::reading;
  due_ms_ = context_.clock.now_ms() + context_.limits.keepalive_timeout_ms;
  context_.host.reschedule(outlet_);
  if (!is_in_read_) read_ahead();  // within read() the loop goes on by itself
}

void HttpSession::on_outlet_empty() {
  if (!std::exchange(is_answer_leaving_, false)) return;
  if (poll_) poll_->on_sent();
  poll_.reset();
  if (state_ == State::answering) answered();
}

Millis HttpSession::deadline() const {
  if (poll_) return poll_->deadline();
  return state_ == State::ending ? kNoDeadline : due_ms_;
}

void HttpSession::on_deadline(Millis now_ms) {
  if (poll_ && poll_->deadline() <= now_ms) return poll_->expire();
  if (due_ms_ > now_ms || state_ != State::reading) return;
  due_ms_ = kNoDeadline;
  if (!reader_ && request_number_ > 0) return end({});  // idle between requests
  context_.counters.handshake_timeouts.fetch_add(1, std::memory_order_relaxed);
  refuse(408, "the request was not complete in time", true);
}

void HttpSession::on_closed() {
  state_ = State::ending;
  poll_.reset();
}

void HttpSession::drain() {
  is_leaving_ = true;
  if (poll_) return poll_->expire();
  if (state_ == State::reading && !reader_ && !is_yielding_) end({});
}

void HttpSession::disconnect(std::uint16_t /*code*/, std::string_view /*reason*/) { end({}); }

}  // namespace carillon
