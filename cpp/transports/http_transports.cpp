// HTTP requests that become subscriptions: WebSocket handshakes, event streams, polls.
#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "protocol/centrifuge_json.hpp"
#include "protocol/emulation_request.hpp"
#include "protocol/json_span.hpp"
#include "protocol/sse_event.hpp"
#include "protocol/uni_json.hpp"
#include "transports/http_session.hpp"
#include "transports/sse_session.hpp"
#include "transports/stream_link.hpp"
#include "transports/uni_http_stream_link.hpp"
#include "transports/uni_sse_link.hpp"
#include "transports/uni_websocket_link.hpp"
#include "transports/websocket_link.hpp"

namespace carillon {

namespace {

constexpr Millis kDefaultPollTimeoutMs = 25'000;

/// The encoding that an upgrade asks for (protocol.md section 12), and the sub-protocol that says so.
struct Offer {
  Encoding encoding = Encoding::json;
  std::string_view subprotocol = {};
};

Offer read_offer(const HttpRequest& request, const HttpTarget& target) {
  static constexpr std::string_view kJson = "centrifuge-json";
  static constexpr std::string_view kProtobuf = "centrifuge-protobuf";
  const std::string_view offered = request.header("sec-websocket-protocol");
  if (lists_token(offered, kJson)) return {Encoding::json, kJson};
  if (lists_token(offered, kProtobuf)) return {Encoding::protobuf, kProtobuf};
  for (const std::string_view name : {"format", "cf_protocol"}) {
    if (target.find(name).value_or("") == "protobuf") return {Encoding::protobuf, {}};
  }
  return {};
}

}  // namespace

void HttpSession::handle_upgrade(const HttpRequest& request, const HttpTarget& target) {
  if (!context_.http.is_websocket_upgrade(request)) {
    return refuse(
        400, "this path takes a WebSocket handshake (RFC 6455): Connection: Upgrade, Upgrade: websocket");
  }
  if (request.has_body()) return refuse(400, "a WebSocket handshake has no body");
  if (const auto data = target.find("data"); data && !data->empty() && !is_json(*data))
    return refuse(400, kDataIsNotJson);
  const bool is_uni = transport_ == Transport::uni_websocket;
  const std::string_view asked = is_uni ? target.find("cf_connect").value_or("") : std::string_view();
  if (!asked.empty() && !check_connect_request(asked, "cf_connect")) return;
  const Offer offer = is_uni ? Offer{} : read_offer(request, target);
  std::optional<std::string> deflate;
  if (!is_uni) deflate = context_.deflation.accept(request.header("sec-websocket-extensions"));
  const HttpLibrary::Upgrade upgrade =
      context_.http.upgrade(request, offer.subprotocol, deflate.value_or(std::string()));
  if (upgrade.refusal_status != 0) {
    HeaderLines headers;
    if (upgrade.refusal_status == 426)
      headers = {{"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Sec-WebSocket-Version", "13"}};
    return refuse(upgrade.refusal_status, upgrade.refusal_reason, std::move(headers));
  }
  std::string response = upgrade.response;
  if (!request_id_.empty()) response.insert(response.size() - 2, "X-Request-Id: " + request_id_ + "\r\n");
  context_.output.add(outlet_, response);
  const auto message_bytes = static_cast<std::size_t>(context_.limits.message_bytes);
  std::unique_ptr<ClientLink> link;
  if (is_uni) {
    link = std::make_unique<UniWebSocketLink>(message_bytes, make_client_id(context_.random));
  } else {
    const bool has_own_pings = target.find("cf_ws_frame_ping_pong").value_or("") == "true";
    link = std::make_unique<WebSocketLink>(message_bytes, offer.encoding, has_own_pings,
                                           deflate ? &context_.deflation : nullptr);
  }
  CentrifugeClient& next = begin_client(std::move(link), request, target);
  if (!asked.empty()) next.on_message(asked);
  std::string input(input_behind_);
  if (!input.empty()) next.on_bytes(input);
}

namespace {

/// The response of a stream has no length: it ends with the connection.
std::string head_of_stream(std::string_view content_type, std::string_view extra_headers) {
  std::string head = "HTTP/1.1 200 OK\r\nContent-Type: ";
  head.append(content_type)
      .append(
          "\r\nCache-Control: private, no-cache, no-store, must-revalidate, max-age=0\r\n"
          "Pragma: no-cache\r\nX-Accel-Buffering: no\r\nConnection: close\r\n")
      .append(extra_headers)
      .append("\r\n");
  return head;
}

Encoding encoding_of(const HttpRequest& request) {
  const std::string_view type = request.header("content-type");
  return type.starts_with("application/octet-stream") ? Encoding::protobuf : Encoding::json;
}

}  // namespace

void HttpSession::handle_stream(const HttpRequest& request, const HttpTarget& target,
                                std::string_view commands) {
  const bool is_event_stream = transport_ == Transport::emulated_sse;
  if (commands.empty()) {
    return refuse(400, is_event_stream ? "cf_connect: is missing; give the client's commands, connect first"
                                       : "the body: is empty; give the client's commands, connect first");
  }
  if (commands.size() > static_cast<std::size_t>(context_.limits.message_bytes))
    return refuse(413, "the commands are longer than websocket.message_size_limit");
  const Encoding encoding = is_event_stream ? Encoding::json : encoding_of(request);
  const std::string_view content_type = is_event_stream              ? "text/event-stream; charset=utf-8"
                                        : encoding == Encoding::json ? "application/x-ndjson"
                                                                     : "application/octet-stream";
  context_.output.add(outlet_, head_of_stream(content_type, header_lines()));
  // So that EventSource is open at once. No "\r\n": version 2 of npm's eventsource, which SDKs still use,
  // takes the end of an event that comes with it for a part of that line end.
  if (is_event_stream) context_.output.add(outlet_, "\n");
  auto link = std::make_unique<StreamLink>(is_event_stream ? Framing::event : Framing::stream, encoding,
                                           make_client_id(context_.random));
  begin_client(std::move(link), request, target).on_message(commands);
}

bool HttpSession::check_connect_request(std::string_view asked, std::string_view field) {
  if (asked.size() > static_cast<std::size_t>(context_.limits.message_bytes)) {
    refuse(413, std::string(field) + ": is longer than websocket.message_size_limit");
    return false;
  }
  Command command;
  std::string scratch;
  std::vector<SubscriptionWish> wishes;
  const auto most = static_cast<std::size_t>(context_.limits.channels_per_connection);
  std::string problem;
  if (!decode_connect_request(asked, command, scratch)) {
    problem = why_no_connect_request(asked);
  } else if (uni_json_codec().decode_wishes(command.wishes, most, wishes)) {
    return true;
  } else {
    problem = "subs: must name channels, each with nothing but recover, offset, epoch and delta";
  }
  refuse(400, std::string(field) + ": is not a connect request (" + problem +
                  "); give a JSON object such as {} or {\"token\":\"…\",\"subs\":{}}");
  return false;
}

void HttpSession::handle_uni_stream(const HttpRequest& request, const HttpTarget& target,
                                    std::string_view asked) {
  if (!check_connect_request(asked, request.method == "GET" ? "cf_connect" : "the body")) return;
  std::string session = make_client_id(context_.random);
  std::unique_ptr<ClientLink> link;
  if (transport_ == Transport::uni_sse) {
    context_.output.add(outlet_, head_of_stream(UniSseLink::kContentType, header_lines()));
    context_.output.add(outlet_, UniSseLink::kBeginning);
    link = std::make_unique<UniSseLink>(std::move(session));
  } else {
    context_.output.add(outlet_, head_of_stream(UniHttpStreamLink::kContentType, header_lines()));
    link = std::make_unique<UniHttpStreamLink>(std::move(session));
  }
  begin_client(std::move(link), request, target).on_message(asked);
}

std::string HttpSession::uni_sse_come_back() {
  const DisconnectCode& code = is_drained_ ? kDisconnectShutdown : kDisconnectTooManyRequests;
  std::string push;
  uni_json_codec().encode_push_disconnect(push, code.code, code.reason);
  UniSseLink({}).frame(push);
  std::string goodbye = head_of_stream(UniSseLink::kContentType, header_lines());
  append_sse_retry_line(goodbye.append(UniSseLink::kBeginning),
                        jittered_retry_ms(context_.heartbeat, context_.random));
  return goodbye.append(push);
}

CentrifugeClient& HttpSession::begin_client(std::unique_ptr<ClientLink> link, const HttpRequest& request,
                                            const HttpTarget& target) {
  auto successor = std::make_unique<CentrifugeClient>(context_, outlet_, std::move(link),
                                                      std::string(target.find("user").value_or("")),
                                                      request_id_, for_hooks(request, target));
  CentrifugeClient& client = *successor;
  hand_over(std::move(successor));
  return client;
}

void HttpSession::handle_emulation(const HttpRequest& request) {
  BodyBudget::Share memory = std::move(body_memory_);
  std::optional<EmulationRequest> asked = read_emulation_request(request.body, encoding_of(request));
  if (!asked || asked->session.empty() || asked->data.empty())
    return refuse(400, "the body: is not valid; give an object with the strings session, node and data");
  if (asked->data.size() > static_cast<std::size_t>(context_.limits.message_bytes))
    return refuse(413, "data: is longer than websocket.message_size_limit");
  if (asked->node != context_.node) return forward(*asked, std::move(memory));
  const auto place = context_.directory.find(asked->session);
  if (!place) return answer_emulation(Forwarding::unknown);
  CentrifugeClient::deliver(*place, std::move(asked->data), std::move(memory));
  answer_emulation(Forwarding::taken);
}

void HttpSession::forward(const EmulationRequest& asked, BodyBudget::Share memory) {
  if (context_.others == nullptr) return answer_emulation(Forwarding::unknown);
  auto answer = [me = self(), number = request_number_,
                 kept = std::make_shared<BodyBudget::Share>(std::move(memory))](Forwarding outcome) {
    if (*me == nullptr) return;
    auto& session = static_cast<HttpSession&>(**me);
    if (session.request_number_ != number) return;
    session.set_answer_due(false);
    session.answer_emulation(outcome);
  };
  set_answer_due(true);
  context_.others->forward(asked.node, asked.session, asked.data,
                           [shard = &context_.shard, answer = std::move(answer)](Forwarding outcome) {
                             if (shard->is_current()) return answer(outcome);
                             shard->post([answer, outcome] { answer(outcome); });
                           });
}

void HttpSession::answer_emulation(Forwarding outcome) {
  switch (outcome) {
    case Forwarding::unknown:
      return refuse(404, "session: no gateway has a client with this node and session; connect again");
    case Forwarding::too_long:
      return refuse(413, "data: is longer than websocket.message_size_limit of the gateway with the client");
    case Forwarding::refused: {
      HttpResponse response = unavailable();
      return respond(response,
                     "the gateway with the client cannot be reached now, or too many requests are "
                     "under way (limits.forwarded_commands)");
    }
    case Forwarding::late:
      // Not 503: a proxy would repeat it.
      return refuse(504,
                    "the gateway with the client has not answered within limits.fleet_answer_timeout_ms: the "
                    "commands may have arrived, or not; connect again");
    case Forwarding::taken: {
      HttpResponse accepted;
      accepted.status = 204;
      return respond(accepted);
    }
  }
}

void HttpSession::handle_sse(const HttpRequest& request, const HttpTarget& target) {
  // What EventSource sends by itself when it comes back is newer than the URL's `since`, where it first
  // began; the widespread polyfill sends it as a parameter.
  std::string_view last_event_id = request.header("last-event-id");
  if (last_event_id.empty()) last_event_id = target.find("lastEventId").value_or("");
  context_.host.note_subscribe(outlet_);
  std::string refusal;
  std::optional<PlainRequest> wanted =
      read_plain_request(Transport::sse, target, last_event_id, context_, refusal);
  if (!wanted) return refuse(400, refusal);
  admit({Transport::sse, std::move(*wanted), for_hooks(request, target), [this](PlainRequest admitted) {
           if (is_input_over_) return end({});
           hand_over(std::make_unique<SseSession>(context_, outlet_, std::move(admitted), header_lines(),
                                                  request_id_));
         }});
}

std::shared_ptr<const ClientRequest> HttpSession::for_hooks(const HttpRequest& request,
                                                            const HttpTarget& target) const {
  static constexpr std::array kHooks{Operation::connect, Operation::subscribe,   Operation::publish,
                                     Operation::refresh, Operation::sub_refresh, Operation::rpc};
  if (!context_.access.takes_tokens() && std::none_of(kHooks.begin(), kHooks.end(), [this](auto hook) {
        return context_.access.has_hook(hook);
      }))
    return nullptr;
  auto client = std::make_shared<ClientRequest>();
  for (const auto& [written, value] : request.headers) {
    std::string name(written);
    std::transform(name.begin(), name.end(), name.begin(), ascii_lower);
    client->headers.emplace_back(std::move(name), value);
  }
  client->query = target.parameters;
  std::string peer = context_.host.peer(outlet_);  // ip:port, [ip]:port
  peer.resize(std::min(peer.rfind(':'), peer.size()));
  if (peer.starts_with('[')) peer = peer.substr(1, peer.size() - 2);
  client->address = std::move(peer);
  return client;
}

void HttpSession::admit(Asking asking) {
  asking_ = std::make_unique<Asking>(std::move(asking));
  ask_next();
}

void HttpSession::ask_next() {
  // First the identity, then each channel. Hooks may answer any of these late.
  while (asking_) {
    const PlainRequest& request = asking_->request;
    if (asking_->asked > request.channels.size()) {
      const std::unique_ptr<Asking> admitted = std::move(asking_);
      const std::int64_t end_s = admitted->request.identity.expiry.at_s;
      if (end_s != 0 && context_.clock.wall_ms() >= end_s * 1'000)  // a hook has said so, or was slow
        return refuse(401, kErrorExpired.message, {}, kErrorExpired.code);
      if (is_drained_) return send_away("shutdown");  // it was asked to disconnect while a hook took its time
      return admitted->then(std::move(admitted->request));
    }
    const Question question = next_question();
    const auto& granted = request.identity.subscriptions;
    const auto grant = std::find_if(granted.begin(), granted.end(), [&](const SubscriptionGrant& each) {
      return question.operation == Operation::subscribe && each.channel == question.channel;
    });
    if (grant != granted.end()) {  // the client's token or its hook has allowed it already
      Verdict verdict;
      verdict.is_allowed = true;
      verdict.subscription = *grant;
      on_verdict(verdict);
      continue;
    }
    if (question.operation == Operation::subscribe && request.identity.has_only_these)
      return refuse_channel(std::string(question.channel),
                            "channel: the token is for '" + granted.front().channel + "' alone", {}, 0);
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

Question HttpSession::next_question() const {
  Question question;
  question.transport = asking_->transport;
  question.request = asking_->client;
  if (question.request) {
    question.token = question.request->token(context_.token_cookie);
    question.data = question.request->parameter("data");
  }
  if (asking_->asked == 0) {
    question.claimed_user = asking_->request.claimed_user;
  } else {
    question.user = asking_->request.identity.user;
    question.operation = Operation::subscribe;
    question.channel = asking_->request.channels[asking_->asked - 1].channel;
  }
  return question;
}

void HttpSession::on_verdict(const Verdict& verdict) {
  if (!asking_) return;
  PlainRequest& request = asking_->request;
  if (verdict.is_allowed && asking_->asked > 0) {
    PlainRequest::Wanted& wanted = request.channels[asking_->asked - 1];
    wanted.terms = plain_terms(context_, next_question(), verdict.subscription.overrides);
    // Each poll recovers what came since the last one.
    const bool cannot_poll = asking_->transport == Transport::poll && wanted.since &&
                             !wanted.terms.is_recoverable &&
                             context_.hub.options_for(wanted.channel).has_history();
    if (cannot_poll)
      return refuse_channel(wanted.channel, "since: no recovery in '" + wanted.channel + "'",
                            "allow_recovery");
  }
  const std::size_t asked = asking_->asked++;
  if (verdict.is_allowed) {
    if (asked == 0) {
      request.identity = verdict.identity;
      user_ = verdict.identity.user;
      request.claimed_user.clear();
      claimed_user_.clear();
    }
    return;
  }
  if (verdict.is_undecided) {
    asking_.reset();
    return send_away(verdict.reason);
  }
  if (asked == 0) {
    if (!verdict.identity.user.empty()) {  // proved by a token, and refused all the same
      user_ = verdict.identity.user;
      claimed_user_.clear();
    }
    asking_.reset();
    const std::string reason = verdict.reason.empty() ? "not authenticated" : verdict.reason;
    // The remark tells an operator more than the client is told.
    return respond(http_error(401, reason, verdict.code),
                   verdict.remark.empty() ? reason : reason + "; " + std::string(verdict.remark));
  }
  const std::string& channel = request.channels[asked - 1].channel;
  refuse_channel(
      channel,
      verdict.reason.empty() ? "channel: no permission to subscribe to '" + channel + "'" : verdict.reason,
      verdict.option, verdict.code);
}

void HttpSession::refuse_channel(std::string channel, std::string reason, std::string_view option,
                                 std::uint32_t code) {
  asking_.reset();
  if (!option.empty()) reason.append("; set ").append(option).append(" to allow it");
  HttpResponse response = http_error(403, reason, code);
  response.channel = std::move(channel);
  respond(response);
}

void HttpSession::hand_over(std::unique_ptr<Session> successor) {
  state_ = State::ending;
  if (std::exchange(is_reading_paused_, false)) context_.host.pause_reading(outlet_, false);
  context_.host.replace(outlet_, std::move(successor));
}

void HttpSession::handle_poll(const HttpRequest& request, const HttpTarget& target) {
  std::string refusal;
  std::optional<PlainRequest> wanted = read_plain_request(Transport::poll, target, {}, context_, refusal);
  if (!wanted) return refuse(400, refusal);
  Millis timeout_ms = kDefaultPollTimeoutMs;
  if (const auto given = target.find("timeout")) {
    double seconds = 0;
    const auto [end, error] = std::from_chars(given->data(), given->data() + given->size(), seconds);
    if (error != std::errc() || end != given->data() + given->size() || !(seconds >= 0) || seconds > 1e9) {
      return refuse(400, "timeout: a number of seconds, such as 25");
    }
    timeout_ms = static_cast<Millis>(seconds * 1000);
  }
  timeout_ms = std::min(timeout_ms, context_.limits.poll_timeout_ms);
  admit({Transport::poll, std::move(*wanted), for_hooks(request, target),
         [this, timeout_ms](PlainRequest admitted) { begin_poll(std::move(admitted), timeout_ms); }});
}

void HttpSession::begin_poll(PlainRequest request, Millis timeout_ms) {
  context_.host.end_handshake(outlet_);
  if (const std::int64_t at_s = request.identity.expiry.at_s; at_s != 0)
    timeout_ms = std::clamp<Millis>(at_s * 1'000 - context_.clock.wall_ms(), 0, timeout_ms);
  poll_ = std::make_unique<PollExchange>(context_, std::move(request), context_.clock.now_ms() + timeout_ms,
                                         owner_of_poll());
  if ((timeout_ms <= 0 || is_input_over_) && !poll_->is_answered()) poll_->answer_soon();
  context_.host.reschedule(outlet_);
}

PollExchange::Owner HttpSession::owner_of_poll() {
  PollExchange::Owner owner;
  owner.ready_soon = [this] { context_.output.finish_later(*this); };
  owner.answer = [this](std::string body) {
    await_departure();  // a poll is over when its answer has left
    HttpResponse response;
    response.body = std::move(body);
    response.headers.emplace_back("X-Accel-Buffering", "no");
    respond(response);
  };
  owner.note_gap = [this](std::string_view channel, const Gap& gap) {
    log_gap(Transport::poll, channel, gap, request_id_);
  };
  owner.note_not_recovered = [this](std::string_view channel, const SubscribeOutcome& outcome) {
    log_not_recovered(Transport::poll, channel, outcome, request_id_);
  };
  owner.fail = [this] {
    await_departure();
    send_away("the store is not available");
  };
  return owner;
}

}  // namespace carillon
