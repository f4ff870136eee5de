#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/chance.hpp"
#include "sim/gateway.hpp"
#include "sim/inbox_judge.hpp"
#include "sim/plan.hpp"
#include "sim/subscriber.hpp"
#include "store/redis/redis_command.hpp"
#include "store/redis/redis_keys.hpp"

namespace carillon::sim {

/// The users of a world who are members of its channels, and the application that lets them join and leave.
/// They read their inboxes at any gateway, some over the WebSocket of a client of theirs.
class Members {
 public:
  Members(Surroundings& surroundings, Judge& judge, const WorldOptions& options,
          const std::vector<std::string>& channels, std::vector<std::unique_ptr<Gateway>>& gateways,
          std::vector<std::unique_ptr<Subscriber>>& subscribers);

  /// What the channel is configured with: a seed's channels have different strategies.
  [[nodiscard]] static ChannelOptions options_of(const WorldOptions& options, std::size_t channel,
                                                 ChannelOptions options_of_all);
  [[nodiscard]] static std::string name_of_user(std::size_t user) { return "user" + std::to_string(user); }

  void begin();
  void carry_out(const Act& act);
  void on_published(const std::string& channel, const std::string& data) {
    judge_.on_published(channel, data);
  }
  /// `losses`: Judge::losses_possible() before the first attempt.
  void on_acknowledged(const std::string& channel, const std::string& data, std::uint64_t offset,
                       std::uint64_t losses);
  /// Redis has lost this change.
  void on_change_lost(const RedisCommand& command);
  /// Somebody has deleted its key.
  void on_channel_deleted(const std::string& channel) { judge_.on_number_lost(channel); }
  /// All is gone, and the application knows: it makes those members again who were.
  void on_store_ended();
  /// Changes of members that are not answered; empty: there are none.
  [[nodiscard]] std::string unrest() const;
  /// At the end: reads all inboxes once more.
  void judge(const std::map<std::string, Judge::Log>& logs);

 private:
  static constexpr Micros kPatienceUs = 3'000'000;  // then it asks another gateway
  static constexpr Micros kLastReadUs = 20'000'000;

  /// What the application wants of one membership, one after another.
  struct Wishes {
    std::string user;
    std::string channel;
    std::deque<bool> wanted;  // the first is under way; true: to join
    bool is_member = false;   // by the last wish
    std::uint64_t attempt = 0;
  };
  void wish(std::size_t user, std::size_t channel, bool is_join);
  void ask_first(Wishes& wishes);
  void ask(Wishes& wishes);
  void retry(Wishes& wishes, std::uint64_t attempt, Micros delay_us);
  void read(std::size_t user, std::size_t limit);
  void mark(const std::string& user, const ShownInbox& shown);
  [[nodiscard]] bool has_entered(const std::string& user, const std::string& channel, std::uint64_t offset);
  [[nodiscard]] Gateway& any_gateway() { return *gateways_[chance_.below(gateways_.size())]; }
  [[nodiscard]] bool is_split() const { return around_.redis != nullptr && around_.redis->is_split(); }

  Surroundings& around_;
  Judge& of_all_;
  InboxJudge judge_;
  const WorldOptions& options_;
  const std::vector<std::string>& channels_;
  std::vector<std::unique_ptr<Gateway>>& gateways_;
  std::vector<std::unique_ptr<Subscriber>>& subscribers_;
  Chance chance_;
  const RedisKeys keys_{"carillon"};
  std::vector<Wishes> wishes_;  // by user and channel
};

}  // namespace carillon::sim
