#include "server/live_connections.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace carillon {

namespace {

/// Counts connections, and tells their number once nobody holds it any more: also where a shard's thread has
/// died, or a client goes before it can answer.
struct Count {
  explicit Count(Connections::Done its_done) : done(std::move(its_done)) {}
  Count(const Count&) = delete;
  Count& operator=(const Count&) = delete;
  ~Count() { done(connections); }
  std::atomic<std::size_t> connections{0};
  Connections::Done done;
};

struct SubscribeCount {
  explicit SubscribeCount(std::function<void(const Connections::Subscribed&)> its_done)
      : done(std::move(its_done)) {}
  SubscribeCount(const SubscribeCount&) = delete;
  SubscribeCount& operator=(const SubscribeCount&) = delete;
  ~SubscribeCount() { done(result); }

  /// False: it has been visited before.
  bool is_new(const Session& session) {
    const std::lock_guard lock(mutex);
    return clients.emplace(session.client_id()).second;
  }
  void add(SubscribeAnswer answer) {
    const std::lock_guard lock(mutex);
    if (answer == SubscribeAnswer::subscribed) ++result.connections;
    if (answer != SubscribeAnswer::subscribed && answer != SubscribeAnswer::not_applicable)
      result.refusal = answer;
  }

  std::mutex mutex;
  std::set<std::string> clients;
  Connections::Subscribed result;
  std::function<void(const Connections::Subscribed&)> done;
};

}  // namespace

bool ClientFilter::matches(const Session& candidate) const {
  return (user.empty() || candidate.user() == user) && (client.empty() || candidate.client_id() == client) &&
         (session.empty() || candidate.client_session() == session) &&
         std::find(whitelist.begin(), whitelist.end(), candidate.client_id()) == whitelist.end();
}

void LiveConnections::for_each(const std::function<void(Session&)>& visit) {
  for (const auto& shard : gateway_.shards()) {
    shard->for_each_session(
        [visit](Session& session) {
          if (!session.client_id().empty()) visit(session);
        },
        [] {});
  }
}

void LiveConnections::disconnect(ClientFilter who, std::uint16_t code, std::string reason, Done done) {
  for_each([count = std::make_shared<Count>(std::move(done)), who = std::move(who), code,
            reason = std::move(reason)](Session& session) {
    if (!who.matches(session)) return;
    ++count->connections;
    session.disconnect(code, reason);
  });
}

void LiveConnections::refresh(ClientFilter who, Renewal renewal, Done done) {
  for_each([count = std::make_shared<Count>(std::move(done)), who = std::move(who),
            renewal = std::move(renewal)](Session& session) {
    if (who.matches(session) && session.refresh(renewal)) ++count->connections;
  });
}

void LiveConnections::subscribe(ClientFilter who, SubscriptionGrant grant, std::optional<Since> since,
                                std::function<void(const Subscribed&)> done) {
  for_each([count = std::make_shared<SubscribeCount>(std::move(done)), who = std::move(who),
            grant = std::move(grant), since](Session& session) {
    if (!who.matches(session) || !count->is_new(session)) return;
    session.subscribe(grant, since, [count](SubscribeAnswer answer) { count->add(answer); });
  });
}

void LiveConnections::unsubscribe(ClientFilter who, std::string channel, Done done) {
  for_each([count = std::make_shared<Count>(std::move(done)), who = std::move(who),
            channel = std::move(channel)](Session& session) {
    if (who.matches(session) && session.unsubscribe(channel, kUnsubscribeByServer)) ++count->connections;
  });
}

}  // namespace carillon
