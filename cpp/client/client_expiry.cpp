// How a client and its subscriptions expire, and how the client renews them.
#include <algorithm>
#include <string>
#include <string_view>

#include "client/centrifuge_client.hpp"
#include "client/client_subscription.hpp"

namespace carillon {

namespace {
constexpr std::int64_t kTtlMaxS = 365LL * 24 * 3'600;

std::string asked_again_after(std::string_view what, Millis retry_ms) {
  return std::string(what) + " goes on, and the question is asked again after " + std::to_string(retry_ms) +
         " ms (limits.refresh_retry_ms)";
}
}  // namespace

Millis CentrifugeClient::end_of(const Expiry& expiry, Millis delay_ms) const {
  if (expiry.at_s == 0) return kNoDeadline;
  const Millis end_ms = expiry.at_s * 1'000 + (expiry.is_renewed_by_client ? delay_ms : 0);
  return context_.clock.now_ms() + std::max<Millis>(0, end_ms - context_.clock.wall_ms());
}

std::uint32_t CentrifugeClient::ttl_of(const Expiry& expiry) const {
  if (expiry.at_s == 0 || !expiry.is_renewed_by_client) return 0;
  const std::int64_t left_s = (expiry.at_s * 1'000 - context_.clock.wall_ms()) / 1'000;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(left_s, 1, kTtlMaxS));
}

void CentrifugeClient::schedule_expiry() {
  expiry_due_ms_ = is_renewing_ ? kNoDeadline : end_of(expiry_, context_.limits.expired_close_delay_ms);
  for (const Subscription& subscription : subscriptions_) {
    if (subscription.state != Subscription::State::started || subscription.is_renewing) continue;
    expiry_due_ms_ =
        std::min(expiry_due_ms_, end_of(subscription.expiry(), context_.limits.expired_sub_close_delay_ms));
  }
  context_.host.reschedule(outlet_);
}

void CentrifugeClient::end_expired(Millis now_ms) {
  // The clocks are asked again: somebody may have set the time of day since.
  if (!is_renewing_ && end_of(expiry_, context_.limits.expired_close_delay_ms) <= now_ms) {
    if (!is_renewed_by_hook()) {
      disconnect_with(kDisconnectConnectionExpired);
      return;
    }
    ask_to_go_on();
  }
  for (Subscription& subscription : subscriptions_) {
    if (is_over()) return;
    if (subscription.state != Subscription::State::started || subscription.is_renewing) continue;
    if (end_of(subscription.expiry(), context_.limits.expired_sub_close_delay_ms) > now_ms) continue;
    is_renewed_by_hook(subscription) ? ask_to_go_on(subscription) : end_expired(subscription);
  }
  if (!is_over()) schedule_expiry();
}

void CentrifugeClient::end_expired(Subscription& subscription) {
  if (subscription.is_by_server) {  // its client cannot subscribe again, but connect again
    disconnect_with(kDisconnectSubscriptionExpired);
    return;
  }
  reply([&](std::string& out) {
    codec_.encode_push_unsubscribe(out, subscription.channel, kUnsubscribeExpired.code,
                                   kUnsubscribeExpired.reason);
  });
  end_later(subscription);
  outlet_.wants_empty_notice = true;
}

// ---- renewed by a hook

bool CentrifugeClient::is_renewed_by_hook() const {
  return !expiry_.is_renewed_by_client && context_.access.has_hook(Operation::refresh);
}

bool CentrifugeClient::is_renewed_by_hook(const Subscription& subscription) const {
  return !subscription.expiry().is_renewed_by_client &&
         context_.access.asks_hook(Operation::sub_refresh, subscription.channel);
}

std::int64_t CentrifugeClient::next_try_s() const {
  return (context_.clock.wall_ms() + context_.limits.refresh_retry_ms + 999) / 1'000;
}

void CentrifugeClient::ask_to_go_on() {
  is_renewing_ = true;
  ask(question(Operation::refresh, {}),
      [this, asked_at_s = expiry_.at_s](const Verdict& verdict) { on_renewed(verdict, asked_at_s); });
}

void CentrifugeClient::ask_to_go_on(Subscription& subscription) {
  subscription.is_renewing = true;
  ask(question(Operation::sub_refresh, subscription.channel),
      [this, channel = subscription.channel](const Verdict& verdict) {
        Subscription* const asked = find(channel);
        if (asked != nullptr && asked->is_renewing) on_renewed(*asked, verdict);
      });
}

void CentrifugeClient::on_renewed(const Verdict& verdict, std::int64_t asked_at_s) {
  is_renewing_ = false;
  if (phase_ != Phase::connected) return;
  if (!verdict.is_allowed && !verdict.is_undecided) {
    const bool has_code = verdict.code >= 3'000;
    return disconnect(
        has_code ? static_cast<std::uint16_t>(verdict.code) : kDisconnectConnectionExpired.code,
        verdict.reason.empty() ? kDisconnectConnectionExpired.reason : std::string_view(verdict.reason));
  }
  if (verdict.is_undecided) {
    log_refused(Operation::refresh, {}, {kErrorInternal.code, verdict.reason},
                asked_again_after("the connection", context_.limits.refresh_retry_ms));
    if (expiry_.at_s == asked_at_s) expiry_.at_s = next_try_s();
  } else if (expiry_.at_s == asked_at_s) {  // else the application has moved it meanwhile
    expiry_ = {verdict.identity.expiry.at_s, false};
    if (end_of(expiry_, 0) <= context_.clock.now_ms()) {
      disconnect_with(kDisconnectConnectionExpired);
      return;
    }
  }
  if (verdict.is_allowed) renew_info(verdict.identity.info_json);
  schedule_expiry();
}

void CentrifugeClient::on_renewed(Subscription& subscription, const Verdict& verdict) {
  subscription.is_renewing = false;
  if (phase_ != Phase::connected) return;
  if (!verdict.is_allowed && !verdict.is_undecided) {
    if (verdict.code >= 3'000) return disconnect(static_cast<std::uint16_t>(verdict.code), verdict.reason);
    end_expired(subscription);
  } else if (verdict.is_undecided) {
    log_refused(Operation::sub_refresh, subscription.channel, {kErrorInternal.code, verdict.reason},
                asked_again_after("the subscription", context_.limits.refresh_retry_ms));
    subscription.set_expiry({next_try_s(), false});
  } else {
    subscription.set_expiry({verdict.subscription.expiry.at_s, false});
    if (end_of(subscription.expiry(), 0) <= context_.clock.now_ms()) {
      end_expired(subscription);
    } else {
      renew_info(subscription, verdict.subscription.info_json);
    }
  }
  if (!is_over()) schedule_expiry();
}

void CentrifugeClient::renew_info(const std::string& info) {
  if (info.empty() || info == conn_info()) return;
  conn_info_json_ = std::make_unique<const std::string>(info);
  info_json_.reset();
  for (const Subscription& subscription : subscriptions_)
    if (subscription.state == Subscription::State::started) show_in_presence(subscription);
}

void CentrifugeClient::renew_info(Subscription& subscription, const std::string& info) {
  if (info.empty() || info == subscription.info()) return;
  subscription.set_info(info);
  show_in_presence(subscription);
}

bool CentrifugeClient::refresh(const Renewal& renewal) {
  if (phase_ != Phase::connected) return false;
  expiry_.at_s = renewal.at_s;
  renew_info(renewal.info_json);
  schedule_expiry();
  RefreshResult result;
  result.ttl_s = ttl_of(expiry_);
  result.expires = result.ttl_s > 0;
  reply([&](std::string& out) { codec_.encode_push_refresh(out, result); });
  return true;
}

bool CentrifugeClient::handle_refresh(const Command& command) {
  // A client that was told to renew itself may do so, also if a hook has been added since.
  if (context_.access.has_hook(Operation::refresh) && !expiry_.is_renewed_by_client)
    return disconnect_with(kDisconnectBadRequest, "a hook renews it, and not the client");
  if (!context_.access.takes_tokens()) {
    reply_error(command.id, kErrorNotAvailable);
    return true;
  }
  // Where the server ends the connection itself, as a hook has decided, a client cannot put it off.
  if (expiry_.at_s != 0 && !expiry_.is_renewed_by_client)
    return disconnect_with(kDisconnectBadRequest, "the server alone ends it, and no token puts that off");
  Question asked = question(Operation::refresh, {});
  asked.token = command.token;
  const std::optional<Verdict> verdict = context_.access.answer(asked);
  if (!verdict || !verdict->is_allowed) {
    deny(command.id, Operation::refresh, {}, verdict.value_or(Verdict{}));
    return phase_ == Phase::connected;
  }
  if (verdict->identity.token_channels != token_channels_)
    return disconnect_with(kDisconnectInsufficientState);
  expiry_ = verdict->identity.expiry;
  renew_info(verdict->identity.info_json);
  schedule_expiry();
  RefreshResult result{client_id(), context_.version};
  result.ttl_s = ttl_of(expiry_);
  result.expires = result.ttl_s > 0;
  reply([&](std::string& out) { codec_.encode_refresh(out, command.id, result); });
  return true;
}

bool CentrifugeClient::handle_sub_refresh(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest, kNoChannel);
  if (!context_.access.takes_tokens()) {
    reply_error(command.id, kErrorNotAvailable);
    return true;
  }
  Subscription* const subscription = find(command.channel);
  if (subscription == nullptr || subscription->state != Subscription::State::started) {
    reply_error(command.id, kErrorPermissionDenied);
    return true;
  }
  if (context_.access.asks_hook(Operation::sub_refresh, command.channel) &&
      !subscription->expiry().is_renewed_by_client)
    return disconnect_with(kDisconnectBadRequest, "a hook renews the subscription, and not the client");
  Question asked = question(Operation::sub_refresh, command.channel);
  asked.token = command.token;
  const std::optional<Verdict> verdict = context_.access.answer(asked);
  if (!verdict || !verdict->is_allowed) {
    deny(command.id, Operation::sub_refresh, command.channel, verdict.value_or(Verdict{}));
    return phase_ == Phase::connected;
  }
  subscription->set_expiry(verdict->subscription.expiry);
  renew_info(*subscription, verdict->subscription.info_json);
  schedule_expiry();
  RefreshResult result;
  result.ttl_s = ttl_of(subscription->expiry());
  result.expires = result.ttl_s > 0;
  reply([&](std::string& out) { codec_.encode_sub_refresh(out, command.id, result); });
  return true;
}

}  // namespace carillon
