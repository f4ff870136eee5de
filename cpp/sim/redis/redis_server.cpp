#include "sim/redis/redis_server.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "store/entry_codec.hpp"

namespace carillon::sim {

namespace {

// A replica is not promoted sooner: a gateway cannot notice that a server was demoted and promoted again
// while it believed in its identity (docs/redis.md).
constexpr Micros kRoleUs = 1'500'000;
constexpr std::size_t kBacklog = 4'096;  // changes that a replica may lag behind

RedisReply error_reply(std::string text) { return {RedisReply::Kind::error, std::move(text), {}}; }
RedisReply text_reply(std::string text) { return {RedisReply::Kind::text, std::move(text), {}}; }

RedisReply push_of(std::string_view kind, std::string_view channel, std::string_view text) {
  RedisReply push{RedisReply::Kind::array, {}, {}};
  for (const std::string_view word : {kind, channel, text})
    push.items.push_back(text_reply(std::string(word)));
  return push;
}

/// May change data: what a replica, or a server with a full disk, refuses. The scripts say nothing of
/// themselves, so all are taken for writes.
bool is_write(const RedisCommand& command) {
  static constexpr std::array<std::string_view, 12> kReads{"INFO",    "PING",   "ECHO",        "TIME",
                                                           "GET",     "EXISTS", "HGET",        "HMGET",
                                                           "PUBLISH", "SCRIPT", "ZRANGEBYLEX", "HGETALL"};
  return std::find(kReads.begin(), kReads.end(), command[0]) == kReads.end();
}

}  // namespace

RedisServer::RedisServer(VirtualTime& time, Trace& trace, Judge& judge, std::uint64_t seed)
    : time_(time),
      trace_(trace),
      judge_(judge),
      chance_(seed, "redis"),
      nodes_{Node(chance_), Node(chance_)} {
  nodes_[0].is_primary = true;
  for (Node& node : nodes_) node.identity = new_identity();
}

RedisServer::~RedisServer() {
  for (const std::weak_ptr<RedisConnection>& each : all_connections_) {
    if (const RedisConnectionRef connection = each.lock()) {
      connection->up.clear();
      connection->down.clear();
    }
  }
}

std::string RedisServer::new_identity() {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string identity;
  for (int i = 0; i < 40; ++i) identity.push_back(kDigits[chance_.below(16)]);
  return identity;
}

// ---- the network's side

RedisConnectionRef RedisServer::connect(const std::string& gateway) {
  auto connection = std::make_shared<RedisConnection>();
  connection->gateway = gateway;
  connection->node = primary_;
  connections_.push_back(connection);
  all_connections_.push_back(connection);
  return connection;
}

void RedisServer::receive(const RedisConnectionRef& connection, std::vector<RedisCommand> commands) {
  connection->up.put(time_, delay(), std::move(commands),
                     [this, connection](std::vector<RedisCommand>&& arrived) {
                       Node& node = nodes_[connection->node];
                       if (node.stalled_until_us > time_.now_us() || !node.waiting.empty()) {
                         node.waiting.emplace_back(connection, std::move(arrived));
                         return;
                       }
                       if (connection->is_open) carry_out(connection, arrived);
                     });
}

void RedisServer::hang_up(const RedisConnectionRef& connection) {
  connection->events = nullptr;
  connection->lost = nullptr;
  // What was sent arrives before the end does.
  connection->up.put(time_, delay(), {}, [this, connection](std::vector<RedisCommand>&& /*nothing*/) {
    connection->is_open = false;
    std::erase(connections_, connection);
  });
}

void RedisServer::carry_out(const RedisConnectionRef& connection, const std::vector<RedisCommand>& commands) {
  Node& node = nodes_[connection->node];
  for (const RedisCommand& command : commands) {
    if (subscribe(connection, command)) continue;
    send_down(connection, execute(node, command), false);
  }
}

std::int64_t RedisServer::hearers(std::string_view channel) const {
  return std::count_if(connections_.begin(), connections_.end(), [&](const RedisConnectionRef& each) {
    return each->is_open && each->subscriptions.contains(std::string(channel));
  });
}

bool RedisServer::subscribe(const RedisConnectionRef& connection, const RedisCommand& command) {
  const bool is_on = command[0] == "SUBSCRIBE";
  if (!is_on && command[0] != "UNSUBSCRIBE") return false;
  for (std::size_t i = 1; i < command.size(); ++i) {
    if (is_on) {
      connection->subscriptions.emplace(command[i]);
    } else {
      connection->subscriptions.erase(std::string(command[i]));
    }
    send_down(connection, push_of(is_on ? "subscribe" : "unsubscribe", command[i], "1"), true);
  }
  return true;
}

RedisReply RedisServer::execute(Node& node, const RedisCommand& command) {
  if (is_write(command)) {
    if (!node.is_primary) return error_reply("READONLY You can't write against a read only replica.");
    if (full_until_us_ > time_.now_us())
      return error_reply(
          "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist on disk.");
  }
  const RedisMoment moment{wall_ms(), node.identity, node.is_primary, &hearers_};
  RedisEffects effects;
  RedisReply reply;
  if (command[0] == "SCRIPT" && command.size() == 3 && rewrite_script) {
    reply = node.data.execute(RedisCommand{"SCRIPT", "LOAD", rewrite_script(std::string(command[2]))}, moment,
                              effects);
  } else {
    reply = node.data.execute(command, moment, effects);
  }
  if (!effects.changes.empty()) node.changes.push_back({moment.wall_ms, std::move(effects.changes)});
  const std::size_t at = static_cast<std::size_t>(&node - nodes_.data());
  if (at == primary_ && !nodes_[1 - at].is_primary && node.changes.size() > kBacklog)
    apply(nodes_[1 - at], node.changes, node.changes.size() - kBacklog / 2);
  deliver(at, effects);
  return reply;
}

void RedisServer::deliver(std::size_t node, const RedisEffects& effects) {
  for (const RedisEffects::Message& message : effects.published) {
    if (passes_message && !passes_message(message.channel, message.text)) continue;
    for (const RedisConnectionRef& each : connections_) {
      if (each->node == node && each->is_open && each->subscriptions.contains(message.channel))
        send_down(each, push_of("message", message.channel, message.text), true);
    }
  }
}

void RedisServer::send_down(const RedisConnectionRef& connection, RedisReply reply, bool is_push) {
  connection->down.put(time_, delay(), {std::move(reply), is_push},
                       [connection](RedisConnection::Answer&& answer) {
                         if (connection->events == nullptr || !connection->is_open) return;
                         answer.is_push ? connection->events->on_push(std::move(answer.reply))
                                        : connection->events->on_reply(std::move(answer.reply));
                       });
}

// ---- what happens to it

void RedisServer::break_link(const RedisConnectionRef& connection, const std::string& why) {
  // What has been sent arrived before the cut, or never does.
  if (chance_.percent(50))
    connection->is_open = false;
  else
    time_.after(chance_.between(0, 3'000), [connection] { connection->is_open = false; });
  time_.after(chance_.between(50, 30'000), [connection, why] {
    connection->is_open = false;
    if (connection->lost) connection->lost(why);
  });
}

void RedisServer::cut_links(std::string_view gateway) {
  const std::vector<RedisConnectionRef> all = connections_;
  for (const RedisConnectionRef& each : all) {
    if (!gateway.empty() && each->gateway != gateway) continue;
    break_link(each, "the link is cut");
    std::erase(connections_, each);
  }
}

void RedisServer::cut_off(std::string_view gateway, Micros us) {
  for (const RedisConnectionRef& each : connections_) {
    if (each->gateway != gateway) continue;
    each->up.cut_off_until(time_.now_us() + us);
    each->down.cut_off_until(time_.now_us() + us);
  }
}

void RedisServer::stall(Micros us) {
  Node& node = nodes_[primary_];
  node.stalled_until_us = std::max(node.stalled_until_us, time_.now_us() + us);
  time_.after(us, [this, &node] {
    if (node.stalled_until_us > time_.now_us()) return;
    // Whatever has arrived is carried out, also for those who have left: nobody has told Redis yet.
    while (!node.waiting.empty()) {
      const auto [connection, commands] = std::move(node.waiting.front());
      node.waiting.pop_front();
      carry_out(connection, commands);
    }
  });
}

void RedisServer::apply(Node& to, std::deque<Change>& changes, std::size_t count) {
  for (; count > 0; --count) {
    to.data.follow(changes.front().commands, {changes.front().wall_ms, to.identity, true});
    changes.pop_front();
  }
}

void RedisServer::note_lost(const std::deque<Change>& changes) {
  for (const Change& change : changes) {
    for (const RedisCommand& command : change.commands) {
      if (command[0] == "XADD") note_lost(command);
      if (on_lost) on_lost(command);
    }
  }
}

void RedisServer::note_lost(const RedisCommand& added) {
  for (std::size_t i = 2; i + 1 < added.size(); ++i) {
    if (added[i] != "d") continue;
    const auto entry = decode_entry(added[i + 1], 1);
    if (!entry) return;
    trace_.add("redis has lost ", brief(entry->publication.data));
    judge_.on_lost(entry->publication.data);
    return;
  }
}

void RedisServer::fail_over(std::size_t lost_changes, Micros old_lives_us) {
  demote_other();  // only a replica can be promoted
  const Micros wait_us = demoted_us_ + kRoleUs - time_.now_us();
  if (wait_us > 0) return time_.after(wait_us, [=, this] { fail_over(lost_changes, old_lives_us); });
  Node& old = nodes_[primary_];
  Node& next = nodes_[1 - primary_];
  const std::size_t lost = std::min(lost_changes, old.changes.size());
  trace_.add("redis fails over, without ", lost, " changes; the old primary lives for ", old_lives_us, " us");
  judge_.on_loss_possible();
  apply(next, old.changes, old.changes.size() - lost);
  next.changes.clear();
  next.is_primary = true;
  next.identity = new_identity();
  primary_ = 1 - primary_;
  if (old_lives_us <= 0) return demote_other();
  time_.after(old_lives_us, [this, was_primary = primary_] {
    if (primary_ == was_primary) demote_other();  // otherwise another failover came first
  });
}

void RedisServer::demote_other() {
  Node& node = nodes_[primary_];
  Node& other = nodes_[1 - primary_];
  if (!std::exchange(other.is_primary, false)) return;
  note_lost(other.changes);  // what it has taken since, too
  other.changes.clear();
  other.data = node.data;
  node.changes.clear();
  demoted_us_ = time_.now_us();
  trace_.add("the old primary has become a replica");
  const std::vector<RedisConnectionRef> all = connections_;
  for (const RedisConnectionRef& each : all) {
    // Redis closes the connections of clients when its role changes, but a manual REPLICAOF does not.
    if (each->node == primary_ || chance_.percent(30)) continue;
    break_link(each, "the server has become a replica");
    std::erase(connections_, each);
  }
}

void RedisServer::restart(std::size_t lost_changes) {
  demote_other();
  Node& node = nodes_[primary_];
  Node& other = nodes_[1 - primary_];
  const std::size_t lost = std::min(lost_changes, node.changes.size());
  trace_.add("redis restarts, without ", lost, " changes");
  judge_.on_loss_possible();
  apply(other, node.changes, node.changes.size() - lost);
  note_lost(node.changes);
  node.changes.clear();
  node.data = other.data;
  node.data.forget_scripts();
  node.identity = new_identity();
  node.waiting.clear();
  for (const RedisConnectionRef& each : connections_) {
    if (each->node == primary_) each->is_open = false;  // its sockets end with it
  }
  cut_links();
}

void RedisServer::fill_disk(Micros us) { full_until_us_ = time_.now_us() + us; }

void RedisServer::forget(const std::string& key) {
  judge_.on_loss_possible();
  static_cast<void>(execute(nodes_[primary_], RedisCommand{"DEL", key}));
}

RedisReply RedisServer::ask(const RedisCommand& command) { return look(nodes_[primary_], command); }
RedisReply RedisServer::ask_other(const RedisCommand& command) { return look(nodes_[1 - primary_], command); }

RedisReply RedisServer::look(Node& node, const RedisCommand& command) {
  RedisEffects ignored;
  return node.data.execute(command, {wall_ms(), node.identity, node.is_primary, nullptr}, ignored);
}

}  // namespace carillon::sim
