#include "transports/http_session.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "transports/sse_session.hpp"

namespace carillon {

namespace {

/// There are few places for those to be refused: who says nothing must not hold one for long.
constexpr Millis kRefusalTimeoutMs = 1'000;

constexpr std::array<std::pair<std::string_view, Transport>, 8> kPaths{{
    {"/connection/websocket", Transport::websocket},
    {"/sse", Transport::sse},
    {"/poll", Transport::poll},
    {"/connection/http_stream", Transport::http_stream},
    {"/connection/sse", Transport::emulated_sse},
    {"/connection/uni_websocket", Transport::uni_websocket},
    {"/connection/uni_sse", Transport::uni_sse},
    {"/connection/uni_http_stream", Transport::uni_http_stream},
}};

Transport transport_of(std::string_view path, const SessionContext& context) {
  const auto known =
      std::find_if(kPaths.begin(), kPaths.end(), [&](const auto& each) { return each.first == path; });
  if (known == kPaths.end() || context.switched_off.contains(known->second)) return Transport::http;
  return known->second;
}

enum class Opening : std::uint8_t { get, post, either };

/// The methods that begin a client.
Opening opening_of(Transport transport) {
  switch (transport) {
    case Transport::http_stream:
    case Transport::uni_http_stream:
      return Opening::post;
    case Transport::emulated_sse:
    case Transport::uni_sse:
      return Opening::either;
    default:
      return Opening::get;
  }
}

constexpr std::string_view kEmulationPath = "/emulation";
constexpr std::string_view kHealthPath = "/health";
constexpr std::string_view kMetricsPath = "/metrics";
constexpr std::string_view kApiPath = "/api/";

/// The client's mistake, as opposed to something that it may not or that is not there.
bool is_bad_request(int status) {
  static constexpr std::array kStatuses{400, 405, 413, 415, 417, 426, 431, 501};
  return std::find(kStatuses.begin(), kStatuses.end(), status) != kStatuses.end();
}

/// The id that a proxy or a client gives a request, if it is one: it stands in answers and in the log.
std::string_view valid_request_id(std::string_view header) {
  constexpr std::size_t kBytes = 64;
  const bool is_valid = header.size() <= kBytes && std::all_of(header.begin(), header.end(), [](char c) {
                          return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                                 c == '-' || c == '_' || c == '.' || c == ':';
                        });
  return is_valid ? header : std::string_view();
}

/// A header for a message: what comes from outside is kept short, and ASCII.
std::string told(std::string_view header) {
  std::string text(header.substr(0, 200));
  std::replace_if(text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

}  // namespace

HttpSession::HttpSession(SessionContext& context, Outlet& outlet, bool is_over_limit)
    : Session(context, outlet),
      is_over_limit_(is_over_limit),
      is_drained_(context.is_draining.load(std::memory_order_relaxed)),
      due_ms_(context.clock.now_ms() + (is_over_limit
                                            ? std::min(context.limits.handshake_timeout_ms, kRefusalTimeoutMs)
                                            : context.limits.handshake_timeout_ms)) {}

HttpSession::HttpSession(SessionContext& context, Outlet& outlet, const HttpState& state)
    : Session(context, outlet),
      cors_(state.cors),
      user_(state.user),
      transport_(state.poll ? Transport::poll : Transport::http),
      state_(static_cast<State>(state.state)),
      is_keep_alive_(state.is_keep_alive),
      is_http_1_0_(state.is_http_1_0),
      is_head_(state.is_head),
      is_reading_paused_(state.is_reading_paused),
      is_answer_unsent_(state.is_answer_unsent),
      is_over_limit_(state.is_over_limit),
      due_ms_(kNoDeadline),
      request_number_(state.requests) {
  if (!state.ahead.empty()) ahead_ = std::make_unique<std::string>(state.ahead);
  if (state.poll) poll_ = std::make_unique<PollExchange>(context_, *state.poll, owner_of_poll());
  is_head_known_ = state.is_head_known;
  if (!state.unfinished.empty()) keep_ahead(read(state.unfinished));
  due_ms_ = deadline_in(state.left_ms, context_.clock.now_ms());
}

HttpSession::~HttpSession() { set_answer_due(false); }

std::optional<SessionState::Kind> HttpSession::save_kind() const {
  HttpState state;
  state.state = static_cast<std::uint8_t>(state_);
  state.is_over_limit = is_over_limit_;
  state.is_keep_alive = is_keep_alive_;
  state.is_head = is_head_;
  state.is_reading_paused = is_reading_paused_;
  state.is_answer_unsent = is_answer_unsent_;
  if (reader_) {
    state.unfinished = reader_->unfinished();
  }
  if (ahead_) state.ahead = ahead_->substr(ahead_used_);
  state.cors = cors_;
  state.user = user_;
  state.is_http_1_0 = is_http_1_0_;
  state.is_head_known = is_head_known_;
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
  keep_ahead(state_ == State::reading && !is_yielding_ ? read(text) : text);
}

std::string_view HttpSession::read(std::string_view bytes) {
  is_in_read_ = true;
  while (!bytes.empty() && state_ == State::reading) {
    if (!reader_) {
      bytes.remove_prefix(std::min(bytes.find_first_not_of("\r\n"), bytes.size()));  // RFC 9112 section 2.2
      if (bytes.empty()) break;
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
      refuse_unread(result.refusal_status, result.refusal_reason);
      break;
    }
    state_ = State::answering;
    if (result.step == HttpReader::Step::head) {
      const bool is_read_again = std::exchange(is_head_known_, true);  // after a takeover
      if (!is_read_again) count_request();
      if (!answer_head(reader_->request())) {
        state_ = State::reading;
        const bool is_awaited = lists_token(reader_->request().header("expect"), "100-continue");
        if (is_awaited && bytes.empty() && !is_http_1_0_ && !is_read_again)
          context_.output.add(outlet_, "HTTP/1.1 100 Continue\r\n\r\n");
        continue;
      }
      reader_.reset();  // and the body is left unread: the connection ends with the answer
      due_ms_ = kNoDeadline;
      continue;
    }
    const std::unique_ptr<HttpReader> reader = std::move(reader_);
    const HttpRequest& request = reader->request();
    due_ms_ = kNoDeadline;
    input_behind_ = bytes;
    if (!std::exchange(is_head_known_, false)) {
      count_request();
      if (!answer_head(request)) call_handler(request);
    } else {
      call_handler(request);
    }
    if (state_ == State::reading) target_.reset();  // it may have a token
    if (state_ == State::reading && !bytes.empty() && context_.host.is_time_over()) {
      is_yielding_ = true;  // others have sent something, too
      context_.host.read_on_later(outlet_);
      break;
    }
  }
  is_in_read_ = false;
  return state_ == State::answering || is_yielding_ ? bytes : std::string_view();
}

void HttpSession::read_on() {
  is_yielding_ = false;
  if (state_ == State::reading) read_ahead();
}

void HttpSession::on_hang_up() {
  if (poll_) poll_->expire();  // a peer that has gone looks the same: it is not waited for
}

void HttpSession::on_end_of_input() {
  is_input_over_ = true;
  if (poll_) return on_hang_up();
  if (state_ == State::answering || is_yielding_) return;
  if (reader_) return refuse_unread(400, "the request ended before it was whole");
  end({});
}

void HttpSession::keep_ahead(std::string_view bytes) {
  if (bytes.empty()) return;
  if (!ahead_) ahead_ = std::make_unique<std::string>();
  ahead_->erase(0, std::exchange(ahead_used_, 0));
  ahead_->append(bytes);
  if (ahead_->size() >= static_cast<std::size_t>(context_.limits.pipelined_bytes) && !is_reading_paused_) {
    is_reading_paused_ = true;
    context_.host.pause_reading(outlet_, true);
  }
}

void HttpSession::read_ahead() {
  if (std::unique_ptr<std::string> ahead = std::move(ahead_)) {
    const std::string_view rest = read(std::string_view(*ahead).substr(std::exchange(ahead_used_, 0)));
    if (!rest.empty()) {  // it stays where it is: many requests may wait in one buffer
      ahead_used_ = ahead->size() - rest.size();
      ahead_ = std::move(ahead);
    }
  }
  if (is_reading_paused_ && state_ == State::reading && !is_yielding_) {
    is_reading_paused_ = false;
    context_.host.pause_reading(outlet_, false);
  }
  if (is_input_over_ && state_ == State::reading) on_end_of_input();
}

void HttpSession::count_request() {
  ++request_number_;
  context_.counters.requests.fetch_add(1, std::memory_order_relaxed);
}

bool HttpSession::answer_head(const HttpRequest& head) {
  is_http_1_0_ = head.is_http_1_0;
  is_keep_alive_ = head.is_keep_alive && !head.has_body() && !is_over_limit_;
  is_head_ = head.method == "HEAD";
  cors_.clear();
  user_.clear();
  claimed_user_.clear();
  request_id_ = valid_request_id(head.header("x-request-id"));
  transport_ = Transport::http;
  target_ = parse_http_target(head.target);
  if (!target_) {
    refuse(400, "the request's target is not a valid path and query");
    return true;
  }
  const HttpTarget& target = *target_;
  const std::string_view path = target.path;
  if (path.starts_with(kApiPath)) need_request_id();
  transport_ = transport_of(path, context_);
  if (const auto user = target.find("user")) claimed_user_ = *user;
  const std::string_view origin = head.header("origin");
  const std::string_view host = target.authority.empty() ? head.header("host") : target.authority;
  if (!context_.origins.accepts_host(host)) {
    refuse(421, "in insecure mode only a loopback Host is served, such as localhost or 127.0.0.1");
    return true;
  }
  if (context_.is_internal && !origin.empty()) {
    refuse(403, "this address is for operators, and not for pages of browsers");
    return true;
  }
  if (!context_.origins.accepts_origin(origin, host)) {
    refuse(403, "Origin: '" + told(origin) +
                    "' is not in client.allowed_origins: add it there if its pages may connect");
    return true;
  }
  if (!origin.empty()) {
    cors_.append("Access-Control-Allow-Origin: ").append(origin);
    cors_.append("\r\nAccess-Control-Allow-Credentials: true\r\nVary: Origin\r\n");
  }
  // The operator is heard, the application publishes, and clients that are here send their commands, also
  // when subscribers have taken every place.
  const bool is_always_served = context_.is_internal || path == kHealthPath || path == kMetricsPath ||
                                path == kEmulationPath || path.starts_with(kApiPath);
  if (is_over_limit_ && is_always_served && !context_.is_internal)
    context_.counters.served_over_limit.fetch_add(1, std::memory_order_relaxed);
  if (is_over_limit_ && !is_always_served) {
    context_.counters.refused.fetch_add(1, std::memory_order_relaxed);
    send_away("over the limit of connections: client.connection_limit, or that of descriptors (ulimit -n)");
  } else if (head.method == "OPTIONS") {
    answer_options(head, path);
  } else if (path == kHealthPath && (head.method == "GET" || is_head_)) {
    if (target.find("fleet").value_or("") == "true") {
      answer_health_of_fleet();
    } else {
      send(health());
    }
  } else if (path == kHealthPath) {
    refuse(405, "this path takes GET", {{"Allow", "GET, HEAD, OPTIONS"}});
  } else if (context_.is_internal && path != kMetricsPath) {
    refuse(404, "this address has /health and /metrics only (http_server.internal_port)");
  } else if (is_drained_ && transport_ != Transport::http) {
    send_away("shutdown");
  } else if (const Opening opening = opening_of(transport_);
             path == kEmulationPath || opening == Opening::post ||
             (opening == Opening::either && head.method == "POST")) {
    if (head.method != "POST") {
      refuse(405, "this path takes POST", {{"Allow", "POST, OPTIONS"}});
      return true;
    }
    return refuse_body(head);
  } else if (transport_ == Transport::http) {
    if (std::optional<HttpResponse> refusal =
            context_.handler.refusal_of(head, target, context_.is_internal)) {
      respond(*refusal);
      return true;
    }
    return refuse_body(head);
  } else if (head.method != "GET") {
    refuse(405, "this path takes GET", {{"Allow", "GET, OPTIONS"}});
  } else if (transport_ == Transport::emulated_sse) {
    handle_stream(head, target, target.find("cf_connect").value_or(""));
  } else if (transport_ == Transport::uni_sse) {
    const std::string_view asked = target.find("cf_connect").value_or("");
    handle_uni_stream(head, target, asked.empty() ? "{}" : asked);
  } else if (transport_ == Transport::sse) {
    handle_sse(head, target);
  } else if (transport_ == Transport::poll) {
    handle_poll(head, target);
  } else {
    handle_upgrade(head, target);
  }
  return true;
}

bool HttpSession::refuse_body(const HttpRequest& head) {
  if (!head.has_body()) return false;
  const std::string_view expected = head.header("expect");
  if (!expected.empty() && !lists_token(expected, "100-continue")) {
    refuse(417, "Expect: only 100-continue is understood");
    return true;
  }
  const std::string_view coding = head.header("content-encoding");
  if (!coding.empty() && !lists_token(coding, "identity")) {
    refuse(415, "Content-Encoding: only a body as it is can be read", {{"Accept-Encoding", "identity"}});
    return true;
  }
  const auto bytes_max = static_cast<std::uint64_t>(context_.limits.body_bytes);
  if (head.content_length > bytes_max) {
    refuse(413, "the request's body is longer than limits.body_bytes");
    return true;
  }
  body_memory_ =
      context_.bodies.take(static_cast<std::int64_t>(head.is_chunked ? bytes_max : head.content_length));
  if (body_memory_.is_granted()) return false;
  send_away("the bodies of requests under way are more than limits.body_bytes_total");
  return true;
}

void HttpSession::call_handler(const HttpRequest& request) {
  const HttpTarget& target = *target_;
  is_keep_alive_ = request.is_keep_alive && !is_over_limit_;
  if (target.path == kEmulationPath) return handle_emulation(request);
  if (transport_ != Transport::http) {
    body_memory_ = {};
    if (transport_ == Transport::uni_sse || transport_ == Transport::uni_http_stream)
      return handle_uni_stream(request, target, request.body);
    return handle_stream(request, target, request.body);
  }
  auto answer = [me = self(), number = request_number_](const HttpResponse& response) {
    if (*me == nullptr) return;
    auto& session = static_cast<HttpSession&>(**me);
    if (session.request_number_ != number) return;
    session.set_answer_due(false);
    session.respond(response);
  };
  set_answer_due(true);
  context_.handler.handle(request, std::move(body_memory_), target,
                          [shard = &context_.shard, answer = std::move(answer)](HttpResponse&& response) {
                            if (shard->is_current()) return answer(response);
                            shard->post([answer, response = std::move(response)] { answer(response); });
                          });
}

void HttpSession::set_answer_due(bool is_due) {
  if (is_due == std::exchange(is_answer_due_, is_due)) return;
  if (is_due) {
    context_.counters.answers_due.fetch_add(1, std::memory_order_relaxed);
  } else {
    context_.counters.answers_due.fetch_sub(1, std::memory_order_relaxed);
  }
}

// ---- answering

void HttpSession::finish_turn() {
  if (poll_) poll_->finish_turn();
}

void HttpSession::answer_options(const HttpRequest& request, std::string_view path) {
  HttpResponse response;
  response.status = 204;
  const Opening opening = opening_of(transport_);
  response.headers.emplace_back(
      "Allow", path == "*" ? "GET, HEAD, POST, OPTIONS"
               : path.starts_with(kApiPath) || path == kEmulationPath || opening == Opening::post
                   ? "POST, OPTIONS"
               : opening == Opening::either    ? "GET, POST, OPTIONS"
               : transport_ == Transport::http ? "GET, HEAD, OPTIONS"
                                               : "GET, OPTIONS");
  response.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  if (const std::string_view wanted = request.header("access-control-request-headers"); !wanted.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Headers", wanted);
  }
  response.headers.emplace_back("Access-Control-Max-Age", "300");
  respond(response);
}

HttpResponse HttpSession::unavailable() const {
  HttpResponse response = http_error(503, "not available now; try again after the time in Retry-After");
  const std::int64_t retry_s = 1 + static_cast<std::int64_t>(context_.random.below(3));
  response.headers.emplace_back("Retry-After", std::to_string(retry_s));
  return response;
}

HttpResponse HttpSession::health(std::string_view more) const {
  HttpResponse response;
  const bool is_ready = !context_.is_draining.load(std::memory_order_relaxed);
  if (!is_ready) response.status = 503;
  // It serves those who need none of these keys, so a balancer need not take it out.
  const std::string_view keys = context_.access.awaits_keys() ? R"("keys":"none yet")" : "";
  // It keeps its clients, and another server has the same store.
  const std::string_view store = context_.hub.has_store() ? "" : R"("store":"unavailable")";
  const std::string_view draining = is_ready ? "" : R"("draining":true)";
  response.body = "{";
  for (const std::string_view part : {draining, keys, store, more}) {
    if (!part.empty()) response.body.append(response.body.size() > 1 ? "," : "").append(part);
  }
  response.body.append("}");
  return response;
}

void HttpSession::answer_health_of_fleet() {
  using Count = OtherGateways::Count;
  auto answer = [me = self(), number = request_number_](const std::optional<Count>& fleet) {
    if (*me == nullptr) return;
    auto& session = static_cast<HttpSession&>(**me);
    if (session.request_number_ != number || session.state_ != State::answering) return;
    session.set_answer_due(false);
    std::string text = R"("fleet":"unavailable")";
    if (fleet)
      text = R"("fleet":{"gateways":)" + std::to_string(fleet->gateways) + R"(,"draining":)" +
             std::to_string(fleet->draining) + R"(,"silent":)" + std::to_string(fleet->silent) + "}";
    session.send(session.health(text));
  };
  set_answer_due(true);
  if (context_.others == nullptr) {
    const bool is_draining = context_.is_draining.load(std::memory_order_relaxed);
    return answer(Count{.gateways = 1, .draining = is_draining ? 1U : 0U});
  }
  context_.others->count([shard = &context_.shard, answer = std::move(answer)](const auto& fleet) {
    if (shard->is_current()) return answer(fleet);
    shard->post([answer, fleet] { answer(fleet); });
  });
}

void HttpSession::respond(const HttpResponse& response, std::string_view reason) {
  if (state_ != State::answering) return;
  if (is_bad_request(response.status)) context_.counters.bad_requests.fetch_add(1, std::memory_order_relaxed);
  if (response.status >= 400) {
    need_request_id();
    if (reason.empty()) reason = response.reason;
    log_refusal(transport_, user_, claimed_user_, static_cast<std::uint32_t>(response.status), reason,
                response.channel, request_id_);
  }
  send(response);
}

void HttpSession::send(const HttpResponse& response) {
  if (is_drained_) is_keep_alive_ = false;
  std::string lines = header_lines();
  if (!is_keep_alive_) {
    lines.append("Connection: close\r\n");
  } else if (is_http_1_0_) {
    lines.append("Connection: keep-alive\r\n");
  }
  std::string& bytes = context_.output.scratch();
  bytes.clear();
  append_http_response(bytes, response, lines);
  if (is_head_) bytes.resize(bytes.find("\r\n\r\n") + 4);
  if (!is_keep_alive_) return end(bytes);
  context_.output.add(outlet_, bytes);
  if (must_read_first()) await_departure();
  if (!is_answer_unsent_) answered();
}

void HttpSession::need_request_id() {
  if (request_id_.empty()) request_id_ = make_client_id(context_.random);
}

std::string HttpSession::header_lines() const {
  std::string lines = cors_;
  if (!request_id_.empty()) lines.append("X-Request-Id: ").append(request_id_).append("\r\n");
  return lines;
}

void HttpSession::await_departure() {
  is_answer_unsent_ = true;
  outlet_.wants_empty_notice = true;
}

void HttpSession::refuse(int status, std::string_view message, HeaderLines headers, std::uint32_t code) {
  HttpResponse response = http_error(status, message, code);
  response.headers = std::move(headers);
  // RFC 9110 section 15.5.2 wants a challenge; how a client proves its identity, the application's hook says.
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Carillon");
  respond(response);
}

void HttpSession::refuse_unread(int status, std::string_view message) {
  state_ = State::answering;
  is_keep_alive_ = false;
  if (!is_head_known_) {  // it was not whole: nothing is known of the request
    is_head_ = false;
    cors_.clear();
    user_.clear();
    claimed_user_.clear();
    request_id_.clear();
    transport_ = Transport::http;
  }
  refuse(status, message);
}

void HttpSession::send_away(std::string_view reason) {
  // A browser's EventSource comes back after a stream that ends, and never after another status than 200.
  need_request_id();
  std::string goodbye;
  if (transport_ == Transport::sse) {
    append_sse_come_back(goodbye, context_, header_lines());
  } else if (transport_ == Transport::uni_sse) {
    goodbye = uni_sse_come_back();
  } else {
    return respond(unavailable(), reason);
  }
  log_refusal(transport_, user_, claimed_user_, 200, reason, {}, request_id_);
  end(goodbye);
}

void HttpSession::end(std::string_view bytes) {
  context_.host.end_handshake(outlet_);
  context_.output.add(outlet_, bytes);
  state_ = State::ending;
  context_.host.close(outlet_);
}

void HttpSession::answered() {
  context_.host.end_handshake(outlet_);
  if (is_drained_) return end({});  // the drain came while an answer with keep-alive was being sent
  state_ = State::reading;
  due_ms_ = context_.clock.now_ms() + context_.limits.keepalive_timeout_ms;
  context_.host.reschedule(outlet_);
  if (is_in_read_) return;  // its loop goes on by itself
  target_.reset();          // it may have a token
  read_ahead();
}

void HttpSession::on_outlet_empty() {
  if (!std::exchange(is_answer_unsent_, false)) return;
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
  refuse_unread(408, "the request was not complete in time");
}

void HttpSession::on_closed() {
  set_answer_due(false);
  state_ = State::ending;
  reader_.reset();
  body_memory_ = {};
  poll_.reset();
}

void HttpSession::drain() {
  is_drained_ = true;
  if (poll_) return poll_->expire();
  if (asking_) {  // whatever the hook answers, this is not the server that serves it
    asking_.reset();
    return send_away("shutdown");
  }
  if (state_ == State::reading && !reader_ && !is_yielding_) end({});
}

void HttpSession::disconnect(std::uint16_t /*code*/, std::string_view /*reason*/) { end({}); }

}  // namespace carillon
