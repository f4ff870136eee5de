#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "env/clock.hpp"
#include "env/random.hpp"
#include "store/redis/redis_carrier.hpp"
#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_options.hpp"

namespace carillon {

/// A gateway, as the others see it.
struct GatewayRecord {
  std::string id;     ///< Store::gateway() of it
  std::string owner;  ///< the name under which it has presence and walks
  std::string version;
  Millis heartbeat_age_ms = 0;
  bool is_alive = false;
  bool has_left = false;  ///< it was closed, and others clear up after it
};

/// This gateway among all that share a Redis: its name, its signs of life, and who else is alive. What is
/// called dead stays dead: a gateway that was away for too long takes another name, because others may be
/// clearing up what it had under the old one.
///
/// All on the machine's thread.
class RedisGateways {
 public:
  /// After a day without any gateway nothing of them is left.
  static constexpr Millis kLifetimeMs = 24LL * 3600 * 1000;
  /// So many of its former names a gateway remembers.
  static constexpr std::size_t kNames = 8;

  /// `gateway`: the name of this process.
  RedisGateways(const RedisOptions& options, const RedisKeys& keys, std::string gateway,
                RedisCarrier& machine, const Clock& clock, RandomSource& random);

  /// Called after each sign of life; `is_renamed`: this gateway has another name than before.
  void set_on_beat(std::function<void(bool is_renamed)> on_beat) { on_beat_ = std::move(on_beat); }

  /// The name of this process, which stays.
  [[nodiscard]] const std::string& process() const { return gateway_; }
  /// The name under which it has presence and walks: eight letters.
  [[nodiscard]] const std::string& id() const { return id_; }
  /// With the names that it had before, each between blanks: what is under one of them is its own.
  [[nodiscard]] const std::string& names() const { return names_; }
  [[nodiscard]] bool is_alive(std::string_view gateway) const { return alive_.contains(gateway); }
  [[nodiscard]] bool is_dead(std::string_view gateway) const { return dead_.contains(gateway); }
  [[nodiscard]] const std::set<std::string, std::less<>>& dead() const { return dead_; }
  [[nodiscard]] const std::vector<GatewayRecord>& records() const { return records_; }
  /// Ascends with each change of the records.
  [[nodiscard]] std::uint64_t looks() const { return looks_; }

  /// Others know its name: what is written under it before is not cleared up if this gateway dies.
  [[nodiscard]] bool is_registered() const { return is_registered_; }
  /// The time, of Redis, at which others may call it dead, and clear up what is under its name.
  [[nodiscard]] Millis alive_until_ms() const { return alive_until_ms_; }

  /// The time of Redis, as a recent sign of life shows it; nothing before the first one. It is Redis' clock
  /// because those of two machines differ.
  [[nodiscard]] std::optional<SharedTime> time() const;

  void on_ready();
  void tick();
  /// Takes another name with the next sign of life.
  void rename();
  /// Asks who is alive now.
  void look(Millis deadline_ms, std::function<void(StoreError)> done);
  /// The others need not wait until it is dead.
  void leave();
  /// All is cleared up behind a dead one.
  void forget(const std::string& gateway);

 private:
  /// When Redis was asked for its time, and what it said.
  struct Seen {
    Millis redis_ms, asked_ms, heard_ms;  // the first by Redis' clock, the others by this machine's
    [[nodiscard]] Millis doubt_ms() const { return heard_ms - asked_ms; }
  };
  /// What is seen within this takes the place of anything earlier: clocks are set, and drift.
  static constexpr Millis kSureMs = 200;
  static constexpr Millis kDriftParts = 1'000;  ///< two clocks drift apart by one part in so many, at most
  void note_time(const Seen& seen);
  void beat();
  /// A later version with another layout shall not start beside this gateway.
  void claim_layout();
  [[nodiscard]] RedisCall call_of(std::string_view what) const;
  void note(const RedisReply& reply);

  const RedisOptions& options_;
  const RedisKeys& keys_;
  RedisCarrier& machine_;
  const Clock& clock_;
  RandomSource& random_;
  const std::string gateway_;
  std::function<void(bool)> on_beat_;
  std::string id_;
  std::string names_;  // the newest first
  bool is_registered_ = false;
  bool is_under_way_ = false;
  bool has_left_ = false;
  Millis next_ms_ = 0;
  std::set<std::string, std::less<>> alive_;
  std::set<std::string, std::less<>> dead_;
  std::vector<GatewayRecord> records_;
  std::uint64_t looks_ = 0;
  std::optional<Seen> seen_;
  Millis alive_until_ms_ = 0;
};

}  // namespace carillon
