// How a client subscribes, recovers and unsubscribes.
#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "client/centrifuge_client.hpp"
#include "client/client_subscription.hpp"
#include "requests/checks.hpp"
#include "requests/since.hpp"
#include "requests/store_errors.hpp"
#include "session/forms.hpp"

namespace carillon {

namespace {

/// Where the command's subscription starts. False: its fields contradict each other, or one is not valid.
bool read_start(const Command& command, std::optional<Since>& since) {
  if (command.is_recover) {
    since = Since::from(command.epoch, command.offset);
    return command.since.empty() && !command.last;
  }
  if (command.last) {
    since = Since::last(*command.last);
    return command.since.empty();
  }
  if (command.since.empty()) return true;
  since = parse_since(command.since);
  return since.has_value();
}

}  // namespace

bool CentrifugeClient::handle_subscribe(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest, kNoChannel);
  if (!is_delta_wish(command.delta))
    return disconnect_with(kDisconnectBadRequest, "delta: of a subscribe is not a type of deltas");
  if (!is_channel_name(command.channel, context_.limits)) {
    refuse_subscribe(command, kErrorBadRequest,
                     "a name is UTF-8 without control characters, 1 to limits.channel_name_bytes long");
    return true;
  }
  if (!context_.hub.is_known(command.channel)) {
    refuse_subscribe(command, kErrorUnknownChannel, "its namespace is not in channel.namespaces");
    return true;
  }
  if (lanes_.is_cancelled(command.channel)) return true;  // as one that is under way would be
  if (find(command.channel) != nullptr) {
    refuse_subscribe(command, kErrorAlreadySubscribed);
    return true;
  }
  if (has_all_channels()) {
    refuse_subscribe(command, kErrorLimitExceeded, "raise limits.channels_per_connection");
    return true;
  }
  const auto type = static_cast<std::int64_t>(context_.hub.options_for(command.channel).subscription_type);
  if (command.type != 0 || type != 0) {
    const bool is_shared_poll = command.type == static_cast<std::int64_t>(SubscriptionType::shared_poll);
    refuse_subscribe(command, is_shared_poll ? kErrorNotAvailable : kErrorPermissionDenied,
                     command.type == type ? "subscriptions of this type are not available"
                                          : "subscription_type of the channel is another one");
    return true;
  }
  std::optional<TagsFilter> filter;
  if (command.has_tags_filter) {
    const bool is_allowed = context_.hub.options_for(command.channel).allow_tags_filter;
    if (is_allowed) {
      filter = codec_.encoding() == Encoding::json ? TagsFilter::from_json(command.filter)
                                                   : TagsFilter::from_protobuf(command.filter);
    }
    if (!filter) {
      refuse_subscribe(command, kErrorBadRequest,
                       is_allowed ? "tf is not a tree of comparisons, or has more than 16 levels or 256 parts"
                                  : "set allow_tags_filter of the channel, or leave tf out");
      return true;
    }
  }
  std::optional<Since> since;
  if (!read_start(command, since)) {
    reply_error(command.id,
                {kErrorBadRequest.code,
                 "bad request: give one of recover, since (epoch:offset or \"oldest\") and last", false});
    return true;
  }
  if (take_skipped(command.channel, since)) since = Since{};  // it matches no epoch: not recovered
  const bool must_recover = (command.flag & 2U) != 0;
  Question asked = question(Operation::subscribe, command.channel, command.data);
  asked.token = command.token;
  const std::optional<Verdict> verdict = context_.access.answer(asked);
  if (verdict && !verdict->is_allowed) {
    deny(command.id, Operation::subscribe, command.channel, *verdict);
    return phase_ == Phase::connected;
  }
  if (subscriptions_.empty()) context_.host.note_subscribe(outlet_);
  Subscription& subscription = add_subscription(command.channel, false);
  // A client that names a start asks for the recovery that this needs.
  const SubscriptionWishes wishes{command.is_recoverable || since, command.is_positioned,
                                  command.is_join_leave};
  const Wanted wanted{command.id, since, must_recover, wishes};
  subscription.wants_delta = !command.delta.empty();
  if (filter) subscription.filter_by(*this, std::move(*filter), std::string(command.filter));
  if (verdict) {
    open_subscription(subscription, wanted, verdict->subscription);
    return true;
  }
  // It stays until it is answered, or the session is closed: nobody answers then.
  ask(asked, [this, &subscription, wanted](const Verdict& later) {
    const bool is_wanted = lanes_.is_wanted(subscription.ticket);
    if (is_wanted && later.is_allowed) return open_subscription(subscription, wanted, later.subscription);
    if (is_wanted) deny(wanted.id, Operation::subscribe, subscription.channel, later);
    end_attempt(subscription);
  });
  return true;
}

