// Commands of a client that are neither about its subscriptions nor about inboxes.
#include <algorithm>
#include <array>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "protocol/utf8.hpp"
#include "requests/checks.hpp"
#include "requests/store_errors.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {
/// A client may repeat a command that is refused as fast as it can send it.
constexpr std::uint8_t kRefusalsLogged = 10;
}  // namespace

bool CentrifugeClient::handle(const Command& command, std::string_view text) {
  if (command.kind == CommandKind::pong) {
    pong_due_ms_ = kNoDeadline;  // one that nobody asked for does no harm
    context_.host.reschedule(outlet_);
    return true;
  }
  const bool is_connect = command.kind == CommandKind::connect;
  if (!is_connect && phase_ != Phase::connected)
    return disconnect_with(kDisconnectBadRequest, "its first command is not a connect");
  if (command.is_too_deep && command.id != 0) {
    if (is_connect) log_refused_connect({}, kErrorTooDeep.code, std::string(kErrorTooDeep.message));
    reply_error(command.id, kErrorTooDeep);
    return true;
  }
  const bool takes_bytes = command.kind == CommandKind::publish || command.kind == CommandKind::rpc;
  if (command.is_binary && !takes_bytes && command.id != 0) {
    if (is_connect) log_refused_connect({}, kErrorNotJson.code, std::string(kErrorNotJson.message));
    reply_error(command.id, kErrorNotJson);
    return true;
  }
  if (is_connect) return handle_connect(command, text);
  switch (command.kind) {
    case CommandKind::subscribe:
      return handle_subscribe(command);
    case CommandKind::unsubscribe:
      return handle_unsubscribe(command);
    case CommandKind::publish:
      return handle_publish(command);
    case CommandKind::presence:
    case CommandKind::presence_stats:
      return handle_presence(command);
    case CommandKind::history:
      return handle_history(command);
    case CommandKind::ping:
      reply([&](std::string& out) { codec_.encode_ping_reply(out, command.id); });
      return true;
    case CommandKind::send:
      return disconnect_with(kDisconnectNotAvailable, "send is not supported; use rpc");
    case CommandKind::rpc:
      return handle_rpc(command);
    case CommandKind::refresh:
      return handle_refresh(command);
    case CommandKind::sub_refresh:
      return handle_sub_refresh(command);
    case CommandKind::pong:
    case CommandKind::connect:
      break;
  }
  return true;
}

namespace {
std::string with_remark(std::string_view reason, const Verdict& verdict) {
  std::string text(reason);
  if (!verdict.remark.empty()) text.append("; ").append(verdict.remark);
  return text;
}
}  // namespace

bool CentrifugeClient::handle_connect(const Command& command, std::string_view text) {
  if (phase_ != Phase::waiting) return disconnect_with(kDisconnectBadRequest, "it has connected already");
  Question asked = question(Operation::connect, {}, command.data);
  asked.token = command.token;
  asked.claimed_user = claimed_user();
  if (request_ && asked.token.empty()) asked.token = request_->token(context_.token_cookie);
  if (request_ && asked.data.empty()) asked.data = request_->parameter("data");
  std::vector<SubscriptionWish> wishes;
  const auto wishes_max = static_cast<std::size_t>(context_.limits.channels_per_connection);
  if (!codec_.decode_wishes(command.wishes, wishes_max, wishes))
    return disconnect_with(
        kDisconnectBadRequest,
        "subs: of the connect must name channels, each with nothing but recover, offset, epoch and delta");
  if (const auto verdict = context_.access.answer(asked)) {
    on_identified(command.id, *verdict, wishes);
    return phase_ == Phase::connected || phase_ == Phase::connecting;
  }
  phase_ = Phase::connecting;
  phase_due_ms_ =
      kNoDeadline;  // the question has a limit of its own: a late answer is not the client's fault
  std::string client = make_client_id(context_.random);
  asked.client = client;
  if (!newcomer_) newcomer_ = std::make_unique<Newcomer>();
  newcomer_->asked = text;
  ask(asked, [this, id = command.id, wishes = std::move(wishes), client](const Verdict& verdict) {
    if (phase_ != Phase::connecting) return;
    newcomer_->asked = {};
    on_identified(id, verdict, wishes, client);
    if (phase_ == Phase::waiting) {
      phase_due_ms_ = context_.clock.now_ms() + context_.limits.handshake_timeout_ms;
      context_.host.reschedule(outlet_);
      // What stands behind it in its message is not read, as where the answer is known at once.
      if (queued_ && queued_->is_begun) queued_->remove_first();
    }
    read_on();
  });
  return true;
}

