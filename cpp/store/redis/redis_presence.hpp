#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "env/name_hash.hpp"
#include "store/presence_table.hpp"
#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_gateways.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// Presence in Redis. An entry belongs to the gateway that has the connection, and is valid while that
/// gateway is alive. What this gateway has is in its memory, and Redis follows: of a channel one batch is
/// under way at a time, and says for each client that has changed what is true when it is sent. So changes
/// are never in disorder, and one that failed is simply sent again; after a lost link, another primary or
/// another name everything is.
///
/// All on the machine's thread.
class RedisPresence {
 public:
  static constexpr std::size_t kBatchClients = 100;
  static constexpr std::size_t kBatchBytes = 64 * 1024;
  static constexpr std::size_t kBatchesUnderWay = 64;
  static constexpr Millis kRetryMs = 500;
  /// A read waits so long for this gateway's own changes, which are sent ahead of it.
  static constexpr Millis kReadWaitMs = 1'000;
  /// So many changes may wait for Redis; beyond it this gateway takes another name, and sends everything.
  static constexpr std::size_t kChangesWaiting = 100'000;
  /// The keys of a channel are prolonged so often, a few with each sign of life.
  static constexpr Millis kProlongMs = RedisGateways::kLifetimeMs / 4;

  RedisPresence(const RedisOptions& options, const RedisKeys& keys, RedisCarrier& machine,
                RedisGateways& gateways, const Clock& clock, RandomSource& random);

  void add(const std::string& channel, const PresenceMember& member);
  void remove(const std::string& channel, const std::string& client);
  void page(const std::string& channel, std::string after, std::size_t bytes_max,
            std::function<void(const PresenceResult&)> done);
  void counts(const std::string& channel, std::function<void(const PresenceCounts&)> done);

  void on_ready();
  void on_new_primary() { send_all(); }
  /// `is_renamed`: what is there under the old name is for others to clear up.
  void on_beat(bool is_renamed);
  /// Before RedisCarrier::flush(), at the end of a turn.
  void flush();
  /// Every 100 ms or so.
  void tick();
  /// Removes all entries of this gateway; is_idle() then.
  void leave();
  /// Did changes get no answer since the last call? Then they may still arrive.
  [[nodiscard]] bool take_doubt() { return std::exchange(is_in_doubt_, false); }
  [[nodiscard]] bool is_idle() const { return changes_.empty() && to_send_.empty(); }
  /// Begins the reads that wait, behind RedisCarrier::close(), which answers them.
  void close();

  /// Removes the entries of a dead gateway from a channel, in bounded steps.
  void clear(const std::string& channel, const std::string& gateway, std::function<void(StoreError)> done);

  /// What this gateway has.
  [[nodiscard]] const PresenceTable& own() const { return own_; }

 private:
  /// What Redis has to be told of a channel, or is being told.
  struct Changes {
    std::set<std::string> clients;
    bool is_whole = false;    // all clients, too
    std::string whole_after;  // except those up to here
    bool is_under_way = false;
    bool is_due = false;                                         // in due_
    Millis retry_ms = 0;                                         // not before
    std::deque<std::pair<Millis, std::function<void()>>> reads;  // begun when; they go behind the changes
    [[nodiscard]] bool has_more() const { return is_whole || !clients.empty(); }
  };
  struct PageRead;

  void note(const std::string& channel, const std::string& client);
  void send_all();
  void send_whole(const std::string& channel);
  void make_due(const std::string& channel, Changes& changes);
  void send_batch(const std::string& channel, Changes& changes);
  void on_sent(const std::string& channel, const std::vector<std::string>& clients, StoreError error);
  void list(const std::string& channel);
  void unlist(const std::string& channel);
  /// Runs `read` when what was changed here before is on its way to Redis.
  void read_behind_changes(const std::string& channel, std::function<void()> read);
  void read_page(const std::shared_ptr<PageRead>& read);
  void on_page(const std::shared_ptr<PageRead>& read, const RedisReply& reply);
  void prolong();
  [[nodiscard]] std::vector<std::string> keys_of(std::string_view channel) const;

  const RedisOptions& options_;
  const RedisKeys& keys_;
  RedisCarrier& machine_;
  RedisGateways& gateways_;
  const Clock& clock_;
  const NameHash hash_;
  PresenceTable own_;
  bool is_leaving_ = false;
  bool is_in_doubt_ = false;
  std::unordered_map<std::string, Changes> changes_;  // by channel; with something to do
  std::size_t clients_waiting_ = 0;                   // in changes_
  std::size_t under_way_ = 0;                         // batches
  std::deque<std::string> due_;
  std::deque<std::string> to_send_;         // channels of which everything is to be sent; when there is room
  std::unordered_set<std::string> listed_;  // channels in this gateway's list
  std::vector<std::string> to_prolong_;     // channels of this round
  std::size_t prolonged_at_once_ = 0;
  Millis next_round_ms_ = 0;
};

}  // namespace carillon
