#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/chance.hpp"
#include "sim/judge.hpp"
#include "sim/pipe.hpp"
#include "sim/redis/redis_data.hpp"
#include "sim/trace.hpp"
#include "sim/virtual_time.hpp"
#include "store/redis/redis_link.hpp"

namespace carillon::sim {

/// A connection from a gateway to a Redis server. Both ends hold it; bytes under way outlive both.
struct RedisConnection {
  std::string gateway;
  std::size_t node = 0;
  RedisLinkEvents* events = nullptr;      ///< of the gateway's end; null: it has hung up
  std::function<void(std::string)> lost;  ///< tells the gateway's end
  bool is_open = true;                    ///< at the server's end
  Pipe<std::vector<RedisCommand>> up;
  struct Answer {
    RedisReply reply;
    bool is_push = false;
  };
  Pipe<Answer> down;
  std::set<std::string> subscriptions;
};
using RedisConnectionRef = std::shared_ptr<RedisConnection>;

/// A primary and its replica, with all that happens to them: what arrives late, what is lost in a failover,
/// disks that fill. The gateways' side is in redis_wire.hpp.
class RedisServer {
 public:
  RedisServer(VirtualTime& time, Trace& trace, Judge& judge, std::uint64_t seed);
  /// Ends what is under way: it holds its connection, and that what is under way.
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  /// Changes the text of each script that is loaded: how a bug is planted in one.
  std::function<std::string(std::string)> rewrite_script;
  /// Looks at each message that is published; false: it is lost on the way.
  std::function<bool(std::string_view channel, std::string_view text)> passes_message;
  /// Hears each change of data that is lost.
  std::function<void(const RedisCommand& change)> on_lost;

  // ---- the network's side
  /// To the primary of the moment.
  [[nodiscard]] RedisConnectionRef connect(const std::string& gateway);
  void receive(const RedisConnectionRef& connection, std::vector<RedisCommand> commands);
  void hang_up(const RedisConnectionRef& connection);

  // ---- what happens to it
  /// All links break, or those of one gateway; what is under way may arrive or not.
  void cut_links(std::string_view gateway = {});
  /// Nothing arrives, in either direction, for so long; then everything does.
  void cut_off(std::string_view gateway, Micros us);
  /// It carries nothing out for so long, and then what has come meanwhile: also over links that are gone.
  void stall(Micros us);
  /// The replica becomes the primary, without the last `lost_changes` of the old one (or fewer). With
  /// `old_lives_us` the old one goes on with those that are connected, and then becomes a replica.
  void fail_over(std::size_t lost_changes, Micros old_lives_us);
  /// The primary restarts, with a new identity and without the last `lost_changes`.
  void restart(std::size_t lost_changes);
  /// The disk is full: no write is taken for so long.
  void fill_disk(Micros us);
  /// Somebody deletes a key of the primary.
  void forget(const std::string& key);

  // ---- what is there at the end
  /// Two servers take themselves for the primary.
  [[nodiscard]] bool is_split() const { return nodes_[0].is_primary && nodes_[1].is_primary; }
  [[nodiscard]] RedisReply ask(const RedisCommand& command);
  /// The same of the other server, which may still be taken for the primary.
  [[nodiscard]] RedisReply ask_other(const RedisCommand& command);

 private:
  /// What one command, or one script, has changed: a replica gets all of it or nothing.
  struct Change {
    Millis wall_ms = 0;
    std::vector<RedisCommand> commands;
  };
  struct Node {
    explicit Node(RandomSource& random) : data(random) {}
    RedisData data;
    std::string identity;
    bool is_primary = false;
    Micros stalled_until_us = 0;
    std::deque<Change> changes;  // that the other one may lack
    std::deque<std::pair<RedisConnectionRef, std::vector<RedisCommand>>> waiting;  // while it is stalled
  };
  void carry_out(const RedisConnectionRef& connection, const std::vector<RedisCommand>& commands);
  [[nodiscard]] RedisReply execute(Node& node, const RedisCommand& command);
  [[nodiscard]] RedisReply look(Node& node, const RedisCommand& command);
  [[nodiscard]] bool subscribe(const RedisConnectionRef& connection, const RedisCommand& command);
  void deliver(std::size_t node, const RedisEffects& effects);
  void send_down(const RedisConnectionRef& connection, RedisReply reply, bool is_push);
  void break_link(const RedisConnectionRef& connection, const std::string& why);
  void apply(Node& to, std::deque<Change>& changes, std::size_t count);
  /// The one that was the primary before, if it still takes itself for one.
  void demote_other();
  void note_lost(const std::deque<Change>& changes);
  void note_lost(const RedisCommand& added);
  [[nodiscard]] std::int64_t hearers(std::string_view channel) const;
  [[nodiscard]] std::string new_identity();
  [[nodiscard]] Millis wall_ms() const { return 1'700'000'000'000 + time_.now_us() / 1'000; }
  [[nodiscard]] Micros delay() {
    return chance_.percent(90) ? chance_.between(80, 700) : chance_.between(700, 9'000);
  }

  VirtualTime& time_;
  Trace& trace_;
  Judge& judge_;
  Chance chance_;
  std::array<Node, 2> nodes_;
  std::size_t primary_ = 0;
  Micros demoted_us_ = -10'000'000;
  Micros full_until_us_ = 0;
  std::vector<RedisConnectionRef> connections_;
  std::vector<std::weak_ptr<RedisConnection>> all_connections_;
  const std::function<std::int64_t(std::string_view, bool)> hearers_ =
      [this](std::string_view channel, bool /*is_sharded*/) { return hearers(channel); };
};

}  // namespace carillon::sim