void CentrifugeClient::on_identified(std::uint32_t id, const Verdict& verdict,
                                     std::span<const SubscriptionWish> wishes, std::string_view client) {
  if (!verdict.is_allowed) {
    phase_ = Phase::waiting;
    if (verdict.is_undecided) {
      if (verdict.code == kErrorInternal.code) {
        log_refused_connect(verdict.identity.user, verdict.code, verdict.reason);
        return reply_error(id, kErrorInternal);
      }
      log_refused_connect(verdict.identity.user, kDisconnectServerError.code, verdict.reason);
      disconnect_with(kDisconnectServerError);  // SDKs come back by themselves, with delays that grow
      return;
    }
    const std::uint32_t code = verdict.code != 0 ? verdict.code : kDisconnectPermissionDenied.code;
    const std::string_view reason =
        verdict.reason.empty() ? kDisconnectPermissionDenied.reason : std::string_view(verdict.reason);
    log_refused_connect(verdict.identity.user, code, with_remark(reason, verdict));
    if (code < 3000) return reply_error(id, {code, reason, verdict.is_temporary});
    return disconnect(static_cast<std::uint16_t>(code), reason);
  }
  const std::int64_t end_s = verdict.identity.expiry.at_s;
  if (end_s != 0 && context_.clock.wall_ms() >= end_s * 1'000) {
    phase_ = Phase::waiting;
    log_refused_connect(verdict.identity.user, kErrorExpired.code,
                        "expired: the connect was allowed with an end that has passed");
    return reply_error(id, kErrorExpired);
  }
  begin_connect(id, verdict.identity, wishes, client);
}

void CentrifugeClient::answer_connect(std::uint32_t id, std::string_view data,
                                      std::string_view subscriptions) {
  phase_ = Phase::connected;
  phase_due_ms_ = kNoDeadline;
  const std::unique_ptr<Newcomer> newcomer = std::move(newcomer_);
  if (!keeps_request()) request_.reset();
  log_connect(link_->transport(), newcomer ? std::string_view(newcomer->request_id) : std::string_view());
  const Millis interval = context_.heartbeat.ping_interval_ms;
  if (interval >
      0) {  // the first one after a random part, so that a storm of connects makes no storm of pings
    next_ping_ms_ =
        context_.clock.now_ms() + interval / 2 +
        static_cast<Millis>(context_.random.below(static_cast<std::uint64_t>(interval - interval / 2)));
  }
  ConnectResult result;
  result.client = client_id();
  result.version = context_.version;
  if (!link_->has_own_pings() && interval > 0) {
    result.ping_s = static_cast<std::uint32_t>(std::max<Millis>(1, (interval + 999) / 1000));
    result.is_pong_expected = context_.heartbeat.pong_timeout_ms > 0 && !link_->is_unidirectional();
  }
  schedule_expiry();
  result.ttl_s = ttl_of(expiry_);
  result.expires = result.ttl_s > 0;
  result.session = link_->session();
  if (is_emulated()) result.node = context_.node;
  result.data = data;
  result.subscriptions = subscriptions;
  if (context_.tells_time) result.time_ms = static_cast<std::uint64_t>(context_.clock.wall_ms());
  reply([&](std::string& out) { codec_.encode_connect(out, id, result); });
  context_.host.reschedule(outlet_);
}

bool CentrifugeClient::keeps_request() const {
  static constexpr std::array kHooks{Operation::subscribe, Operation::publish, Operation::refresh,
                                     Operation::sub_refresh, Operation::rpc};
  return std::any_of(kHooks.begin(), kHooks.end(),
                     [this](Operation hook) { return context_.access.wants_request(hook); });
}

Question CentrifugeClient::question(Operation operation, std::string_view channel,
                                    std::string_view data) const {
  Question question;
  question.operation = operation;
  question.transport = link_->transport();
  question.is_protobuf = codec_.encoding() == Encoding::protobuf;
  question.client = client_id();
  question.user = user_;
  question.channel = channel;
  question.data = data;
  question.request = request_;
  return question;
}