bool CentrifugeClient::take_skipped(std::string_view channel, const std::optional<Since>& since) {
  if (!skipped_) return false;
  const auto skipped = std::find_if(skipped_->begin(), skipped_->end(),
                                    [&](const auto& each) { return each.channel == channel; });
  if (skipped == skipped_->end()) return false;
  const Position goes_on = skipped->position;
  skipped_->erase(skipped);
  if (skipped_->empty()) skipped_.reset();
  return since && since->is_position() && since->accepts(goes_on.epoch) && since->offset < goes_on.offset;
}

void CentrifugeClient::open_subscription(Subscription& subscription, const Wanted& wanted,
                                         const SubscriptionGrant& grant) {
  accept(subscription, grant, wanted.wishes);
  open(subscription, wanted.since,
       [this, &subscription, wanted, data = grant.data_json](const SubscribeOutcome& outcome) {
         on_subscribed(subscription, wanted, outcome, data);
       });
}

void CentrifugeClient::accept(Subscription& subscription, const SubscriptionGrant& grant,
                              const SubscriptionWishes& wishes) {
  const std::string& channel = subscription.channel;
  subscription.accept(grant, terms_of(context_.access, question(Operation::subscribe, channel),
                                      context_.hub.options_for(channel), wishes, grant.overrides));
  if (context_.access.asks_hook(Operation::sub_refresh, channel)) subscription.end_without_client();
}

void CentrifugeClient::open(Subscription& subscription, const std::optional<Since>& since,
                            Hub::SubscribeDone done) {
  const ChannelOptions& options = context_.hub.options_for(subscription.channel);
  const bool is_refused = since && !subscription.is_recoverable && options.has_history();
  if (is_refused && since->kind != Since::Kind::last) {
    done = [done = std::move(done)](const SubscribeOutcome& outcome) {
      SubscribeOutcome told = outcome;
      told.was_recovering = true;
      told.is_known = false;  // nobody has compared it
      done(told);
    };
  }
  std::optional<Since> start = is_refused ? std::nullopt : since;
  const bool is_cache = options.recovery_mode == RecoveryMode::cache && subscription.is_recoverable;
  if (is_cache && (start ? start->is_position() : options.auto_cache_recover)) start = Since::cache(start);
  context_.hub.subscribe(context_.shard, subscription.cursor, subscription.channel, start, std::move(done));
}

void CentrifugeClient::end_attempt(Subscription& subscription) {
  const Lanes::Ticket ticket = subscription.ticket;
  end_subscription(subscription);
  erase(subscription);
  finish(ticket);
}

void CentrifugeClient::cancel_subscribe(std::string_view channel) {
  Subscription* const subscription = find(channel);
  if (subscription == nullptr || subscription->state != Subscription::State::asked) return;
  subscription->state = Subscription::State::cancelled;
  lanes_.release(subscription->ticket);
}

