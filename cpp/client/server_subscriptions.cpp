// Subscriptions that the server makes and ends for a client, at its connect and later (protocol.md
// section 15).
#include "client/server_subscriptions.hpp"

#include <algorithm>
#include <utility>

#include "client/client_subscription.hpp"
#include "requests/checks.hpp"

namespace carillon {

namespace {

bool has_channel(const std::vector<SubscriptionGrant>& grants, std::string_view channel) {
  return std::any_of(grants.begin(), grants.end(), [&](const auto& each) { return each.channel == channel; });
}

/// What a client that comes back says of the channel; null: nothing.
const SubscriptionWish* find_wish(std::span<const SubscriptionWish> wishes, std::string_view channel) {
  const auto found = std::find_if(wishes.begin(), wishes.end(),
                                  [&](const SubscriptionWish& wish) { return wish.channel == channel; });
  return found == wishes.end() ? nullptr : &*found;
}

}  // namespace

// ---- at connect

void CentrifugeClient::begin_connect(std::uint32_t id, const Identity& identity,
                                     std::span<const SubscriptionWish> wishes, std::string_view client) {
  user_ = identity.user;
  std::optional<std::vector<SubscriptionGrant>> grants = grants_of(id, identity, wishes);
  if (!grants || !count_connection()) return user_.clear();
  if (!identity.info_json.empty()) conn_info_json_ = std::make_unique<const std::string>(identity.info_json);
  expiry_ = identity.expiry;
  if (context_.access.has_hook(Operation::refresh)) expiry_.is_renewed_by_client = false;
  token_channels_ = identity.token_channels;
  client_ = ClientId(client.empty() ? make_client_id(context_.random) : client);
  if (grants->empty()) {
    answer_connect(id, identity.data_json, {});
    return end_older_connection();
  }
  phase_ = Phase::connecting;
  connect_ = std::make_unique<Connect>(Connect{id, identity.data_json, std::move(*grants)});
  for (const SubscriptionGrant& grant : connect_->grants) {
    lanes_.begin();
    Subscription& subscription = add_subscription(grant.channel, true);
    std::optional<Since> since;
    if (const SubscriptionWish* const wish = find_wish(wishes, grant.channel)) {
      if (wish->is_recover) since = Since::from(wish->epoch, wish->offset);
      subscription.wants_delta = wish->wants_delta;
    }
    accept(subscription, grant, {.recovery = since.has_value()});
    open(subscription, since, [this, &subscription](const SubscribeOutcome& outcome) {
      on_connect_subscribed(subscription, outcome);
    });
    lanes_.end(grant.channel, 0);
    if (is_over()) return;  // the store is not available
  }
  connect_->is_asking = false;
  if (connect_->is_complete()) complete_connect();
}

std::optional<std::vector<SubscriptionGrant>> CentrifugeClient::grants_of(
    std::uint32_t id, const Identity& identity, std::span<const SubscriptionWish> wishes) {
  std::vector<SubscriptionGrant> grants;
  const auto refuse = [&](const ErrorCode& error, std::string_view channel, std::string_view remedy) {
    phase_ = Phase::waiting;
    log_refused(Operation::connect, channel, error, remedy);
    reply_error(id, error);
    return std::nullopt;
  };
  const auto most = static_cast<std::size_t>(context_.limits.channels_per_connection);
  const auto refuse_many = [&](std::string_view channel) {
    log_refused(Operation::connect, channel, {kDisconnectChannelLimit.code, "channel limit"},
                "raise limits.channels_per_connection");
    disconnect_with(kDisconnectChannelLimit);
    return std::nullopt;
  };
  if (identity.subscriptions.size() > most) return refuse_many(identity.subscriptions.back().channel);
  for (const SubscriptionGrant& grant : identity.subscriptions) {
    if (!is_channel_name(grant.channel, context_.limits))
      return refuse(kErrorBadRequest, grant.channel, channel_name_error(grant.channel, context_.limits));
    if (!has_channel(grants, grant.channel)) grants.push_back(grant);
  }
  if (context_.personal_channel.is_enabled && !user_.empty()) {
    std::string channel = context_.personal_channel.of(user_);
    if (!is_channel_name(channel, context_.limits))
      return refuse(kErrorBadRequest, channel, channel_name_error(channel, context_.limits));
    if (!has_channel(grants, channel)) grants.push_back({.channel = std::move(channel)});
  }
  for (const SubscriptionGrant& grant : grants) {
    if (!context_.hub.is_known(grant.channel))
      return refuse(kErrorUnknownChannel, grant.channel, "its namespace is not in channel.namespaces");
    if (!context_.hub.options_for(grant.channel).is_stream())
      return refuse(kErrorPermissionDenied, grant.channel, "its subscription_type is not available");
  }
  for (const SubscriptionWish& wish : wishes) {
    if (has_channel(grants, wish.channel) || !is_channel_name(wish.channel, context_.limits)) continue;
    if (!context_.hub.is_known(wish.channel)) {
      log_refused(Operation::connect, wish.channel,
                  {kDisconnectBadRequest.code, kDisconnectBadRequest.reason},
                  "its namespace is not in channel.namespaces");
      disconnect_with(kDisconnectBadRequest);
      return std::nullopt;
    }
    if (may_have(wish)) grants.push_back({.channel = wish.channel});
  }
  if (grants.size() > most) return refuse_many(grants.back().channel);
  return grants;
}

bool CentrifugeClient::may_have(const SubscriptionWish& wish) const {
  if (!context_.hub.options_for(wish.channel).is_stream()) return false;
  // What a hook decides, the client asks for itself: a connect does not wait for that.
  const std::optional<Verdict> verdict = context_.access.answer(question(Operation::subscribe, wish.channel));
  return verdict && verdict->is_allowed;
}

void CentrifugeClient::on_connect_subscribed(Subscription& subscription, const SubscribeOutcome& outcome) {
  if (!lanes_.is_wanted(subscription.ticket)) return end_attempt(subscription);  // it has been disconnected
  if (outcome.error != StoreError::none) {
    disconnect_with(kDisconnectServerError, "the store is not available");
    return end_attempt(subscription);
  }
  context_.shard.park(subscription.cursor);  // nothing of it comes before the reply
  connect_->made.push_back({&subscription, outcome});
  lanes_.finish(subscription.ticket);
  if (!connect_->is_complete()) return;
  complete_connect();
  carry_on();
}

void CentrifugeClient::complete_connect() {
  const std::unique_ptr<Connect> connect = std::move(connect_);
  std::string list;
  std::size_t room = context_.limits.reply_bytes();
  const auto page_max = static_cast<std::size_t>(context_.limits.recovery_bytes);
  std::erase_if(connect->made, [this](const Connect::Made& made) {
    if (!made.subscription->is_unwanted) return false;
    end_subscription(*made.subscription);
    erase(*made.subscription);
    return true;
  });
  for (const auto& [subscription, outcome] : connect->made) {
    std::string publications;
    SubscribeResult result = result_of(*subscription, outcome, std::min(room, page_max), publications);
    result.data = connect->grant_of(subscription->channel).data_json;
    room -= std::min(room, publications.size());
    codec_.append_subscription(list, subscription->channel, result);
  }
  answer_connect(connect->id, connect->data_json, list);
  for (const Connect::Made& made : connect->made) {
    begin(*made.subscription);
    context_.shard.resume(made.subscription->cursor);
  }
  end_older_connection();
}

bool CentrifugeClient::count_connection() {
  const std::int64_t most = context_.limits.user_connections;
  // Where a user has a single connection, the older one ends.
  if (most == 0 || user_.empty() || context_.personal_channel.is_single_connection) return true;
  is_counted_ = context_.user_connections.add(user_, most);
  if (is_counted_) return true;
  log_refused(Operation::connect, {},
              {kDisconnectConnectionLimit.code, kDisconnectConnectionLimit.reason, false},
              "raise client.user_connection_limit");
  disconnect_with(kDisconnectConnectionLimit);
  return false;
}

void CentrifugeClient::end_older_connection() {
  if (!context_.personal_channel.is_single_connection || user_.empty()) return;
  const auto older = context_.newest_of_user.add(user_, context_.shard, self());
  if (!older) return;
  older->shard->post([session = older->session] {
    const std::shared_ptr<Session*> client = session.lock();
    if (client && *client != nullptr)
      (*client)->disconnect(kDisconnectConnectionLimit.code, kDisconnectConnectionLimit.reason);
  });
}

// ---- later

void CentrifugeClient::subscribe(const SubscriptionGrant& grant, const std::optional<Since>& since,
                                 std::function<void(SubscribeAnswer)> done) {
  if (phase_ != Phase::connected) return done(SubscribeAnswer::not_applicable);
  if (find(grant.channel) != nullptr) return done(SubscribeAnswer::already_subscribed);
  if (has_all_channels()) return done(SubscribeAnswer::limit_exceeded);
  lanes_.begin();  // commands for this channel wait for it
  if (subscriptions_.empty()) context_.host.note_subscribe(outlet_);
  Subscription& subscription = add_subscription(grant.channel, true);
  SubscriptionGrant granted = grant;
  if (since && !granted.overrides.force_recovery) granted.overrides.force_recovery = true;  // it is wanted
  accept(subscription, granted, {});
  open(
      subscription, since,
      [this, &subscription, data = grant.data_json, done = std::move(done)](const SubscribeOutcome& outcome) {
        const bool is_made = lanes_.is_wanted(subscription.ticket) && outcome.error == StoreError::none;
        if (is_made) {
          on_server_subscribed(subscription, outcome, data);
        } else {
          end_attempt(subscription);
        }
        done(is_made ? SubscribeAnswer::subscribed : SubscribeAnswer::failed);
      });
  lanes_.end(grant.channel, 0);
}

void CentrifugeClient::on_server_subscribed(Subscription& subscription, const SubscribeOutcome& outcome,
                                            std::string_view data) {
  const Lanes::Ticket ticket = subscription.ticket;
  if (subscription.is_unwanted) return end_attempt(subscription);
  std::string none;  // a push has no publications: they come behind it
  SubscribeResult result = result_of(subscription, outcome, 0, none);
  result.data = data;
  reply([&](std::string& out) { codec_.encode_push_subscribe(out, subscription.channel, result); });
  begin(subscription);
  finish(ticket);
}

bool CentrifugeClient::unsubscribe(std::string_view channel, const UnsubscribeCode& code) {
  if (is_over()) return false;
  Subscription* const subscription = find(channel);
  if (subscription == nullptr) return false;
  if (subscription->state == Subscription::State::asked) {
    subscription->is_unwanted = true;  // it ends as soon as it has begun
    return true;
  }
  reply([&](std::string& out) {
    codec_.encode_push_unsubscribe(out, subscription->channel, code.code, code.reason);
  });
  if (subscription->cursor.under_way() > 0) {
    end_later(*subscription);
  } else {
    end_subscription(*subscription);
    erase(*subscription);
  }
  return true;
}

}  // namespace carillon