std::string_view CentrifugeClient::claimed_user() const {
  return newcomer_ ? std::string_view(newcomer_->claimed_user) : std::string_view();
}

std::string_view CentrifugeClient::request_id() const {
  return newcomer_ ? std::string_view(newcomer_->request_id) : std::string_view();
}

void CentrifugeClient::deny(std::uint32_t id, Operation operation, std::string_view channel,
                            const Verdict& verdict) {
  if (verdict.is_undecided) {
    log_refused(operation, channel, {kErrorInternal.code, verdict.reason}, {});
    return reply_error(id, kErrorInternal);  // temporary: it may ask again
  }
  ErrorCode error = kErrorPermissionDenied;
  if (verdict.code != 0) error.code = verdict.code;
  if (!verdict.reason.empty()) error.message = verdict.reason;
  error.is_temporary = verdict.is_temporary;
  log_refused(operation, channel, error,
              verdict.option.empty() ? std::string(verdict.remark)
                                     : "set " + std::string(verdict.option) + " to allow it");
  if (error.code < 3000) return reply_error(id, error);
  disconnect(static_cast<std::uint16_t>(error.code), error.message);
}

void CentrifugeClient::refuse_subscribe(const Command& command, const ErrorCode& error,
                                        std::string_view remedy) {
  log_refused(Operation::subscribe, command.channel, error, remedy);
  reply_error(command.id, error);
}

void CentrifugeClient::log_refused(Operation operation, std::string_view channel, const ErrorCode& error,
                                   std::string_view remedy) {
  std::string reason(name_of(operation));
  const bool is_of_client = operation == Operation::connect || operation == Operation::refresh;
  if (!channel.empty() || !is_of_client) reason.append(" ").append(in_quotes(channel));
  reason.append(": ").append(error.message);
  if (!remedy.empty()) reason.append("; ").append(remedy);
  if (!count_refusal(reason)) return;
  log_refusal(link_->transport(), user_, {}, error.code, reason,
              operation == Operation::rpc ? std::string_view() : channel, request_id());
}

void CentrifugeClient::log_refused_connect(std::string_view user, std::uint32_t code, std::string reason) {
  if (!count_refusal(reason)) return;
  log_refusal(link_->transport(), user, user.empty() ? claimed_user() : std::string_view(), code, reason, {},
              request_id());
}

bool CentrifugeClient::count_refusal(std::string& reason) {
  if (refusals_logged_ == kRefusalsLogged) return false;
  if (++refusals_logged_ == kRefusalsLogged)
    reason.append(" (further refusals of this client are not logged)");
  return true;
}

bool CentrifugeClient::check_channel(const Command& command, bool is_available) {
  if (!is_channel_name(command.channel, context_.limits)) {
    reply_error(command.id, kErrorBadRequest);
    return false;
  }
  if (!context_.hub.is_known(command.channel)) {
    reply_error(command.id, kErrorUnknownChannel);
    return false;
  }
  if (!is_available) {
    reply_error(command.id, kErrorNotAvailable);
    return false;
  }
  return true;
}

bool CentrifugeClient::handle_publish(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest, kNoChannel);
  const bool is_missing =
      command.data.empty() &&
      context_.hub.options_for(command.channel).publication_format != PublicationFormat::binary;
  if (is_missing || command.type != 0 ||
      command.data.size() > static_cast<std::size_t>(context_.limits.publication_bytes)) {
    reply_error(command.id, kErrorBadRequest);
    return true;
  }
  if (!check_channel(command, true)) return true;
  Question asked = question(Operation::publish, command.channel, command.data);
  asked.is_subscribed = is_subscribed(command.channel);
  const ContentType content =
      command.is_binary || command.data.empty() ? ContentType::binary : ContentType::json;
  const Lanes::Ticket ticket = lanes_.defer();
  if (const auto verdict = context_.access.answer(asked)) {
    publish(command.id, ticket, command.channel, command.data, content, *verdict);
    return phase_ == Phase::connected;
  }
  asked.own_data = std::make_shared<const std::string>(command.data);
  ask(asked, [this, id = command.id, ticket, channel = std::string(command.channel), data = asked.own_data,
              content](const Verdict& verdict) { publish(id, ticket, channel, *data, content, verdict); });
  return true;
}