void CentrifugeClient::on_subscribed(Subscription& subscription, const Wanted& wanted,
                                     const SubscribeOutcome& outcome, std::string_view data) {
  if (!lanes_.is_wanted(subscription.ticket)) return end_attempt(subscription);
  const auto refuse = [&](const ErrorCode& error) {
    reply_error(wanted.id, error);
    end_attempt(subscription);
  };
  if (outcome.error != StoreError::none) return refuse(kErrorStoreAway);
  if (wanted.must_recover && outcome.was_recovering && !outcome.is_recovered)
    return refuse(kErrorUnrecoverablePosition);

  std::string publications;
  SubscribeResult result = result_of(subscription, outcome,
                                     static_cast<std::size_t>(context_.limits.recovery_bytes), publications);
  result.data = data;
  reply([&](std::string& out) { codec_.encode_subscribe(out, wanted.id, result); });
  begin(subscription);
  const bool is_unwanted = subscription.is_unwanted;
  const std::string channel = is_unwanted ? subscription.channel : std::string();
  finish(subscription.ticket);
  if (is_unwanted) unsubscribe(channel, kUnsubscribeByServer);
}

SubscribeResult CentrifugeClient::result_of(Subscription& subscription, const SubscribeOutcome& outcome,
                                            std::size_t page_bytes, std::string& publications) {
  SubscribeResult result;
  result.has_delta = has_delta(subscription, outcome);
  if (result.has_delta) subscription.start_delta(*this);
  if (outcome.has_history && subscription.is_positioned) {
    result.is_recoverable = subscription.is_recoverable;
    result.is_positioned = true;
    result.epoch = outcome.start.epoch.text();
    result.offset = outcome.start.offset;
    result.is_recovered = outcome.is_recovered;
    if (outcome.was_recovering && !outcome.is_recovered)
      log_not_recovered(link_->transport(), subscription.channel, outcome);
    if (outcome.start.offset < outcome.top && page_bytes > 0 && !outlet_.is_clogged) {
      // The first page of what is there already stands in the reply, as SDKs of this family know it; the pump
      // brings the rest.
      publications = take_page(subscription, page_bytes);
      result.publications = publications;
    }
  }
  result.was_recovering = outcome.was_recovering;
  result.is_conflated = context_.hub.options_for(subscription.channel).conflate;
  result.ttl_s = ttl_of(subscription.expiry());
  result.expires = result.ttl_s > 0;
  return result;
}

void CentrifugeClient::begin(Subscription& subscription) {
  subscription.state = Subscription::State::started;
  if (subscription.expiry().at_s != 0) schedule_expiry();
  show_in_presence(subscription);
  if (subscription.has_notices)
    context_.hub.announce(subscription.channel, EntryKind::join, info_json(subscription));
}

void CentrifugeClient::show_in_presence(const Subscription& subscription) {
  if (!subscription.has_presence) return;
  context_.hub.add_presence(subscription.channel,
                            {std::string(client_id()), user_, conn_info(), std::string(subscription.info())});
}

bool CentrifugeClient::has_delta(const Subscription& subscription, const SubscribeOutcome& outcome) const {
  return subscription.wants_delta && subscription.filter() == nullptr && subscription.is_positioned &&
         outcome.has_history && context_.hub.options_for(subscription.channel).has_delta();
}

std::string CentrifugeClient::take_page(Subscription& subscription, std::size_t bytes_max) {
  std::string page;
  const std::unique_ptr<Batch> batch = context_.shard.take_page(
      subscription.cursor, static_cast<std::size_t>(context_.limits.history_publications), bytes_max);
  if (!batch) return page;
  std::uint32_t listed = 0;
  std::string object;
  const bool has_delta = subscription.has_delta();
  for (std::uint32_t i = 0; i < batch->size(); ++i) {
    const EntryRef& entry = batch->entries()[i];
    if (batch->is_conflated(i)) {
      subscription.cursor.count_conflated(1);
      continue;
    }
    const bool passes = subscription.filter() == nullptr || subscription.filter()->passes(*entry);
    if (entry->kind != EntryKind::publication || !passes) {
      context_.shard.count_dropped(subscription.cursor, DropReason::filtered, 1);
      continue;
    }
    object.clear();
    PublicationView view = view_of(*entry, batch->epoch());
    if (has_delta) {
      view = delta_view_of(*entry, batch->epoch(), batch->previous_of(i, false), codec_.encoding(), false);
    }
    codec_.encode_publication(object, view);
    codec_.append_listed(page, object);
    ++listed;
  }
  if (has_delta && listed > 0) subscription.go_on_with_delta(*this);     // the page is not taken back
  context_.output.deliveries().add(link_->transport(), 0, page.size());  // and their number when it was sent
  subscription.cursor.set_under_way(subscription.cursor.under_way() + listed);
  outlet_.wants_empty_notice = true;
  return page;
}

bool CentrifugeClient::handle_unsubscribe(const Command& command) {
  if (command.channel.empty()) return disconnect_with(kDisconnectBadRequest, kNoChannel);
  if (Subscription* const subscription = find(command.channel)) {
    if (subscription->cursor.under_way() > 0) {  // a page or a cut frame of it is still to be sent
      end_later(*subscription);
    } else {
      end_subscription(*subscription);
      erase(*subscription);
    }
  }
  reply([&](std::string& out) { codec_.encode_unsubscribe(out, command.id); });
  return true;
}

bool CentrifugeClient::is_subscribed(std::string_view channel) {
  const Subscription* const subscription = find(channel);
  return subscription != nullptr && subscription->state == Subscription::State::started;
}

CentrifugeClient::Subscription* CentrifugeClient::find(std::string_view channel) {
  for (Subscription& subscription : subscriptions_) {
    if (subscription.is_current() && subscription.channel == channel) return &subscription;
  }
  return nullptr;
}

CentrifugeClient::Subscription& CentrifugeClient::add_subscription(std::string_view channel,
                                                                   bool is_by_server) {
  auto last = subscriptions_.before_begin();
  while (std::next(last) != subscriptions_.end()) ++last;
  return *subscriptions_.emplace_after(last, *this, channel, lanes_.defer(), is_by_server);
}

bool CentrifugeClient::has_all_channels() const {
  const auto current =
      std::count_if(subscriptions_.begin(), subscriptions_.end(), std::mem_fn(&Subscription::is_current));
  return current >= context_.limits.channels_per_connection;
}

void CentrifugeClient::leave(const Subscription& subscription) {
  if (subscription.state != Subscription::State::started) return;
  if (subscription.has_presence) context_.hub.remove_presence(subscription.channel, client_id());
  if (subscription.has_notices)
    context_.hub.announce(subscription.channel, EntryKind::leave, info_json(subscription));
}

void CentrifugeClient::end_later(Subscription& subscription) {
  leave(subscription);
  context_.shard.park(subscription.cursor);
  subscription.state = Subscription::State::ending;
}

void CentrifugeClient::end_subscription(Subscription& subscription) {
  subscription.cursor.cancel();
  context_.shard.unsubscribe(subscription.cursor);
  leave(subscription);
}

void CentrifugeClient::erase(const Subscription& subscription) {
  subscriptions_.remove_if([&](const Subscription& each) { return &each == &subscription; });
}

const std::string& CentrifugeClient::info_json() {
  if (!info_json_) {
    std::string info;
    append_client_info(info, {user_, client_id(), conn_info()});
    info_json_ = std::make_unique<const std::string>(std::move(info));
  }
  return *info_json_;
}

std::string CentrifugeClient::info_json(const Subscription& subscription) {
  if (subscription.info().empty()) return info_json();
  std::string info;
  append_client_info(info, {user_, client_id(), conn_info(), subscription.info()});
  return info;
}

std::string CentrifugeClient::info_json_in(std::string_view channel) {
  const auto subscription = std::find_if(subscriptions_.begin(), subscriptions_.end(), [&](const auto& each) {
    return !each.info().empty() && each.state == Subscription::State::started && each.channel == channel;
  });
  return subscription == subscriptions_.end() ? info_json() : info_json(*subscription);
}

}  // namespace carillon