void CentrifugeClient::publish(std::uint32_t id, Lanes::Ticket ticket, std::string_view channel,
                               std::string_view data, ContentType content, const Verdict& verdict) {
  if (!lanes_.is_wanted(ticket)) return;  // the connection has ended
  if (!verdict.is_allowed) {
    deny(id, Operation::publish, channel, verdict);
    return finish(ticket);
  }
  Publication publication;
  publication.data = verdict.data ? *verdict.data : data;
  publication.content = !verdict.data            ? content
                        : verdict.is_data_binary ? ContentType::binary
                                                 : ContentType::json;
  const PublicationFormat format = context_.hub.options_for(channel).publication_format;
  if (const std::string_view error = format_error(format, publication.data, publication.content);
      !error.empty()) {
    reply_error(id, {kErrorBadRequest.code, error});
    return finish(ticket);
  }
  publication.info_json = info_json_in(channel);
  PublishOptions options;
  if (const PublishTerms* const terms = verdict.publish.get()) {
    options = {terms->idempotency_key, terms->skips_history};
    publication.has_delta = terms->has_delta;
    publication.tags = terms->tags;
  }
  context_.hub.publish(channel, std::move(publication), options,
                       answer_with(ticket, [id](CentrifugeClient& session, const AppendResult& result) {
                         if (result.error != StoreError::none)
                           return session.reply_error(id, change_error(result.error));
                         session.reply([&](std::string& out) { session.codec_.encode_publish(out, id); });
                       }));
}

bool CentrifugeClient::is_allowed(const Command& command, Operation operation) {
  // No hook decides on these: the rules know at once.
  Question asked = question(operation, command.channel);
  asked.is_subscribed = is_subscribed(command.channel);
  const std::optional<Verdict> verdict = context_.access.answer(asked);
  if (verdict && verdict->is_allowed) return true;
  deny(command.id, operation, command.channel, verdict.value_or(Verdict{}));
  return false;
}

bool CentrifugeClient::handle_presence(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest, kNoChannel);
  if (!check_channel(command, context_.hub.options_for(command.channel).presence)) return true;
  if (!is_allowed(command, Operation::presence)) return true;
  if (command.kind == CommandKind::presence_stats) {
    const auto answer = [id = command.id](CentrifugeClient& session, const PresenceCounts& counts) {
      if (counts.error != StoreError::none) return session.reply_error(id, kErrorStoreAway);
      session.reply([&](std::string& out) {
        session.codec_.encode_presence_stats(out, id, counts.clients, counts.users);
      });
    };
    context_.hub.presence_counts(command.channel, answer_with(lanes_.defer(), answer));
    return true;
  }
  const auto answer = [id = command.id](CentrifugeClient& session, const PresenceResult& found) {
    if (found.error != StoreError::none) return session.reply_error(id, kErrorStoreAway);
    session.reply([&](std::string& out) {
      session.codec_.encode_presence(out, id, views_of(found.members), found.has_more);
    });
  };
  context_.hub.presence(command.channel, {command.after, context_.limits.reply_bytes()},
                        answer_with(lanes_.defer(), answer));
  return true;
}

bool CentrifugeClient::handle_history(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest, kNoChannel);
  if (!check_channel(command, context_.hub.options_for(command.channel).has_history())) return true;
  if (!is_allowed(command, Operation::history)) return true;
  HistoryQuery query;
  query.limit = command.limit < 0 ? context_.limits.history_publications
                                  : std::min(command.limit, context_.limits.history_publications);
  query.bytes_max = context_.limits.reply_bytes();
  if (command.has_since) query.since = Since::from(command.epoch, command.offset);
  query.is_reverse = command.is_reverse;
  if (query.is_reverse && query.since && query.since->offset == 0) {
    reply_error(command.id, kErrorBadRequest);
    return true;
  }
  const auto answer = [id = command.id](CentrifugeClient& session, const HistoryResult& found) {
    if (found.error == HistoryError::epoch_differs)
      return session.reply_error(id, kErrorUnrecoverablePosition);
    if (found.error != HistoryError::none) return session.reply_error(id, kErrorStoreAway);
    const std::string list = list_of(found, session.codec_, session.context_.limits.reply_bytes());
    session.reply([&](std::string& out) {
      session.codec_.encode_history(out, id, list, found.top.epoch.text(), found.top.offset);
    });
  };
  context_.hub.history(command.channel, query, answer_with(lanes_.defer(), answer));
  return true;
}

}  // namespace carillon
